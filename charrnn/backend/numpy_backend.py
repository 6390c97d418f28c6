"""The CPU: NumPy."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy
import numpy as np

from charrnn.backend.arrays import Array, Backend

ONE_HOT_MOST = 256
"""Characters up to which `sum_rows` is a one-hot product on NumPy."""


class NumpyBackend(Backend):
    """NumPy arrays. Its device never runs ahead, so a branch on a value costs no wait."""

    def __init__(self) -> None:
        label = f"CPU ({platform.processor() or platform.machine()}), NumPy {np.__version__}"
        super().__init__(array_api_compat.numpy, None, name="cpu", label=label)
        self.ranges: dict[int, np.ndarray[Any, np.dtype[np.intp]]] = {}

    def resident(self, array: np.ndarray[Any, Any]) -> Array:
        """The array itself: it may be a mapped file larger than the memory."""
        return array

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy, of an array or a scalar."""
        return np.array(array)

    def quiet(self) -> AbstractContextManager[None]:
        """NumPy warns, thread by thread; a GPU does not."""
        return np.errstate(all="ignore")

    matmul = staticmethod(np.dot)  # NumPy's fastest product of small matrices, with nothing in between

    def transposed(self, matrix: Array, *, rows: int, out: Array) -> Array:
        """With one to four rows BLAS does as well on a view; with more it is slower, at H=256 up to fourfold."""
        return matrix.T if rows <= 4 else super().transposed(matrix, rows=rows, out=out)

    def indices(self, ids: Array) -> Array:
        """NumPy indexes with `intp`, and would convert anything else at each use."""
        return ids.astype(np.intp)

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """`mode="clip"` writes straight into `out`; the default mode allocates and is three times slower."""
        return np.take(table, ids, axis=0, out=out, mode="clip")

    def sum_rows(self, ids: Array, rows: Array, *, out: Array) -> Array:
        """Wide vocabularies by sorted segments: a one-hot product costs N · V · H, they about N · H (V=1000: 1/6)."""
        if out.shape[0] <= ONE_HOT_MOST:
            return super().sum_rows(ids, rows, out=out)
        order = np.argsort(ids, kind="stable")
        values, firsts = np.unique(ids[order], return_index=True)
        out[...] = 0
        out[values] = np.add.reduceat(rows[order], firsts, axis=0)
        return out

    def row_sums(self, matrix: Array) -> Array:
        """A product with ones is up to six times as fast as NumPy's sum of short rows."""
        return np.dot(matrix, np.ones((matrix.shape[1], 1), matrix.dtype))

    def pick(self, matrix: Array, ids: Array) -> Array:
        """Fancy indexing reads N elements instead of N · V."""
        return matrix[self.numbers(len(ids)), ids]

    def subtract_at(self, matrix: Array, ids: Array, amount: float) -> None:
        """Fancy indexing again; the pairs (n, ids[n]) are distinct."""
        matrix[self.numbers(len(ids)), ids] -= amount

    def numbers(self, n: int) -> np.ndarray[Any, np.dtype[np.intp]]:
        """0, 1, ..., n - 1; the same n comes back at every step."""
        found = self.ranges.get(n)
        if found is None:  # shards of other widths may do the same meanwhile: the dictionary is replaced, never changed
            found = np.arange(n)
            self.ranges = {n: found, **dict(list(self.ranges.items())[:7])}
        return found

    def select(self, condition: Array, yes: Array, no: Array) -> Array:
        """A branch."""
        return yes if condition else no

    def zero_unless(self, ok: Array, array: Array) -> None:
        """A branch instead of a mask over every element."""
        if not ok:
            array[...] = 0

    def copy_if(self, ok: Array, source: Array, *, out: Array) -> None:
        """A branch instead of a mask."""
        if ok:
            out[...] = source

    def shrink(self, array: Array, norm: Array, bound: float) -> None:
        """A branch; most steps need none."""
        if norm > bound:
            np.multiply(array, bound / norm, out=array)

    def clip(self, array: Array, bound: float) -> None:
        """One pass in place."""
        np.clip(array, -bound, bound, out=array)

    def dot(self, a: Array, b: Array) -> Array:
        """BLAS."""
        return np.dot(a, b)


def memory() -> str:
    """The memory of this machine in words, or "unknown" where the system does not tell."""
    try:
        total: Any = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / 2**30:.0f} GiB"
