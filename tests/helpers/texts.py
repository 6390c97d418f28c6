"""Texts in temporary files and caches, and their corpus and documents in plain Python."""

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
from hypothesis import strategies as st

from charrnn.text import Corpus, cache, from_files, sources

TEXT = "she sells sea shells, ¡olé! 😀\n" * 40
MARK = "\ufeff".encode()
SEPARATORS = st.text("ab\n", min_size=1, max_size=3) | st.sampled_from(["é", "é\n", "😀😀", "<|end|>"])
FOX = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n" * 6


@contextmanager
def caching(*, small: int = 3, block: int = 7) -> Iterator[Path]:
    """Yield the directory of a new cache for texts above `small` bytes, which are read `block` bytes at a time."""
    with (
        TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, XDG_CACHE_HOME=folder),
        mock.patch.object(cache, "SMALL", small),
        mock.patch.object(sources, "BLOCK", block),
    ):
        yield Path(folder, "charrnn")


@contextmanager
def files(*contents: bytes, suffix: str = ".txt") -> Iterator[list[str]]:
    """Yield the names of files with these bytes, in order."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{n:03}{suffix}") for n in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        yield [str(path) for path in paths]


def documents(*contents: str) -> Corpus:
    """Return the corpus of one file for each string."""
    with files(*(content.encode() for content in contents)) as names:
        return from_files(names)


def expected(*contents: str) -> SimpleNamespace:
    """Return the corpus of these documents, made by plain Python."""
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
    """Assert that `corpus` is that of these documents."""
    right = expected(*contents)
    assert corpus.ids.tolist() == right.ids
    assert corpus.ids.dtype == right.dtype
    assert (tuple(corpus.starts), corpus.sha256) == (right.starts, right.sha256)
    assert (corpus.vocabulary.characters, corpus.vocabulary.counts) == (right.characters, right.counts)


@st.composite
def texts_with_separators(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a separator, and a text in which it is likely."""
    separator = draw(SEPARATORS)
    parts = st.one_of(st.just(separator), st.just(separator[:1]), st.text("ab\né😀<|", max_size=4))
    return "".join(draw(st.lists(parts, max_size=12))), separator


def split_text(text: str, separator: str) -> list[str]:
    """Return the documents of a text by `str.find`: cut after each separator that has text of its own on both sides."""
    result, first, at = list[str](), 0, 0
    while (place := text.find(separator, at)) >= 0:
        at = place + len(separator)
        document, rest = text[first:at], text[at:]
        if rest and not rest.startswith(separator) and document != separator * (len(document) // len(separator)):
            result.append(document)
            first = at
    return [*result, text[first:]] if text[first:] else result
