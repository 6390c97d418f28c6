"""An entry of the cache that is whole, but cannot be mapped: the error is of memory, and not of the entry."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import NoReturn

import pytest
from helpers.commands import TEXT, TINY, Call

from charrnn.text import entry

WORDS = ["train", "t.txt", *TINY, "--steps=1", "--out=r"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOMEM, "bytes of address space, more than this process may have): raise the limit (ulimit -v)"),
        (errno.ENODEV, f"({os.strerror(errno.ENODEV)}): set XDG_CACHE_HOME to a directory on another file system"),
    ],
)
def test_what_cannot_be_mapped(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """The first time, and each time after, one line says why and what to do; once it can be, the entry is used."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", refuse)
        for _ in range(2):
            error = call(*WORDS, status=2)[1]
            assert words in error
            assert "cannot be mapped" in error
            assert "damaged" not in error
        (made,) = home.iterdir()
        if number == errno.ENOMEM:
            assert f"it takes {made.stat().st_size:,} bytes" in error
    before = made.stat()
    call(*WORDS)
    assert made.stat().st_ino == before.st_ino
    described = entry.described(made)
    assert described is not None
    assert described.length == len(TEXT)
