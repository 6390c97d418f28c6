"""Standard output that cannot be written, and a current directory that is gone: a line each, and nothing lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest
from helpers.commands import TRAIN, Call, metrics

from charrnn import checkpoint
from charrnn.cli import terminal

NOTE = "standard output cannot be written (No space left on device): the rest of it is lost, the run is not\n"


@pytest.mark.parametrize("word", ["  loss ", "a sample:", "done at step", "run: "])
def test_training_goes_on_where_its_output_has_no_room(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """From whichever line on the disk behind standard output is full, the run is the whole run; one line says so."""
    right, out, failed = terminal.put, sys.stdout, list[str]()

    def put(text: str, stream: TextIO) -> None:
        if stream is out and (failed or word in text):
            failed.append(text)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        right(text, stream)

    with Path(os.devnull).open("w") as nowhere, monkeypatch.context() as patched:
        patched.setattr(terminal, "put", put)
        patched.setattr(terminal, "nowhere", lambda: nowhere)
        patched.setattr(sys, "stdout", out)  # to come back afterwards
        said, err = call(*TRAIN, "--out=r")
    assert len(failed) == 1
    assert word not in said
    assert err.endswith(NOTE)
    assert err.count("standard output") == 1
    assert checkpoint.steps(tmp_path / "r")[-1] == metrics(tmp_path / "r")[-1]["step"] == 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_output_without_room_from_the_start(call: Call, tmp_path: Path) -> None:
    """Whoever is still there is told that nothing was begun."""
    call(*TRAIN, "--steps=1", "--out=q")  # which makes the text
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "charrnn", *TRAIN, "--out=r"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "charrnn: No space left on device"
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows removes no directory that somebody is in")
@pytest.mark.parametrize("command", [["train", "t.txt"], ["sample", "../q"], ["train"]])
def test_a_current_directory_that_is_gone(call: Call, tmp_path: Path, command: list[str]) -> None:
    """The line says what is gone: it is not the text, nor the run."""
    call(*TRAIN, "--steps=1", "--out=q")
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = "charrnn: the current directory is gone: change to one that is there"
    assert call(*command, status=2)[1] == line
