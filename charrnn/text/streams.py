"""A part of a corpus as B parallel streams, cut into chunks of T characters.

The sweep and its reset are min-char-rnn's, for each stream alone: chunk k of a stream of N characters reads
`ids[kT : kT+T]` and predicts `ids[kT+1 : kT+T+1]`, and the sweep starts again, from a zero state, before the chunk for
which `kT + T + 1 >= N`. Which chunk a step trains on is thus a function of the step alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.text.corpus import Part
from charrnn.text.vocabulary import Ids


@dataclass(frozen=True)
class Streams:
    """B streams side by side.

    Attributes:
        ids: (N, B), a view of the part's: column b is stream b, so that a chunk is a plain slice of rows.
        seq_length: T.
        starts: (D,) sorted, N·b + n for each row n > 0 of a stream b where a document begins.
    """

    ids: Ids
    seq_length: int
    starts: Ids

    @property
    def chunks(self) -> int:
        """Chunks in one sweep."""
        return max(1, (self.ids.shape[0] - 2) // self.seq_length)

    def chunk(self, step: int) -> tuple[int, int]:
        """The index of the chunk that `step` (0, 1, ...) trains on, and the row where it begins."""
        index = step % self.chunks
        return index, index * self.seq_length

    @property
    def resets(self) -> Ids:
        """(K,) the chunks, ascending, before or in which a state is dropped: the first, and those with documents."""
        row = self.starts % self.ids.shape[0]
        return np.unique(np.append(row[row < self.chunks * self.seq_length] // self.seq_length, 0))

    def keep(self, index: int) -> Ids | None:
        """(T, B) uint8: 0 where the state is dropped before reading the character, else 1; None for all ones."""
        N, B = self.ids.shape
        first = np.arange(B) * N + index * self.seq_length
        lows, highs = np.searchsorted(self.starts, [first, first + self.seq_length])
        if index and (lows == highs).all():
            return None
        mask = np.ones((self.seq_length, B), np.uint8)
        mask[0] = index > 0
        for b in np.flatnonzero(lows < highs):
            mask[self.starts[lows[b] : highs[b]] - first[b], b] = 0
        return mask


def fitted(length: int, batch_size: int, seq_length: int) -> tuple[int, int]:
    """B and T, shrunk so that `length` characters hold at least one chunk of each stream."""
    batch_size = max(1, min(batch_size, length // (seq_length + 1)))
    return batch_size, min(seq_length, length // batch_size - 1)


def streams(part: Part, batch_size: int, seq_length: int) -> Streams:
    """Cut `part` into equal streams; B and T must fit it (`fitted`). The remainder, under B characters, is left out.

    Nothing is copied: of a mapped corpus only what a step reads comes into memory.
    """
    span = len(part.ids) // batch_size
    columns = part.ids[: span * batch_size].reshape(batch_size, span)
    starts = np.asarray(part.starts, np.int64)
    return Streams(columns.T, seq_length, starts[: np.searchsorted(starts, span * batch_size)])
