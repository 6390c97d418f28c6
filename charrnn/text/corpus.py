"""A corpus: ids, vocabulary, document starts and a hash. The ids lie in memory, or in a file that is mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from charrnn.text.vocabulary import BLOCK, Ids, Vocabulary


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        name: for people: the file's name, or how many files.
        ids: (N,) in the vocabulary's dtype; of a large text read-only, mapped from the cache.
        starts: (D,) sorted positions in `ids` where a document begins; the first is 0. Mapped where `ids` is.
        vocabulary: every character of the text, and those that `widened` added, with counts of 0.
        sha256: of the text and its cuts into documents.
    """

    name: str
    ids: Ids
    starts: Ids
    vocabulary: Vocabulary
    sha256: str

    def split(self, val_fraction: float) -> tuple[Part, Part | None]:
        """The first part for training, the tail for validation; None where either would be under two characters."""
        cut = held_out_from(len(self.ids), val_fraction)
        if val_fraction == 0 or cut < 2 or len(self.ids) - cut < 2:
            return self.part(0, len(self.ids)), None
        return self.part(0, cut), self.part(cut, len(self.ids))

    def part(self, first: int, last: int) -> Part:
        """The characters from `first` up to `last`: a view of `ids`."""
        starts = np.asarray(self.starts)
        return Part(self.ids[first:last], starts[slice(*np.searchsorted(starts, [first + 1, last]))] - first)

    def utf8(self) -> Iterator[bytes]:
        """The text as UTF-8, block by block."""
        for first in range(0, len(self.ids), BLOCK):
            yield self.vocabulary.decode(self.ids[first : first + BLOCK]).encode()


@dataclass(frozen=True)
class Part:
    """A stretch of ids (N,) and the sorted positions (D,) in it, after the first, where a document begins."""

    ids: Ids
    starts: Ids = field(default_factory=lambda: np.zeros(0, np.int64))

    def head(self, count: int) -> Part:
        """Its first `count` characters."""
        return Part(self.ids[:count], self.starts[: np.searchsorted(self.starts, count)])

    def begin(self, positions: Ids) -> Ids:
        """For positions of any shape whether a document begins there, as one does at the first."""
        found = positions == 0
        if len(self.starts):
            nearest = np.searchsorted(self.starts, positions).clip(max=len(self.starts) - 1)
            found |= np.asarray(self.starts)[nearest] == positions
        return found


def held_out_from(length: int, val_fraction: float) -> int:
    """Where in a text of `length` characters the validation split begins."""
    return int(length * (1 - val_fraction))
