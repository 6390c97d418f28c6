"""Texts in files and caches that come and go, and what their corpus is in plain Python."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock

import numpy as np

from charrnn.text import Corpus, cache, from_files, sources

TEXT = "she sells sea shells, ¡olé! 😀\n" * 40
MARK = "\ufeff".encode()


@contextmanager
def caching(*, small: int = 3, block: int = 7) -> Iterator[Path]:
    """A cache of its own for texts above `small` bytes, read `block` bytes at a time; gives its directory."""
    with (
        TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, XDG_CACHE_HOME=folder),
        mock.patch.object(cache, "SMALL", small),
        mock.patch.object(sources, "BLOCK", block),
    ):
        yield Path(folder, "charrnn")


@contextmanager
def files(*contents: bytes, suffix: str = ".txt") -> Iterator[list[str]]:
    """Files with these bytes, in order."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{n:03}{suffix}") for n in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        yield [str(path) for path in paths]


def documents(*contents: str) -> Corpus:
    """The corpus of one file for each string."""
    with files(*(content.encode() for content in contents)) as names:
        return from_files(names)


def expected(*contents: str) -> SimpleNamespace:
    """What a corpus of these documents is, in plain Python."""
    whole = "".join(contents)
    characters = sorted(set(whole))
    number = {character: n for n, character in enumerate(characters)}
    return SimpleNamespace(
        ids=[number[c] for c in whole],
        starts=tuple(len("".join(contents[:n])) for n, content in enumerate(contents) if content),
        characters="".join(characters),
        counts=tuple(whole.count(c) for c in characters),
        sha256=hashlib.sha256(b"".join(c.encode() + b"\xff" for c in contents if c)).hexdigest(),
        dtype=np.uint8 if len(characters) <= 256 else np.uint16 if len(characters) <= 65536 else np.uint32,
    )


def check(corpus: Corpus, *contents: str) -> None:
    """`corpus` is that of these documents."""
    right = expected(*contents)
    assert corpus.ids.tolist() == right.ids
    assert corpus.ids.dtype == right.dtype
    assert (tuple(corpus.starts), corpus.sha256) == (right.starts, right.sha256)
    assert (corpus.vocabulary.characters, corpus.vocabulary.counts) == (right.characters, right.counts)
