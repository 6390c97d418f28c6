"""A corpus: ids, vocabulary, document starts and a hash. The ids lie in memory, or in a file that is mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.text.vocabulary import BLOCK, Ids, Vocabulary


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        name: for people: the file's name, or how many files.
        ids: (N,) in the vocabulary's dtype; of a large text read-only, mapped from the cache.
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
        """The characters from `first` up to `last`: a view of `ids`."""
        return Part(self.ids[first:last], tuple(s - first for s in self.starts if first < s < last))

    def utf8(self) -> Iterator[bytes]:
        """The text as UTF-8, block by block."""
        for first in range(0, len(self.ids), BLOCK):
            yield self.vocabulary.decode(self.ids[first : first + BLOCK]).encode()


@dataclass(frozen=True)
class Part:
    """A stretch of ids (N,) and the positions in it, after the first, where a document begins."""

    ids: Ids
    starts: tuple[int, ...] = ()
