"""What only Windows does, simulated on every system: its program starts without a shell that replaces patterns."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from helpers.commands import TRAIN, Call
from helpers.windows import pretend_windows


@pytest.fixture
def click_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let click treat the command line as it does on Windows."""
    pretend_windows(monkeypatch, click.core)


@pytest.mark.usefixtures("click_on_windows")
def test_options_are_not_replaced(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern or a variable in an option reaches the command as it was typed."""
    monkeypatch.setenv("WORD", "lstm")
    (tmp_path / "gru").touch()
    for word in ("*", "gr?", "$WORD", "%WORD%", "~"):
        assert repr(word) in call("gradcheck", "--cell", word, status=2)[1]


@pytest.mark.usefixtures("click_on_windows")
def test_patterns_of_texts_and_runs(call: Call) -> None:
    """`train` and `compare` expand the patterns that name texts and runs."""
    call("train", "?.txt", *TRAIN[2:], "--out=runs/a")
    call("train", "*.txt", *TRAIN[2:], "--out=runs/b", "--set=model.cell=gru")
    lines = call("compare", "runs/*", "--no-eval")[0].splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["a", "rnn"], ["b", "gru"]]
    lines = call("compare", "runs/[b]", "t.*", "--window=9")[0].splitlines()
    assert [line.split()[1] for line in lines[1:2]] == ["gru"]
    assert "on t.txt" in lines[-1]
    assert "there is no run directory or checkpoint nosuch*" in call("compare", "nosuch*", status=2)[1]
