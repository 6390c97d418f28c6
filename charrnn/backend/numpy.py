"""The CPU: NumPy."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import array_api_compat.numpy
import numpy as np

from charrnn.backend.base import Affine, Array, Backend, PackedWeights
from charrnn.backend.process_pool import shared_zeros
from charrnn.backend.threads import blas_kernel

ONE_HOT_MOST = 256
"""Most rows, and characters, for which `sum_rows` is a one-hot product."""
UNPACKED_MOST = 1_000_000
"""Most multiplications of a product for which OpenBLAS's AVX-512 kernels do not copy the operands first."""
UNPACKED_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""OpenBLAS's names of the processors with AVX-512."""
PASS = 2**16
"""Elements of a vector that a chain of elementwise operations processes before the next ones."""


class NumpyPackedWeights(PackedWeights):
    """A matrix stored as panels of columns where that is faster, else unchanged.

    OpenBLAS copies both operands of a large product, even if the left one has few rows and the copy costs as much as
    the product. Its AVX-512 kernels do without the copy up to `UNPACKED_MOST` multiplications. A larger product is
    therefore split into panels below that size (32 rows, H=512: 105 GFLOP/s instead of 77; H=1024: 103 instead of 61).
    """

    def __init__(self, backend: Backend, shape: tuple[int, int], dtype: str, *, rows: int, blocks: int = 0) -> None:
        super().__init__(backend, shape, dtype, rows=rows, blocks=blocks)
        K, N = shape
        width = panel_width(rows, K, N, N // max(1, blocks))
        self.panels = np.empty((N // width, K, width) if width else (K, N), dtype)
        self.products = np.empty((N // width, rows, width), dtype) if width else None

    def affine_by(self, matrix: Array) -> Affine:
        """Return `affine` for a copy in panels, for a contiguous copy of a view, or for the matrix itself."""
        if self.products is None:
            # A copy is up to four times faster than a view (H=256), but not for four rows or fewer.
            if len(self.product) > 4 and not matrix.flags.c_contiguous:
                self.panels[...] = matrix
                matrix = self.panels
            return affine_by_dot(matrix, self.product, self.summand)
        count, rows, width = self.products.shape
        self.panels[...] = matrix.reshape(len(matrix), count, width).transpose(1, 0, 2)
        panels, products, blocks = self.panels, self.products, max(1, self.blocks)
        summand = products.reshape(blocks, count // blocks, rows, width).transpose(0, 2, 1, 3)
        summand = summand if self.blocks else summand[0]
        matmul, add, shape = np.matmul, np.add, summand.shape

        def affine(a: Array, b: Array, out: Array) -> None:
            matmul(a, panels, products)
            add(summand, b.reshape(shape), out.reshape(shape))

        return affine


def affine_by_dot(matrix: Array, product: Array, summand: Array) -> Affine:
    """Return `affine` as one product and one sum; `summand` is a view of `product`. `dot` calls BLAS the fastest."""
    add = np.add

    def affine(a: Array, b: Array, out: Array) -> None:
        a.dot(matrix, product)
        add(summand, b, out)

    return affine


@lru_cache(maxsize=64)
def block_rows(N: int, K: int, M: int) -> int:
    """Return how many rows of a product (N, K) @ (K, M) to compute at once, 0 for all.

    (1250, 128) @ (128, 65) in blocks: 108 GFLOP/s instead of 90.
    """
    if N * K * M <= UNPACKED_MOST or blas_kernel() not in UNPACKED_KERNELS:
        return 0
    return next((n for n in range(min(N, UNPACKED_MOST // (K * M)), 15, -1) if N % n == 0), 0)


def panel_width(rows: int, K: int, N: int, block: int = 0) -> int:
    """Return the columns of a panel, a divisor of `block` or of N; 0 for no panels.

    Only shapes and the BLAS kernel decide, so that the same run has the same bits.
    """
    if rows * K * N <= UNPACKED_MOST or blas_kernel() not in UNPACKED_KERNELS:
        return 0
    return next((w for w in (64, 32, 16) if (block or N) % w == 0 and rows * K * w <= UNPACKED_MOST), 0)


class NumpyBackend(Backend):
    """NumPy arrays. The CPU computes at once, so a branch on a value never waits."""

    shares = True

    def __init__(self) -> None:
        label = f"CPU ({platform.processor() or platform.machine()}), NumPy {np.__version__}"
        super().__init__(array_api_compat.numpy, None, name="cpu", label=label)

    def shared_zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Use memory that forked processes share."""
        return shared_zeros(shape, dtype)

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        return np.array(array, dtype, order="C")

    def resident(self, array: np.ndarray[Any, Any]) -> Array:
        """Return the array itself: it may be a mapped file larger than the memory."""
        return array

    def on_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Return the array itself."""
        return array

    @contextmanager
    def written_on_host(self, array: Array, dtype: Any) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the array itself."""
        del dtype
        yield array

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Return a copy of an array or a scalar."""
        return np.array(array)

    def quiet(self) -> AbstractContextManager[None]:
        """NumPy's warnings are a setting of each thread; a GPU has none."""
        return np.errstate(all="ignore")

    def matmul(self, a: Array, b: Array, *, out: Array) -> Array:
        """Use `np.dot`, NumPy's fastest product of small matrices; for a tall one, in blocks that need no copy."""
        rows = block_rows(*a.shape, b.shape[1])
        if not rows or not a.flags.c_contiguous or not out.flags.c_contiguous:
            return np.dot(a, b, out=out)
        np.matmul(a.reshape(-1, rows, a.shape[1]), np.ascontiguousarray(b), out.reshape(-1, rows, b.shape[1]))
        return out

    def packed_weights(self, shape: tuple[int, int], dtype: str, *, rows: int, blocks: int = 0) -> PackedWeights:
        """Use panels where they are faster."""
        return NumpyPackedWeights(self, shape, dtype, rows=rows, blocks=blocks)

    def indices(self, ids: Array) -> Array:
        """Use `intp`: NumPy would convert any other type at each use."""
        return ids.astype(np.intp, order="C")

    def host_indices(self, ids: np.ndarray[Any, Any]) -> Array:
        """Return the array itself if it has the right type."""
        return np.asarray(ids, np.intp)

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """Use `mode="clip"`, which writes directly into `out`; the default mode allocates and is three times slower."""
        return table.take(ids, 0, out, "clip")

    def sum_rows(self, ids: Array, rows: Array, *, out: Array) -> Array:
        """Multiply few rows by a one-hot matrix; of many rows, gather those of each id and multiply them by ones.

        A one-hot product costs N · V · H. Gathering costs N · H and two calls for each id that occurs (V=65, N=1250,
        H=128: 89 µs instead of 257; N=2048, H=512: 293 instead of 1600), and the rows of one id stay in the cache.
        """
        V = out.shape[0]
        if max(len(ids), V) <= ONE_HOT_MOST:
            return np.dot(identity(V, rows.dtype)[ids].T, rows, out=out)
        order, counts = ids.astype(np.min_scalar_type(V - 1)).argsort(kind="stable"), np.bincount(ids)
        most = counts.max()
        ones, ordered = np.ones(most, rows.dtype), np.empty((most, rows.shape[1]), rows.dtype)
        out[...] = 0
        first = 0
        for value in np.flatnonzero(counts).tolist():
            n = counts[value]
            ones[:n].dot(rows.take(order[first : first + n], 0, ordered[:n], "clip"), out[value])
            first += n
        return out

    def put_rows(self, ids: Array, rows: Array, *, out: Array) -> None:
        """Assign at the indices, which the array API lacks."""
        out[...] = 0
        out[ids] = rows

    def blocks(self, *vectors: Array) -> Iterator[tuple[Array, ...]]:
        """Yield `PASS` elements at a time."""
        for first in range(0, len(vectors[0]), PASS):
            parts = [vector[first : first + PASS] for vector in vectors]
            yield (*parts, self.scratch(parts[0]))

    def row_max(self, matrix: Array) -> Array:
        """Skip `np.max`, a wrapper that costs as much as a small reduction."""
        return np.maximum.reduce(matrix, axis=1, keepdims=True)

    def row_sums(self, matrix: Array) -> Array:
        """Multiply by ones, which is up to six times as fast as NumPy's sum of short rows."""
        return np.dot(matrix, np.ones((matrix.shape[1], 1), matrix.dtype))

    def total(self, vector: Array) -> Array:
        """Skip `np.sum`, a wrapper."""
        return np.add.reduce(vector)

    def pick(self, matrix: Array, ids: Array) -> Array:
        """Use fancy indexing, which reads N elements instead of N · V."""
        return matrix[numbers(len(ids)), ids]

    def subtract_at(self, matrix: Array, ids: Array, amount: float) -> None:
        """Use fancy indexing: the pairs (n, ids[n]) are distinct."""
        matrix[numbers(len(ids)), ids] -= amount

    def select(self, condition: Array, yes: Array, no: Array) -> Array:
        return yes if condition else no

    def zero_unless(self, ok: Array, array: Array) -> None:
        """Branch instead of selecting every element."""
        if not ok:
            array[...] = 0

    def copy_if(self, ok: Array, source: Array, *, out: Array) -> None:
        """Branch instead of selecting every element."""
        if ok:
            out[...] = source

    def shrink(self, array: Array, norm: Array, bound: float) -> None:
        """Branch: most steps need no scaling."""
        if norm > bound:
            np.multiply(array, bound / norm, out=array)

    def clip(self, array: Array, bound: float) -> None:
        np.clip(array, -bound, bound, out=array)

    def dot(self, a: Array, b: Array) -> Array:
        return np.dot(a, b)


@lru_cache(maxsize=8)
def numbers(n: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return 0, 1, ..., n - 1, read only. Cached, because each step needs the same n."""
    return np.arange(n)


@lru_cache(maxsize=8)
def identity(n: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the identity matrix (n, n), whose rows are the one-hot vectors, read only."""
    return np.eye(n, dtype=dtype)
