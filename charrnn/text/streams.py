"""A part of a corpus as B parallel streams, cut into chunks of T characters.

The sweep and its reset are min-char-rnn's, for each stream alone: chunk k of a stream of N characters reads
`ids[kT : kT+T]` and predicts `ids[kT+1 : kT+T+1]`, and the sweep starts again, from a zero state, before the chunk for
which `kT + T + 1 >= N`. With a seed each sweep begins a few characters later, at a place drawn for it. Which chunk a
step trains on is a function of the step alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from charrnn import seeds
from charrnn.text.corpus import Part
from charrnn.text.vocabulary import Ids


@dataclass(frozen=True)
class Streams:
    """B streams side by side.

    Attributes:
        ids: (N, B), a view of the part's: column b is stream b, so that a chunk is a plain slice of rows.
        seq_length: T.
        starts: (D,) sorted, N·b + n for each row n > 0 of a stream b where a document begins.
        seed: with one, each sweep begins at a row drawn for it, so that no two cut the text alike and every row is
            reached in some; None: every sweep begins at row 0.
    """

    ids: Ids
    seq_length: int
    starts: Ids
    seed: int | None = None

    @property
    def chunks(self) -> int:
        """Chunks in one sweep."""
        T, N = self.seq_length, self.ids.shape[0]
        return max(1, (N - 2) // T if self.seed is None else (N - T) // T)

    def chunk(self, step: int) -> tuple[int, int]:
        """The index in its sweep of the chunk that `step` (0, 1, ...) trains on, and the row where it begins."""
        sweep, index = divmod(step, self.chunks)
        row = index * self.seq_length
        if self.seed is not None:
            spare = self.ids.shape[0] - 1 - self.chunks * self.seq_length
            row += offset(self.seed, sweep, spare + 1)
        return index, row

    def resets(self, step: int) -> bool:
        """Whether any stream's state is dropped in the chunk of `step`."""
        index, row = self.chunk(step)
        if index == 0 or len(self.starts) == 0:
            return index == 0
        _, lows, highs = self.documents(row)
        return bool((lows < highs).any())

    def documents(self, row: int) -> tuple[Ids, Ids, Ids]:
        """For each stream its number of `row`, and which of `starts`, from where and up to where, are in the chunk."""
        N, B = self.ids.shape
        first = np.arange(B) * N + row
        lows, highs = np.searchsorted(self.starts, [first, first + self.seq_length])
        return first, lows, highs

    def keep(self, step: int) -> Ids:
        """(T, B) uint8: 0 where the state is dropped before reading the character, else 1."""
        index, row = self.chunk(step)
        first, lows, highs = self.documents(row)
        mask = np.ones((self.seq_length, self.ids.shape[1]), np.uint8)
        mask[0] = index > 0
        for b in np.flatnonzero(lows < highs):
            mask[self.starts[lows[b] : highs[b]] - first[b], b] = 0
        return mask


@lru_cache(maxsize=16)
def offset(seed: int, sweep: int, most: int) -> int:
    """The row below `most` at which a sweep begins."""
    return int(seeds.stream(seed, "offsets", sweep).integers(most))


def fitted(length: int, batch_size: int, seq_length: int) -> tuple[int, int]:
    """B and T, shrunk so that `length` characters hold at least one chunk of each stream."""
    batch_size = max(1, min(batch_size, length // (seq_length + 1)))
    return batch_size, min(seq_length, length // batch_size - 1)


def streams(part: Part, batch_size: int, seq_length: int, seed: int | None = None) -> Streams:
    """Cut `part` into equal streams; B and T must fit it (`fitted`). The remainder, under B characters, is left out.

    Nothing is copied: of a mapped corpus only what a step reads comes into memory. `seed`: see `Streams`.
    """
    span = len(part.ids) // batch_size
    columns = part.ids[: span * batch_size].reshape(batch_size, span)
    starts = np.asarray(part.starts, np.int64)
    return Streams(columns.T, seq_length, starts[: np.searchsorted(starts, span * batch_size)], seed)
