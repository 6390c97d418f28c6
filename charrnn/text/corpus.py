"""A corpus: the ids of a text, its vocabulary, and where its documents start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import AnyStr

import numpy as np

from charrnn.text.vocabulary import BLOCK, Ids, Vocabulary

MANY = 20
"""A text with more documents than this is split after their order was shuffled."""


@dataclass(frozen=True)
class Fingerprint:
    """What a checkpoint records of a text: its hash, see `Corpus`, and the number of its characters."""

    sha256: str
    characters: int


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        name: the file's name, or how many files, for the user.
        ids: (N,) in the vocabulary's dtype. Those of a large text are read-only, memory-mapped from the cache.
        starts: (D,) sorted positions in `ids` where a document starts; the first is 0. Mapped if `ids` is.
        vocabulary: every character of the text, and those that `widen` added, with a count of 0.
        sha256: the hash of the text and the ends of its documents.
        validation: a text of its own to evaluate on while training, in the same vocabulary; None: a part of this text.
        test: a text to evaluate the trained network on, in the same vocabulary.
    """

    name: str
    ids: Ids
    starts: Ids
    vocabulary: Vocabulary
    sha256: str
    validation: Corpus | None = None
    test: Corpus | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """What identifies this text."""
        return Fingerprint(self.sha256, len(self.ids))

    @property
    def held_out(self) -> dict[str, Fingerprint | None]:
        """What identifies the texts to validate and test on, by the names of these in a checkpoint."""
        texts = {"val_text": self.validation, "test_text": self.test}
        return {name: text.fingerprint if text else None for name, text in texts.items()}

    @property
    def whole(self) -> Part:
        """The whole text."""
        return self.part(0, len(self.ids))

    def split(self, val_fraction: float, *, shuffle: bool = False) -> tuple[Part, Part | None]:
        """Return the training split and the validation split, which is the end of the text or a text of its own.

        The training split is the whole text if there is another to validate on; also if one of the two would have
        fewer than two characters, and then the validation split is None.

        Args:
            val_fraction: the share of the text that is held out.
            shuffle: whether to shuffle the order of the documents before; see `fits_shuffling`. The split is then at
                the start of the document that is nearest. `ids` does not change: the parts are copies.
        """
        N = len(self.ids)
        cut = validation_start(N, val_fraction)
        if self.validation is not None:
            return self.whole, self.validation.whole
        if val_fraction == 0 or cut < 2 or N - cut < 2:
            return self.whole, None
        corpus = self
        if shuffle and len(self.starts) > 1:
            order = self.shuffled(N - cut)
            ends = np.cumsum(self.lengths[order])
            corpus = replace(self, ids=self.gathered(order, ends), starts=np.append(0, ends[:-1]))
            cut = nearest(ends[:-1], cut)
        return corpus.part(0, cut), corpus.part(cut, N)

    def fits_shuffling(self, val_fraction: float) -> bool:
        """Return whether the documents are many, are in RAM, and divide the text in about the wanted proportion."""
        N = len(self.ids)
        share = N - validation_start(N, val_fraction)
        if self.validation is not None or not 2 <= share <= N - 2 or len(self.starts) <= MANY or self.is_mapped:
            return False
        ends = np.cumsum(self.lengths[self.shuffled(share)])
        held_out = N - nearest(ends[:-1], N - share)
        return 2 <= held_out <= N - 2 and share <= 2 * held_out <= 4 * share

    @property
    def is_mapped(self) -> bool:
        """Whether `ids` is mapped from the cache."""
        return not self.ids.flags.writeable

    @property
    def lengths(self) -> Ids:
        """The number of characters of each document (D,)."""
        return np.diff(self.starts, append=len(self.ids))

    def shuffled(self, share: int) -> Ids:
        """Return a random order (D,) of the documents. Those of more than `share` characters, which cannot be held
        out, come first.

        The order depends on the text alone, so that every seed has the same validation split. It is that of raw random
        numbers, which all versions of NumPy draw alike; `Generator.permutation` may change.
        """
        random = np.random.PCG64(int(self.sha256, 16)).random_raw(len(self.starts))
        return np.lexsort([random, self.lengths <= share])

    def gathered(self, order: Ids, ends: Ids) -> Ids:
        """Return the text (N,) with its documents in another `order` (D,), in which they end at `ends` (D,)."""
        lengths, ids = self.lengths[order], np.empty_like(self.ids)
        shift = self.starts[order] - (ends - lengths)
        for first in range(0, len(ids), BLOCK):  # in blocks, because a position takes 8 bytes
            last = min(first + BLOCK, len(ids))
            low, high = np.searchsorted(ends, [first, last - 1], "right") + np.array([0, 1])
            counts = np.minimum(ends[low:high], last) - np.maximum(ends[low:high] - lengths[low:high], first)
            ids[first:last] = self.ids[np.arange(first, last) + np.repeat(shift[low:high], counts)]
        return ids

    def part(self, first: int, last: int) -> Part:
        """Return the characters from `first` up to `last`, as a view of `ids`."""
        low, high = np.searchsorted(self.starts, [first + 1, last])
        begins = low > 0 and self.starts[low - 1] == first
        return Part(self.ids[first:last], self.starts[low:high] - first, bool(begins))

    def documents(self) -> Iterator[str]:
        """Yield the text of each document."""
        ends = (*self.starts[1:].tolist(), len(self.ids))
        return (self.vocabulary.decode(self.ids[a:b]) for a, b in zip(self.starts.tolist(), ends, strict=True))

    def utf8(self) -> Iterator[bytes]:
        """Yield the text as UTF-8, block by block."""
        for first in range(0, len(self.ids), BLOCK):
            yield self.vocabulary.decode(self.ids[first : first + BLOCK]).encode()


@dataclass(frozen=True)
class Part:
    """A stretch of a corpus.

    Attributes:
        ids: (N,).
        starts: (D,) sorted positions in `ids`, after the first, where a document starts.
        begins: whether a document starts at the first position.
    """

    ids: Ids
    starts: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    begins: bool = False

    def head(self, count: int) -> Part:
        """Return the first `count` characters."""
        return Part(self.ids[:count], self.starts[: np.searchsorted(self.starts, count)], self.begins)

    def tail(self, count: int) -> Part:
        """Return the last `count` characters."""
        first = max(0, len(self.ids) - count)
        if first == 0:
            return self
        low = np.searchsorted(self.starts, first)
        begins = bool(low < len(self.starts) and self.starts[low] == first)
        return Part(self.ids[first:], self.starts[low + begins :] - first, begins)

    def is_start(self, positions: Ids) -> Ids:
        """Return for positions of any shape whether a document starts at them. Position 0 always counts as a start."""
        result = positions == 0
        if len(self.starts):
            nearest = np.searchsorted(self.starts, positions).clip(max=len(self.starts) - 1)
            result |= self.starts[nearest] == positions
        return result


def join(parts: Iterable[Part]) -> Part:
    """Return the characters of all parts; each of them that is not empty starts a document."""
    kept = [part for part in parts if len(part.ids)]
    if not kept:
        return Part(np.zeros(0, np.uint8), begins=True)
    firsts = np.cumsum([0, *(len(part.ids) for part in kept[:-1])])
    starts = [np.concatenate([[first], part.starts + first]) for first, part in zip(firsts, kept, strict=True)]
    return Part(np.concatenate([part.ids for part in kept]), np.concatenate(starts)[1:], begins=True)


def validation_start(length: int, val_fraction: float) -> int:
    """Return where the validation split starts in a text of `length` characters."""
    return int(length * (1 - val_fraction))


def nearest(sorted_values: Ids, value: int) -> int:
    """Return the one of `sorted_values` that is nearest to `value`; the lower of two."""
    index = int(np.abs(sorted_values - value).argmin())
    return int(sorted_values[index])


def split_documents(blocks: Iterable[AnyStr], separator: AnyStr) -> Iterator[tuple[AnyStr, list[int]]]:
    """Yield the text of `blocks` in other blocks, each with the positions in it where a new document starts.

    A separator belongs to the document that it ends, so that the network learns to end one. Several separators in a
    row end one document, so that every document has text of its own; those before the first document belong to it.
    Separators are found from the left, as by `str.find`, without overlap. No block is empty, and the positions ascend.

    Args:
        blocks: the text in blocks of any size, as characters or as UTF-8.
        separator: not empty.
    """
    pending, n = separator[:0], len(separator)
    has_text = False  # the document has text of its own
    ended = False  # the last separator before `pending[at]` ends a document
    for block in blocks:
        pending += block
        starts, at = list[int](), 0
        while (place := pending.find(separator, at)) >= 0:
            if place > at:
                if ended:
                    starts.append(at)
                has_text = True
            ended, at = has_text, place + n
        if len(pending) - at >= n:  # no separator is at `at`: it is text
            if ended:
                starts.append(at)
            has_text, ended, at = True, False, len(pending) - (n - 1)
        if at:
            yield pending[:at], starts
        pending = pending[at:]
    if pending:
        yield pending, [0] * ended


def join_documents(texts: Iterable[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield documents in blocks of about `BLOCK` characters, as `split_documents` does. Empty ones are left out.

    Short documents are added five times as fast as one by one.
    """
    parts, starts, length, is_first = list[str](), list[int](), 0, True
    for text in filter(None, texts):
        if not is_first:
            starts.append(length)
        parts.append(text)
        length, is_first = length + len(text), False
        if length >= BLOCK:
            yield "".join(parts), starts
            parts, starts, length = [], [], 0
    if parts:
        yield "".join(parts), starts


def document_starts(text: str, separator: str) -> Ids:
    """Return where the documents of `text` start (D,), without the first. An empty separator splits nothing."""
    starts, position = list[int](), 0
    for block, places in split_documents([text], separator) if separator else ():
        starts += (position + place for place in places)
        position += len(block)
    return np.array(starts, np.int64)
