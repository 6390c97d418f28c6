"""Standard input that a command does not read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import TINY

from charrnn.cli.inputs import unread_bytes

NOTICE = "standard input is not read: write - in the place of FILES to train on it"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot count the bytes of a pipe in this way")
def test_unread_bytes_of_files_and_pipes(tmp_path: Path) -> None:
    """The bytes that a file or a pipe still has are counted and stay in it; an empty pipe and a device have none."""
    path = tmp_path / "t"
    path.write_bytes(b"12345")
    with path.open("rb", buffering=0) as file:
        assert unread_bytes(file.fileno()) == 5
        file.read(2)
        assert unread_bytes(file.fileno()) == 3
        file.read()
        assert unread_bytes(file.fileno()) == 0
    reader, writer = os.pipe()
    assert unread_bytes(reader) == 0
    os.write(writer, b"names")
    assert unread_bytes(reader) == 5
    assert os.read(reader, 9) == b"names"
    os.close(writer)
    assert unread_bytes(reader) == 0
    os.close(reader)
    with Path(os.devnull).open("rb") as null:
        assert unread_bytes(null.fileno()) == 0


@pytest.mark.parametrize("words", [["train", "--steps=1", "--out=r"], ["train", "t.txt", "--steps=1", "--out=r"]])
def test_text_in_a_pipe_that_nothing_reads(tmp_path: Path, words: list[str]) -> None:
    """`train` without FILES prints that standard input is not read; with a file, or without text in it, it does not."""
    (tmp_path / "t.txt").write_text("she sells sea shells " * 20)
    command = [sys.executable, "-m", "charrnn", *words, *TINY, "--set=log.baselines=false", "--overwrite"]
    for text in ("names\n", ""):
        with (tmp_path / "stdin").open("w+") as stdin:
            stdin.write(text)
            stdin.seek(0)
            ended = subprocess.run(command, cwd=tmp_path, stdin=stdin, capture_output=True, text=True, check=True)
        assert ended.stderr.splitlines().count(NOTICE) == (bool(text) and "t.txt" not in words)
