"""The end of `charrnn train`: what it says about the losses of a run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Call

OPTIONS = ["--config=quickstart", "--device=cpu", "--set=log.sample_every=0", "--set=log.baselines=false"]
HELLO = "Hello, world! This is the whole of my text, and it is not very long.\n"
HEART = "the text is too short to learn from, 62 characters: the network has learned it by heart"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Return a file of 300 lines, random words of ten letters: a small network soon learns some of them by heart."""
    random = np.random.default_rng(1)
    lines = ["".join(random.choice(list("abcdefghij"), size=10)) for _ in range(300)]
    path = tmp_path / "words.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_text_of_69_characters(call: Call, tmp_path: Path) -> None:
    """No evaluation is called the best, since the untrained network's loss is lower, and the end names the reason."""
    (tmp_path / "hello.txt").write_text(HELLO)
    parts = [*OPTIONS, "--set=log.eval_every=40", "--steps=120", "--out=r"]
    out = call("train", "hello.txt", *parts, "--stop-after=90")[0]
    out += call("train", "--resume", *parts)[0]  # the loss of the untrained network is read from the metrics
    losses = [float(loss) for loss in re.findall(r"validation (\d+\.\d+) nats/char", out)]
    assert len(losses) == 4
    assert losses[0] == min(losses)
    assert "best" not in out
    line = (
        "done at step 120 after 0:\\d\\d, 118 sweeps over the training text; no validation loss is below that before "
    )
    assert re.search(line + rf"training, {losses[0]:.4f} nats/char\n{HEART}", out)
    assert "train longer" not in out


def test_a_run_that_overfits(call: Call, words: Path) -> None:
    """The end has the sweeps, the best loss in three units, and what to do, in a resumed run as in a whole one."""
    parts = [
        *OPTIONS,
        "--set=model.hidden_size=64",
        "--set=model.dropout=0",
        "--steps=400",
        "--set=train.seq_length=16",
        "--set=log.eval_every=20",
    ]
    whole = call("train", words, *parts, "--out=whole")[0]
    call("train", words, *parts, "--out=r", "--stop-after=300")
    resumed = call("train", "--resume", "--out=r")[0]
    loss = r"best validation loss (2\.\d{4}) nats/char at step (\d+) \((\d\.\d{3}) bits/char, \3 bits/byte\)\n"
    rise = r"best at step \2 \(2\.\d{3}\), \d\.\d{3} at the end: it overfits; stop earlier \(--patience 5\), or"
    end = r"done at step 400 after 0:\d\d, 69 sweeps over the training text, " + loss + rise
    for out in (whole, resumed):
        match = re.search(end, out)
        assert match, out
        assert f"validation {match[1]} nats/char" in whole
        assert float(match[3]) == pytest.approx(float(match[1]) / 0.693147, abs=1e-3)
        assert "train longer" not in out


def test_the_summary_has_bits_per_byte(call: Call, tmp_path: Path) -> None:
    """The characters of the text have two bytes each, so a byte has half the bits of a character."""
    text = "".join(np.random.default_rng(1).choice(list("éüöä"), size=2000))
    (tmp_path / "accents.txt").write_text(text, encoding="utf-8")
    out = call("train", "accents.txt", *OPTIONS, "--steps=5", "--out=r")[0]
    per_char, per_byte = map(float, re.findall(r"\(([\d.]+) bits/char, ([\d.]+) bits/byte\)", out)[0])
    assert per_char > 1
    assert per_byte == pytest.approx(per_char / 2, abs=0.001)
