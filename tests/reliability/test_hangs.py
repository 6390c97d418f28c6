"""No option or configuration makes a command run for ever: it ends in seconds, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import hostile_inputs
from helpers.hostile_inputs import HungError, check, outcome, time_limit

from charrnn import config
from charrnn.cli.gradcheck import MOST_LAYERS
from charrnn.cli.sample import MOST_SAMPLES


@pytest.mark.parametrize("words", ["while True: pass", "threading.Event().wait()"])
def test_what_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """`time_limit` ends a command that computes, or waits, for longer than it may."""
    monkeypatch.setattr(hostile_inputs, "CPU_SECONDS", 0.01)
    monkeypatch.setattr(hostile_inputs, "WALL_SECONDS", 0.01)
    with pytest.raises(HungError), time_limit():
        exec(f"import threading\n{words}", {})


GRADCHECK = f"gradcheck --layers={MOST_LAYERS} --tolerance=1e-4 --cell="


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("gradcheck --layers=100", f"'--layers': 100 is not in the range 1<=x<={MOST_LAYERS}"),
        (f"sample r --count={10**33} --length=0 --stop=x", f"is not in the range 1<=x<={MOST_SAMPLES}"),
        (f"sample r --count={MOST_SAMPLES} --length=0 --stop=x --seed=1", ""),
        (f"sample r --count={10**33} --length=1 -0", f"is not in the range 1<=x<={MOST_SAMPLES}"),
        (GRADCHECK + "rnn", ""),
        *(pytest.param(GRADCHECK + cell, "", marks=pytest.mark.slow) for cell in ("gru", "lstm")),
    ],
)
def test_numbers_beyond_all_patience(trained: Path, monkeypatch: pytest.MonkeyPatch, words: str, error: str) -> None:
    """A number that would take too long is refused; the largest one that is allowed takes seconds."""
    monkeypatch.chdir(trained)
    found = outcome([*words.split(), "--device=cpu"])
    check(found)
    assert (found.status, error in found.err) == (2 if error else 0, True)


SLOW = {
    "newlines": b"\n",
    "comments": b"#\n",
    "digits": b"f",
    "numbers": b"0,",
    "tables": b"[[a]]\n",
    "escapes": b"\\n",
}


@pytest.mark.parametrize("kind", SLOW)
def test_the_longest_configurations(tmp_path: Path, kind: str) -> None:
    """A configuration of the largest size that repeats one thing is read, or refused, in seconds."""
    first = {"digits": b"a = 0x", "numbers": b"a = [", "escapes": b'a = "'}.get(kind, b"")
    last = {"numbers": b"]", "escapes": b'"'}.get(kind, b"")
    content = first + SLOW[kind] * ((config.files.MAX_BYTES - 10) // len(SLOW[kind])) + last
    (tmp_path / "c.toml").write_bytes(content)
    found = outcome(["train", "--config", str(tmp_path / "c.toml"), "--set=model.x=1"])
    check(found)
    assert (found.status, "longer than" in found.err) == (2, False)


@pytest.mark.parametrize("kind", ["newlines", "digits"])
def test_a_longer_configuration_is_not_read(tmp_path: Path, kind: str) -> None:
    """A larger configuration is refused by its size."""
    (tmp_path / "c.toml").write_bytes(b"[train]\nseed = 0x0" + SLOW[kind] * (40 << 20))
    found = outcome(["train", "--config", str(tmp_path / "c.toml"), "--set=model.x=1"])
    check(found)
    assert (found.status, "c.toml': it is longer than 2 MB" in found.err) == (2, True)
