"""What only Windows does, simulated on every system: no shell expands patterns, pipes and signals differ."""

from __future__ import annotations

import errno
import io
import os
import signal
from pathlib import Path

import click
import pytest
from helpers.commands import TRAIN, Call
from helpers.windows import pretend_windows

from charrnn.cli import output
from charrnn.cli.signals import interruptible


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


def test_commands_to_paste(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands are quoted for the shells of Windows, and name the program by its short name if the path has it."""
    (tmp_path / "charrnn.EXE").touch()
    monkeypatch.setattr(output.shutil, "which", lambda name: str(tmp_path / f"{name}.EXE"))
    pretend_windows(monkeypatch, output)
    words = ("train", "--out", r"C:\runs\a-1", r"D:\my runs", "a&b", "it's", "")
    quoted = r"""train --out C:\runs\a-1 "D:\my runs" "a&b" "it's" """ + '""'
    long = r"C:\My Python\charrnn"
    for started_as, program in ((str(tmp_path / "charrnn"), "charrnn"), (long, f'"{long}"')):
        monkeypatch.setattr(output.sys, "argv", [started_as])
        assert output.command_line(*words) == f"{program} {quoted}"


class ClosedPipe(io.BytesIO):
    """A pipe whose reader has closed it."""

    def write(self, _: object) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_a_closed_pipe_has_one_error_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows reports a closed pipe as an invalid argument, which means something else elsewhere."""
    stream = io.TextIOWrapper(ClosedPipe(), encoding="utf-8")
    with pytest.raises(OSError, match="Invalid argument"):
        output.put("text", stream)
    pretend_windows(monkeypatch, output)
    with pytest.raises(BrokenPipeError):
        output.put("text", stream)


def test_line_ends_are_not_replaced() -> None:
    """A stream that writes line ends as Windows does, in another encoding, gets the bytes of the text in UTF-8."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp437", newline="\r\n")
    output.put("a\r\nb\n\N{ROCKET}\u0416", stream)
    assert stream.buffer.getvalue() == "a\r\nb\n\N{ROCKET}\u0416".encode()


def test_ctrl_break_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training saves and ends at Ctrl-Break, the one signal that a program can send to others on Windows."""
    number = getattr(signal, "SIGBREAK", None) or signal.SIGUSR1  # any that exists here
    monkeypatch.setattr(signal, "SIGBREAK", number, raising=False)
    before = signal.signal(number, lambda *_: pytest.fail("Ctrl-Break was not caught"))
    try:
        with interruptible() as interruption:
            signal.raise_signal(number)
        assert interruption.signal == number
    finally:
        signal.signal(number, before)
