"""A part of a corpus as B parallel streams, which are read in chunks of T characters.

Each stream is read as min-char-rnn reads its text: chunk k of a stream of N characters has the inputs
`ids[kT : kT+T]` and the targets `ids[kT+1 : kT+T+1]`. A sweep over the stream ends before the first chunk with
`kT + T + 1 >= N`; the next one starts from a zero state. With a seed, each sweep starts a few characters later, at an
offset drawn for it. The chunk of a step is a function of the step alone.
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
    """B parallel streams.

    Attributes:
        ids: (N, B), a view of the part's ids: column b is stream b, so that a chunk is a slice of rows.
        seq_length: T.
        starts: (D,) sorted: N·b + n where a document starts at row n of stream b, without row 0 of stream 0.
        seed: with a seed, each sweep starts at a row drawn for it, so that no two sweeps cut the text in the same
            places and every row is read in some sweep; None: every sweep starts at row 0.
        start_symbol: whether the first character of a document is predicted from a start symbol, which is read in place
            of the last character of the document before it.
    """

    ids: Ids
    seq_length: int
    starts: Ids
    seed: int | None = None
    start_symbol: bool = False

    @property
    def chunks(self) -> int:
        """The number of chunks in a sweep."""
        T, N = self.seq_length, self.ids.shape[0]
        return max(1, (N - 2) // T if self.seed is None else (N - T) // T)

    def chunk(self, step: int) -> tuple[int, int]:
        """Return the chunk of `step` (0, 1, ...): its index in its sweep, and its first row."""
        sweep, index = divmod(step, self.chunks)
        row = index * self.seq_length
        if self.seed is not None:
            spare_rows = self.ids.shape[0] - 1 - self.chunks * self.seq_length
            row += sweep_offset(self.seed, sweep, spare_rows + 1)
        return index, row

    def resets(self, step: int) -> bool:
        """Return whether the state of any stream is reset in the chunk of `step`."""
        index, row = self.chunk(step)
        if index == 0 or len(self.starts) == 0:
            return index == 0
        _, lows, highs = self.documents(row)
        return bool((lows < highs).any())

    def documents(self, row: int) -> tuple[Ids, Ids, Ids]:
        """Return where a document that resets the first row of a chunk at `row` starts; first and end of its `starts`.

        The results are three arrays (B,); the last two are indices.

        The state is reset before a document's first character is read, or with a start symbol before the last character
        of the document before it is replaced by the symbol.
        """
        N, B = self.ids.shape
        first = np.arange(B) * N + row + self.start_symbol
        lows, highs = np.searchsorted(self.starts, [first, first + self.seq_length])
        return first, lows, highs

    def keep(self, step: int) -> Ids:
        """Return (T, B) uint8: 0 where the state is reset before the character is read, else 1."""
        mask = 1 - self.begins(step)
        mask[0] *= self.chunk(step)[0] > 0
        return mask

    def begins(self, step: int) -> Ids:
        """Return (T, B) uint8: 1 where the state is reset because of a document, else 0."""
        first, lows, highs = self.documents(self.chunk(step)[1])
        mask = np.zeros((self.seq_length, self.ids.shape[1]), np.uint8)
        for b in np.flatnonzero(lows < highs):
            mask[self.starts[lows[b] : highs[b]] - first[b], b] = 1
        return mask


@lru_cache(maxsize=16)
def sweep_offset(seed: int, sweep: int, limit: int) -> int:
    """Return the row below `limit` at which a sweep starts."""
    return int(seeds.stream(seed, "offsets", sweep).integers(limit))


def fit_batch(length: int, batch_size: int, seq_length: int) -> tuple[int, int]:
    """Return B and T, reduced so that `length` characters hold at least one chunk of each stream."""
    batch_size = max(1, min(batch_size, length // (seq_length + 1)))
    return batch_size, min(seq_length, length // batch_size - 1)


def streams(
    part: Part, batch_size: int, seq_length: int, seed: int | None = None, *, start_symbol: bool = False
) -> Streams:
    """Return `part` as streams of equal length. B and T must fit the part (`fit_batch`).

    The last characters of the part, fewer than B, are not used. Nothing is copied: of a mapped corpus only what a step
    reads is loaded into RAM. For `seed` and `start_symbol` see `Streams`.
    """
    length = len(part.ids) // batch_size
    columns = part.ids[: length * batch_size].reshape(batch_size, length)
    starts = np.asarray(part.starts, np.int64)
    starts = starts[: np.searchsorted(starts, length * batch_size)]
    return Streams(columns.T, seq_length, starts, seed, start_symbol)
