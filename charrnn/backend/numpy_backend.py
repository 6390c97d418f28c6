"""The CPU: NumPy."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from typing import Any

import array_api_compat.numpy
import numpy as np

from charrnn.backend.arrays import Affine, Array, Backend, Factor
from charrnn.backend.crew import shared_zeros
from charrnn.backend.threads import blas_kernel

ONE_HOT_MOST = 256
"""Characters up to which `sum_rows` is a one-hot product on NumPy."""
UNPACKED_MOST = 1_000_000
"""Multiplications of a product up to which OpenBLAS's AVX-512 kernels do not copy their operands first."""
UNPACKED_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")


class NumpyFactor(Factor):
    """A matrix held as panels of columns where that is faster, else as it is.

    OpenBLAS copies both operands of a larger product, also where the left one has few rows and the copy costs as much
    as the product. Its AVX-512 kernels spare the copy up to `UNPACKED_MOST`, so there a larger matrix is cut into
    panels that stay below (32 rows, H=512: 105 GFLOP/s instead of 77; H=1024: 103 instead of 61).
    """

    def __init__(self, backend: Backend, shape: tuple[int, int], dtype: str, *, rows: int) -> None:
        super().__init__(backend, shape, dtype, rows=rows)
        K, N = shape
        width = panel_width(rows, K, N)
        self.panels = np.empty((N // width, K, width) if width else (K, N), dtype)
        self.products = np.empty((N // width, rows, width), dtype) if width else None

    def use(self, matrix: Array) -> Affine:
        """Copy a view or into panels; with one to four rows BLAS does as well on a view."""
        if self.products is None:
            if len(self.product) > 4 and not matrix.flags.c_contiguous:  # H=256: up to fourfold
                self.panels[...] = matrix
                matrix = self.panels
            return affine_by(matrix, self.product)
        count, rows, width = self.products.shape
        self.panels[...] = matrix.reshape(len(matrix), count, width).transpose(1, 0, 2)
        panels, products, by_rows = self.panels, self.products, self.products.transpose(1, 0, 2)
        matmul, add, shape = np.matmul, np.add, (rows, count, width)

        def affine(a: Array, b: Array, out: Array) -> None:
            matmul(a, panels, products)
            add(by_rows, b.reshape(shape), out.reshape(shape))

        return affine


def affine_by(matrix: Array, product: Array) -> Affine:
    """One product and one sum; the method `dot` is NumPy's fastest call of BLAS."""
    add = np.add

    def affine(a: Array, b: Array, out: Array) -> None:
        a.dot(matrix, product)
        add(product, b, out)

    return affine


def panel_width(rows: int, K: int, N: int) -> int:
    """Columns of a panel, 0 for none. Decided by shape and BLAS alone, so that the same run has the same bits."""
    if rows * K * N <= UNPACKED_MOST or blas_kernel() not in UNPACKED_KERNELS:
        return 0
    return next((w for w in (64, 32, 16) if N % w == 0 and rows * K * w <= UNPACKED_MOST), 0)


class NumpyBackend(Backend):
    """NumPy arrays. Its device never runs ahead, so a branch on a value costs no wait."""

    def __init__(self) -> None:
        label = f"CPU ({platform.processor() or platform.machine()}), NumPy {np.__version__}"
        super().__init__(array_api_compat.numpy, None, name="cpu", label=label)
        self.ranges: dict[int, np.ndarray[Any, np.dtype[np.intp]]] = {}

    def shared_zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """In memory that outlives a fork."""
        return shared_zeros(shape, dtype)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy, of an array or a scalar."""
        return np.array(array)

    def quiet(self) -> AbstractContextManager[None]:
        """NumPy warns, thread by thread; a GPU does not."""
        return np.errstate(all="ignore")

    matmul = staticmethod(np.dot)  # NumPy's fastest product of small matrices, with nothing in between

    def factor(self, shape: tuple[int, int], dtype: str, *, rows: int) -> Factor:
        """In panels where that is faster."""
        return NumpyFactor(self, shape, dtype, rows=rows)

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
