"""From pieces of text to a corpus, in one pass: hashed, counted and numbered as they come.

A text that is small stays in memory. What goes beyond `cache.SMALL` is spilled to the disk, and its ids are mapped
from the cache, where the next run on the same text finds them by its hash.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import AnyStr

import numpy as np

from charrnn.errors import TextError
from charrnn.text import cache, sources
from charrnn.text.cache import Spill
from charrnn.text.corpus import Corpus
from charrnn.text.documents import parted
from charrnn.text.entry import About
from charrnn.text.names import expand
from charrnn.text.sources import BOM, Piece
from charrnn.text.vocabulary import CODE_POINTS, Ids, Vocabulary, code_points

ASCII = 128
END = b"\xff"
"""What the hash takes in at the end of a document: a byte that is never part of UTF-8."""


class Builder:
    """Collects pieces of text as provisional ids, in the narrowest integers. Use it as a context manager.

    A character's provisional id is its place in the order of first appearance, after the 128 of ASCII, which are
    there from the start: so ASCII bytes are their own provisional ids. The final ids are known when all is counted.

    Attributes:
        points: (K,) the code point of each provisional id.
        counts: (K,) how often each occurs.
        table: (0x110000,) the provisional id of each code point; 0, which is NUL's, also for those never met. Zeros
            cost no memory until they are written over, so that a short text pays for no table.
        blocks: the provisional ids (N,) in the order of the text, in memory or on the disk.
        starts: where documents begin, 8 bytes each: there may be as many as lines.
        most: characters from which on no more are taken.
        length: characters so far.
        size: bytes of UTF-8 so far.
    """

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.points: Ids = np.arange(ASCII)
        self.counts: Ids = np.zeros(ASCII, np.int64)
        self.table: Ids = np.zeros(CODE_POINTS, np.intp)
        self.table[:ASCII] = self.points
        self.blocks: list[Ids] | Spill = []
        self.starts = array("q")
        self.length = self.size = 0
        self.digest = hashlib.sha256()

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *error: object) -> None:
        if isinstance(self.blocks, Spill):
            self.blocks.close()

    def document(self, pieces: Iterable[Piece], separator: str = "") -> None:
        """Add one document, or those of it that `separator` parts; one without a character is passed over."""
        first = self.length
        if separator:
            for text, cuts in parted(map(sources.text_of, pieces), separator):
                self.add(sources.piece_of(text), self.length - first, cuts)
        else:
            for piece in pieces:
                self.add(piece, self.length - first)
        if self.length > first:
            self.digest.update(END)

    def add(self, piece: Piece, position: int, cuts: Sequence[int] = ()) -> None:
        """Add the next piece, which begins with the character `position` of its source.

        Documents begin at the places `cuts` in it, besides the one at position 0.
        Raises `TextError` where there are more than `most` characters.
        """
        if piece.text is None:
            assert piece.utf8 is not None
            ids: Ids = np.frombuffer(piece.utf8, np.uint8)
        else:
            ids = self.numbered(code_points(piece.text, first=position))
        utf8 = piece.utf8 if piece.utf8 is not None else (piece.text or "").encode()
        seen = counted(ids)
        self.counts[: len(seen)] += seen
        if cuts and piece.text is not None:
            self.digest.update(END.join(part.encode() for part in slices(piece.text, cuts)))
        else:
            self.digest.update(ended(utf8, cuts))
        self.starts.extend(self.length + place for place in (*([] if position else [0]), *cuts))
        self.length += len(ids)
        self.size += len(utf8)
        if self.length > self.most:
            raise TextError(f"the text has more than {self.most:,} characters, too many for what was trained on")
        self.blocks.append(ids.astype(np.min_scalar_type(len(seen) - 1), copy=False))
        if self.size > cache.SMALL and isinstance(self.blocks, list):
            self.blocks = Spill(self.blocks)

    def numbered(self, points: Ids) -> Ids:
        """The provisional ids of code points; the next free ones go to those never met before."""
        ids = self.table.take(points)
        if ids.min() == 0:
            new = np.setdiff1d(points[ids == 0], [0])
            self.table[new] = np.arange(len(self.points), len(self.points) + len(new))
            self.points = np.concatenate([self.points, new])
            self.counts = np.concatenate([self.counts, np.zeros(len(new), np.int64)])
            ids = self.table.take(points)
        return ids

    def corpus(self, name: str) -> Corpus:
        """The corpus of every document added. Raises `TextError` for fewer than two characters, and from the cache."""
        if self.length < 2:
            raise TextError(f"{name}: {self.length} characters are too few to learn from; at least 2 are needed")
        present = np.flatnonzero(self.counts)
        present = present[np.argsort(self.points[present])]
        characters = self.points[present].astype("<u4").tobytes().decode("utf-32-le")
        vocabulary = Vocabulary(characters, tuple(self.counts[present].tolist()))
        final = np.zeros(len(self.points), vocabulary.dtype)
        final[present] = np.arange(len(present))
        sha256, starts = self.digest.hexdigest(), np.array(self.starts, np.int64)
        if isinstance(self.blocks, Spill):
            about = About(name, sha256, self.size, self.length, len(self.starts), vocabulary)
            return cache.opened(sha256, name) or cache.put(about, starts, self.numbered_finally(final))
        ids = np.empty(self.length, vocabulary.dtype)
        for first, block in self.numbered_finally(final):
            ids[first : first + len(block)] = block
        return Corpus(name, ids, starts, vocabulary, sha256)

    def numbered_finally(self, final: Ids) -> Iterator[tuple[int, Ids]]:
        """The final ids, block by block with their positions; `final` (K,) is that of each provisional id.

        From the back, so that the room of each provisional block is free before the next is mapped.
        """
        end = self.length
        while self.blocks:
            block = self.blocks.pop()
            end -= len(block)
            yield end, final.take(block, mode="clip")  # all are in range; the check costs as much as the rest


def counted(ids: Ids) -> Ids:
    """(K,) how often each provisional id occurs; of ASCII two at a time, in two thirds of the time."""
    if ids.dtype != np.uint8:
        return np.bincount(ids)
    pairs = np.bincount(ids[: len(ids) // 2 * 2].view(np.uint16), minlength=ASCII * 256).reshape(ASCII, 256)
    counts: Ids = pairs.sum(axis=1) + pairs.sum(axis=0)[:ASCII]
    if len(ids) % 2:
        counts[ids[-1]] += 1
    return counts


def slices(block: AnyStr, places: Sequence[int]) -> Iterator[AnyStr]:
    """`block` cut at `places`."""
    for first, last in zip([0, *places], [*places, len(block)], strict=True):
        yield block[first:last]


def ended(utf8: bytes, places: Sequence[int]) -> bytes:
    """`utf8` with the mark of a document's end at `places`."""
    return END.join(slices(utf8, places)) if places else utf8


def from_text(text: str, name: str = "the text", *, separator: str = "") -> Corpus:
    """The corpus of one string. Raises `TextError` as `from_files` does, and for a lone surrogate."""
    with Builder() as builder:
        steps = range(0, len(text), sources.BLOCK)
        builder.document((sources.piece_of(text[i : i + sources.BLOCK]) for i in steps), separator)
        return builder.corpus(name)


def from_files(names: Iterable[str], encoding: str = "utf-8", separator: str = "", *, most: float = math.inf) -> Corpus:
    """The corpus of files; of the embedded text for no name. See `expand` for the names.

    Each file is a document, or holds those that `separator` parts: see `documents.parted`.

    Raises `TextError` for what cannot be found, read or decoded, for fewer than two characters, for more than `most`,
    and for a text that is too large for memory where the cache cannot take it.
    """
    files = expand(list(names))
    if not files:
        return from_text(sources.embedded(), sources.EMBEDDED, separator=separator)
    name = files[0] if len(files) == 1 else f"{len(files)} files"
    name = "standard input" if name == "-" else name
    sources.check_encoding(encoding)
    size = sources.size_of(files) if sources.is_utf8(encoding) else None
    if size is not None and cache.SMALL < size <= 4 * most and cache.may_have(size, len(BOM) * len(files)):
        found = cache.opened(hashed(files, separator), name)
        if found is not None:
            return found
    with Builder(most) as builder:
        for file in files:
            builder.document(sources.pieces(file, encoding), separator)
        return builder.corpus(name)


def hashed(files: Iterable[str], separator: str = "") -> str:
    """The hash that the corpus of these files has, if all they hold is UTF-8; nothing is decoded.

    Empty for a file with the byte that marks a document's end in the hash: it is not UTF-8.
    """
    digest = hashlib.sha256()
    for file in files:
        size = 0
        chunks = (chunk if number else chunk.removeprefix(BOM) for number, chunk in enumerate(sources.chunks(file)))
        for text, cuts in parted(chunks, separator.encode()) if separator else ((chunk, []) for chunk in chunks):
            if END in text:
                return ""
            digest.update(ended(text, cuts))
            size += len(text)
        if size:
            digest.update(END)
    return digest.hexdigest()
