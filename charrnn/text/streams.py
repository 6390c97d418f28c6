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
        resets: for each chunk that has any, the sorted (t, b) before which stream b starts from a zero state.
    """

    ids: Ids
    seq_length: int
    resets: dict[int, tuple[tuple[int, int], ...]]

    @property
    def chunks(self) -> int:
        """Chunks in one sweep."""
        return max(1, (self.ids.shape[0] - 2) // self.seq_length)

    def chunk(self, step: int) -> tuple[int, int]:
        """The index of the chunk that `step` (0, 1, ...) trains on, and the row where it begins."""
        index = step % self.chunks
        return index, index * self.seq_length

    def keep(self, index: int) -> Ids | None:
        """(T, B) uint8: 0 where the state is dropped before reading the character, else 1; None for all ones."""
        if index not in self.resets:
            return None
        mask = np.ones((self.seq_length, self.ids.shape[1]), np.uint8)
        rows, columns = zip(*self.resets[index], strict=True)
        mask[list(rows), list(columns)] = 0
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
    result = Streams(columns.T, seq_length, {})
    by_chunk: dict[int, set[tuple[int, int]]] = {0: {(0, b) for b in range(batch_size)}}
    for start in part.starts:
        b, row = divmod(start, span)
        if b < batch_size and row < result.chunks * seq_length:
            by_chunk.setdefault(row // seq_length, set()).add((row % seq_length, b))
    result.resets.update({index: tuple(sorted(pairs)) for index, pairs in by_chunk.items()})
    return result
