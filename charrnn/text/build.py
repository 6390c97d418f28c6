"""Make a corpus: read a text once, piece by piece, and hash, count and number its characters on the way.

A small text stays in RAM. One above `cache.SMALL` goes to the disk, and its ids are mapped from the cache, where the
next run on the same text finds them by its hash.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import AnyStr

import numpy as np

from charrnn.errors import TextError
from charrnn.text import cache, sources
from charrnn.text.cache import Meta, Spill
from charrnn.text.corpus import Corpus, join_documents, split_documents
from charrnn.text.encodings import check_encoding, is_utf8
from charrnn.text.rows import Rows
from charrnn.text.sources import BOM, Piece
from charrnn.text.vocabulary import BLOCK, CODE_POINTS, Ids, Vocabulary, code_points

ASCII = 128
END = b"\xff"
"""What is hashed at the end of each document: a byte that UTF-8 never has."""


def from_text(text: str, name: str = "the text", *, separator: str = "") -> Corpus:
    """Return the corpus of a string. Raises `TextError` as `from_files` does, and for a lone surrogate."""
    with Builder() as builder:
        firsts = range(0, len(text), sources.BLOCK)
        builder.add_document((Piece.from_text(text[n : n + sources.BLOCK]) for n in firsts), separator)
        return builder.corpus(name)


def from_files(
    names: Iterable[str],
    encoding: str = "utf-8",
    separator: str = "",
    *,
    rows: Rows | None = None,
    max_characters: float = math.inf,
    checked: bool = True,
) -> Corpus:
    """Return the corpus of files, or of the embedded text if there are no names. For names see `sources.expand`.

    Each file, each text in a zip archive, or each row if there are `rows`, is a document, or the documents into which
    `separator` splits it: see `split_documents`. A row that does not end in `separator` gets it.

    Raises `TextError` for a text that cannot be found, read or decoded, has fewer than two characters or more than
    `max_characters`, or is too large for RAM and cannot be cached; if `checked`, also for one that seems to be no text.
    With a NUL in `separator` nothing is checked: NULs are meant.
    """
    checked = checked and "\0" not in separator
    paths = sources.expand(list(names))
    if rows and not paths:
        raise TextError("--jsonl and --csv need a file (data.jsonl, data.csv)")
    if not paths:
        return from_text(sources.embedded(), sources.EMBEDDED, separator=separator)
    name = paths[0] if len(paths) == 1 else f"{len(paths)} files"
    name = "standard input" if name == "-" else name
    check_encoding(encoding)
    size = sources.size_of(paths) if is_utf8(encoding) and not rows else None
    if size is not None and cache.SMALL < size <= 4 * max_characters and cache.may_contain(size, len(BOM) * len(paths)):
        corpus = cache.load(hash_files(paths, separator), name)
        if corpus is not None:
            return corpus
    with Builder(max_characters) as builder:
        for path in paths:
            if rows:
                for texts in sources.rows_of(path, encoding, rows, checked=checked):
                    builder.add_texts(texts, separator)
            else:
                for document in sources.documents(path, encoding, checked=checked):
                    builder.add_document(document, separator)
        return builder.corpus(name)


class Builder:
    """Collects pieces of text as provisional ids, in the smallest integer type. Use it as a context manager.

    A character's provisional id is its place in the order of first appearance, after the 128 ASCII characters: so the
    bytes of ASCII are their own provisional ids. The final ids are known when the whole text has been read.

    Attributes:
        points: (K,) the code point of each provisional id.
        counts: (K,) how often each occurs.
        table: (0x110000,) the provisional id of each code point, 0 for one that has none yet. The system gives zeros
            no RAM before they are overwritten, so the table costs a short text nothing.
        blocks: the provisional ids (N,) in the order of the text, in RAM or on the disk.
        starts: where documents start, 8 bytes each: each line may be a document.
        max_characters: with more of them, `add` raises an error.
        length: characters so far.
        size: bytes of UTF-8 so far.
    """

    def __init__(self, max_characters: float = math.inf) -> None:
        self.max_characters = max_characters
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

    def add_document(self, pieces: Iterable[Piece], separator: str = "") -> None:
        """Add a document, or the documents into which `separator` splits it. An empty document is ignored."""
        if separator:
            self.add_pieces(split_pieces((piece.characters for piece in pieces), separator))
        else:
            self.add_pieces((piece, ()) for piece in pieces)

    def add_texts(self, texts: Iterable[str], separator: str = "") -> None:
        """Add each of `texts` as `add_document` does. One that does not end in `separator` gets it, to have an end."""
        if separator:
            for text in filter(None, texts):
                ended = text if text.endswith(separator) else text + separator
                self.add_pieces(split_pieces([ended], separator))
        else:
            self.add_pieces((Piece.from_text(text), starts) for text, starts in join_documents(texts))

    def add_pieces(self, pieces: Iterable[tuple[Piece, Sequence[int]]]) -> None:
        """Add a source that is not empty, in pieces with the positions in each where documents start; see `add`."""
        first = self.length
        for piece, starts in pieces:
            self.add(piece, self.length - first, starts)
        if self.length > first:
            self.digest.update(END)

    def add(self, piece: Piece, position: int, starts: Sequence[int] = ()) -> None:
        """Add the next piece of a source; `position` is the index of its first character in the source.

        Documents start at position 0 of the source, and at the positions `starts` in the piece.
        Raises `TextError` for more than `max_characters`.
        """
        if piece.text is None:
            assert piece.utf8 is not None
            ids: Ids = np.frombuffer(piece.utf8, np.uint8)
        else:
            ids = self.provisional_ids(code_points(piece.text, offset=position))
        utf8 = piece.utf8 if piece.utf8 is not None else (piece.text or "").encode()
        counts = count(ids)
        self.counts[: len(counts)] += counts
        if starts and piece.text is not None:
            self.digest.update(END.join(part.encode() for part in slices(piece.text, starts)))
        else:
            self.digest.update(mark_ends(utf8, starts))
        self.starts.extend(self.length + start for start in (*([] if position else [0]), *starts))
        self.length += len(ids)
        self.size += len(utf8)
        if self.length > self.max_characters:
            raise TextError(
                f"the text has more than {self.max_characters:,} characters: it is not the one that was trained on"
            )
        self.blocks.append(ids.astype(np.min_scalar_type(len(counts) - 1), copy=False))
        if self.size > cache.SMALL and isinstance(self.blocks, list):
            self.blocks = Spill(self.blocks)

    def provisional_ids(self, points: Ids) -> Ids:
        """Return the provisional ids of code points. New characters get the next ids."""
        ids = self.table.take(points)
        if ids.min() == 0:
            new = np.setdiff1d(points[ids == 0], [0])
            self.table[new] = np.arange(len(self.points), len(self.points) + len(new))
            self.points = np.concatenate([self.points, new])
            self.counts = np.concatenate([self.counts, np.zeros(len(new), np.int64)])
            ids = self.table.take(points)
        return ids

    def corpus(self, name: str) -> Corpus:
        """Return the corpus of all documents. Raises `TextError` for fewer than two characters or if caching fails."""
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
            meta = Meta(name, self.size, self.length, len(starts), vocabulary)
            return cache.load(sha256, name) or cache.save(sha256, meta, starts, self.final_blocks(final))
        ids = np.empty(self.length, vocabulary.dtype)
        for first, block in self.final_blocks(final):
            ids[first : first + len(block)] = block
        return Corpus(name, ids, starts, vocabulary, sha256)

    def final_blocks(self, final: Ids) -> Iterator[tuple[int, Ids]]:
        """Yield the final ids in blocks with their positions. `final` (K,) has the final id of each provisional one.

        The last block comes first: so the space of each provisional block is free before the next one is read.
        """
        end = self.length
        while self.blocks:
            block = self.blocks.pop()
            end -= len(block)
            yield end, final.take(block, mode="clip")  # all ids are in range; a check would double the time


def split_pieces(blocks: Iterable[str], separator: str) -> Iterator[tuple[Piece, list[int]]]:
    """Yield the pieces of a text with the positions in each where documents start; see `split_documents`."""
    return ((Piece.from_text(text), starts) for text, starts in split_documents(blocks, separator))


def count(ids: Ids) -> Ids:
    """Return how often each provisional id occurs (K,). ASCII is counted in pairs, which takes a third less time."""
    if ids.dtype != np.uint8:
        return np.bincount(ids)
    pairs = np.bincount(ids[: len(ids) // 2 * 2].view(np.uint16), minlength=ASCII * 256).reshape(ASCII, 256)
    counts: Ids = pairs.sum(axis=1) + pairs.sum(axis=0)[:ASCII]
    if len(ids) % 2:
        counts[ids[-1]] += 1
    return counts


def slices(block: AnyStr, places: Sequence[int]) -> Iterator[AnyStr]:
    """Yield the parts of `block` between `places`."""
    for first, last in zip([0, *places], [*places, len(block)], strict=True):
        yield block[first:last]


def mark_ends(utf8: bytes, places: Sequence[int]) -> bytes:
    """Return `utf8` with the mark of a document's end at `places`."""
    return END.join(slices(utf8, places)) if places else utf8


def hash_files(paths: Iterable[str], separator: str = "") -> str:
    """Return the hash of the corpus of these files if they are UTF-8, without decoding them.

    Return an empty string for a file with the byte that marks a document's end in the hash: it is not UTF-8.
    """
    digest = hashlib.sha256()
    for raw in (raw for path in paths for _, raw in sources.unpacked(path)):
        size = 0
        chunks = (chunk if number else chunk.removeprefix(BOM) for number, chunk in enumerate(raw))
        blocks = split_documents(chunks, separator.encode()) if separator else ((chunk, []) for chunk in chunks)
        for block, starts in blocks:
            if END in block:
                return ""
            digest.update(mark_ends(block, starts))
            size += len(block)
        if size:
            digest.update(END)
    return digest.hexdigest()


def with_held_out(corpus: Corpus, validation: Corpus | None, test: Corpus | None) -> Corpus:
    """Return `corpus` with other texts to validate and to test on, all in the union of their vocabularies."""
    return widen(replace(corpus, validation=validation, test=test), "")


def widen(corpus: Corpus, characters: str) -> Corpus:
    """Return `corpus` with a vocabulary of its own characters and `characters`, which a fine-tuned network has.

    The vocabulary has those of its validation and test text, too, which get the same one. See `in_vocabulary`.
    Raises `TextError` if a text cannot be cached.
    """
    others = [text for text in (corpus.validation, corpus.test) if text is not None]
    union = "".join(sorted({*characters}.union(*(text.vocabulary.characters for text in (corpus, *others)))))
    validation, test = (text and in_vocabulary(text, union) for text in (corpus.validation, corpus.test))
    widened = in_vocabulary(corpus, union)
    return replace(widened, validation=validation, test=test) if others else widened


def in_vocabulary(corpus: Corpus, union: str) -> Corpus:
    """Return `corpus` with the vocabulary of the sorted characters `union`, which has all of its own.

    Text, documents and hash stay; the ids are new. Characters that the text lacks have a count of 0. A text that is too
    large for RAM gets a second entry in the cache, which the next run finds.

    Raises `TextError` if it cannot be cached.
    """
    own = corpus.vocabulary
    if union == own.characters:
        return corpus
    counts = dict(zip(own.characters, own.counts, strict=True))
    vocabulary = Vocabulary(union, tuple(counts.get(c, 0) for c in union))
    new_ids = vocabulary.ids_by_code_point[code_points(own.characters)].astype(vocabulary.dtype)
    size = sum(n * len(c.encode()) for c, n in counts.items())
    if size <= cache.SMALL:
        return replace(corpus, ids=new_ids.take(corpus.ids), vocabulary=vocabulary)
    key = hashlib.sha256(f"{corpus.sha256} {union}".encode()).hexdigest()
    blocks = ((first, new_ids.take(corpus.ids[first : first + BLOCK])) for first in range(0, len(corpus.ids), BLOCK))
    meta = Meta(corpus.name, size, len(corpus.ids), len(corpus.starts), vocabulary)
    return replace(
        cache.load(key, corpus.name) or cache.save(key, meta, corpus.starts, blocks),
        sha256=corpus.sha256,
    )


def with_vocabulary(corpus: Corpus, vocabulary: Vocabulary) -> Corpus:
    """Return `corpus` with the vocabulary of a network that was trained on it.

    Raises `TextError` if that vocabulary counts other characters than the text has, or lacks one of a held-out text.
    """
    widened = widen(corpus, vocabulary.characters)
    if vocabulary.used != corpus.vocabulary.used or vocabulary.characters != widened.vocabulary.characters:
        raise TextError(f"{corpus.name} has other characters than the checkpoint says: the checkpoint is damaged")
    return widened
