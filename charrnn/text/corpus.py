"""A corpus: ids, vocabulary, document starts and a hash, made from blocks of text at about twice the text's size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.errors import TextError
from charrnn.text import sources
from charrnn.text.vocabulary import CODE_POINTS, Ids, Vocabulary, code_points


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        name: for people: the file's name, or how many files.
        ids: (N,) in the vocabulary's dtype.
        starts: sorted positions in `ids` where a document begins; the first is 0.
        vocabulary: every character of the text.
        sha256: of the text and its cuts into documents.
    """

    name: str
    ids: Ids
    starts: tuple[int, ...]
    vocabulary: Vocabulary
    sha256: str

    def split(self, val_fraction: float) -> tuple[Part, Part | None]:
        """The first part for training, the tail for validation; None where either would be under two characters."""
        cut = int(len(self.ids) * (1 - val_fraction))
        if val_fraction == 0 or cut < 2 or len(self.ids) - cut < 2:
            return self.part(0, len(self.ids)), None
        return self.part(0, cut), self.part(cut, len(self.ids))

    def part(self, first: int, last: int) -> Part:
        """The characters from `first` up to `last`."""
        return Part(self.ids[first:last], tuple(s - first for s in self.starts if first < s < last))


@dataclass(frozen=True)
class Part:
    """A stretch of ids (N,) and the positions in it, after the first, where a document begins."""

    ids: Ids
    starts: tuple[int, ...] = ()


@dataclass
class Builder:
    """Collects blocks of text in the narrowest integers, counting characters as they come."""

    blocks: list[Ids] = field(default_factory=list)
    counts: Ids = field(default_factory=lambda: np.zeros(CODE_POINTS, np.int64))
    starts: list[int] = field(default_factory=list)
    length: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def document(self, texts: Iterable[str]) -> None:
        """Add one document; one without a character is passed over."""
        start = self.length
        for text in texts:
            points = code_points(text, first=self.length - start)
            seen = np.bincount(points)
            self.counts[: len(seen)] += seen
            self.blocks.append(points.astype(np.min_scalar_type(len(seen) - 1)))
            self.digest.update(text.encode())
            self.length += len(points)
        if self.length > start:
            self.digest.update(b"\xff")  # never part of UTF-8: marks the document's end
            self.starts.append(start)

    def corpus(self, name: str) -> Corpus:
        """The corpus of every document added. Raises `TextError` for fewer than two characters."""
        if self.length < 2:
            raise TextError(f"{name}: {self.length} characters are too few to learn from; at least 2 are needed")
        present = np.flatnonzero(self.counts)
        characters = present.astype("<u4").tobytes().decode("utf-32-le")
        vocabulary = Vocabulary(characters, tuple(int(n) for n in self.counts[present]))
        table = vocabulary.ids_by_code_point.astype(vocabulary.dtype)
        ids = np.empty(self.length, vocabulary.dtype)
        end = self.length
        while self.blocks:  # from the back, so that each block's memory is free before the next is mapped
            block = self.blocks.pop()
            ids[end - len(block) : end] = table[block]
            end -= len(block)
        return Corpus(name, ids, tuple(self.starts), vocabulary, self.digest.hexdigest())


def from_text(text: str, name: str = "the text") -> Corpus:
    """The corpus of one string."""
    builder = Builder()
    builder.document(text[i : i + sources.BLOCK] for i in range(0, len(text), sources.BLOCK))
    return builder.corpus(name)


def from_files(names: Iterable[str], encoding: str = "utf-8") -> Corpus:
    """The corpus of files, each a document; of the embedded text for no name. See `sources.expand` for the names."""
    files = sources.expand(list(names))
    if not files:
        return from_text(sources.embedded(), sources.EMBEDDED)
    builder = Builder()
    for file in files:
        builder.document(sources.blocks(file, encoding))
    name = files[0] if len(files) == 1 else f"{len(files)} files"
    return builder.corpus("standard input" if name == "-" else name)
