"""The array backend: a namespace `xp`, a device, and the few operations the array standard lacks.

`Backend` holds to the standard (https://data-apis.org/array-api) plus `out=`, so it runs on any namespace; the NumPy
and CuPy backends replace single methods where their library has a faster call. Nothing above this package asks which
library it runs on.

Two things are taken from the libraries rather than from the standard: `array[i, ...]` and `reshape` of contiguous
arrays are views, and elementwise functions take `out=`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from charrnn.backend.rows import Rows
from charrnn.backend.threads import ThreadPool
from charrnn.backend.views import Array, gate_steps

BLOCK = 4096
"""Most columns of a one-hot matrix that `sum_rows` makes at once: at a vocabulary of 60,000 it would be gigabytes."""


Affine: TypeAlias = Callable[[Array, Array, Array], object]
"""`affine(a, b, out)` writes a @ W + b into `out`, which may be `b`, for a matrix W that it knows."""


class PackedWeights:
    """A matrix (K, N) by which many matrices of `rows` rows are multiplied, as a recurrence does at every time step.

    The library may want it in a layout of its own: `use` brings it there once for all products.

    Attributes:
        matrix: the one in use, as it was given.
        affine: `affine(a, b, out)` writes a @ matrix + b. With `blocks`, b and out are (blocks, rows, N / blocks) of
            any strides, so that each gate of a cell gets memory of its own: the sum is a pass of its own in any case.
    """

    matrix: Array
    affine: Affine

    def __init__(self, backend: Backend, shape: tuple[int, int], dtype: str, *, rows: int, blocks: int = 0) -> None:
        self.backend, self.blocks = backend, blocks
        self.product = self.summand = backend.empty((rows, shape[1]), dtype)
        if blocks:
            self.summand = gate_steps(self.product[None, ...], blocks, xp=backend.xp)[0]

    def use(self, matrix: Array) -> None:
        """Multiply by `matrix` (K, N), which may be a transposed view and must not change until the next `use`."""
        self.matrix, self.affine = matrix, self.by(matrix)

    def by(self, matrix: Array) -> Affine:
        """The function that multiplies by `matrix`."""
        matmul, add, product, summand = self.backend.matmul, self.backend.xp.add, self.product, self.summand

        def affine(a: Array, b: Array, out: Array) -> None:
            matmul(a, matrix, out=product)
            add(summand, b, out=out)

        return affine


class Backend:
    """Arrays on one device.

    Attributes:
        xp: the array namespace; its elementwise functions take `out=`.
        device: what the namespace calls the device, passed wherever an array is born.
        name: `cpu`, `cuda:0`, ...: what configurations and metrics say.
        label: the device in words, for people.
        one_thread_only: whether one thread must drive the device: its slices of a batch then come one after another.
        shares: whether what `shared_zeros` makes is shared with forked processes.
    """

    shares = False

    def __init__(self, xp: Any, device: Any, *, name: str, label: str, one_thread_only: bool = False) -> None:
        self.xp = xp
        self.device = device
        self.name = name
        self.label = label
        self.one_thread_only = one_thread_only
        self.spare = threading.local()

    def use(self) -> None:
        """Make the device the one that the calling thread computes on, where a thread has one."""

    def thread_pool(self, count: int = 0) -> ThreadPool:
        """`count` workers, 0 for one a core; only one where one thread must drive the device."""
        return ThreadPool(1 if self.one_thread_only else count)

    # -- birth and transport ------------------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new array whose contents are arbitrary."""
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new array of zeros."""
        return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def shared_zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Zeros; where `shares` is true, the helpers of a `ForkPool` see them too."""
        return self.zeros(shape, dtype)

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        """A copy of a NumPy array on the device, as `dtype` or its own."""
        return self.xp.asarray(np.asarray(array, dtype=dtype, order="C"), device=self.device, copy=True)

    def resident(self, array: np.ndarray[Any, Any]) -> Array:
        """A NumPy array where steps read it, which nobody writes to: on the device."""
        return self.from_host(array)

    def rows(self, table: np.ndarray[Any, Any]) -> Rows:
        """A table that steps read, which nobody writes to."""
        return Rows(self, table)

    def free_bytes(self) -> int | None:
        """The device's memory that nothing holds; None where nobody knows."""
        return None

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """A NumPy copy of `array`. Waits for the device."""  # sync
        return np.array(np.from_dlpack(array))

    # -- products, and rows by index: each gather stands above its adjoint --------------------------------------------

    def matmul(self, a: Array, b: Array, *, out: Array) -> Array:
        """Write the product of two 2-D arrays into `out`."""
        return self.xp.matmul(a, b, out=out)

    def packed_weights(self, shape: tuple[int, int], dtype: str, *, rows: int, blocks: int = 0) -> PackedWeights:
        """What multiplies matrices (rows, K) by one matrix of `shape` (K, N) again and again."""
        return PackedWeights(self, shape, dtype, rows=rows, blocks=blocks)

    def indices(self, ids: Array) -> Array:
        """A fresh contiguous copy of `ids` in the integer type that indexing wants."""
        return self.xp.astype(ids, self.xp.int64, copy=True)

    def host_indices(self, ids: np.ndarray[Any, Any]) -> Array:
        """The `indices` of a NumPy array."""
        return self.indices(self.from_host(ids, "int64"))

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """out[n, :] = table[ids[n], :] for ids (N,), table (V, H), out (N, H)."""
        out[...] = self.xp.take(table, ids, axis=0)
        return out

    def sum_rows(self, ids: Array, rows: Array, *, out: Array) -> Array:
        """The adjoint of `take_rows`: out[v, :] = the sum of rows[n, :] over every n with ids[n] == v.

        A product with a one-hot matrix: additions at indices would be atomic on a GPU, and so not deterministic.
        """
        for first in range(0, out.shape[0], BLOCK):
            block = out[first : min(first + BLOCK, out.shape[0]), ...]
            values = self.xp.arange(first, first + block.shape[0], dtype=ids.dtype, device=self.device)
            one_hot = self.xp.astype(values[:, None] == ids[None, :], rows.dtype)
            self.matmul(one_hot, rows, out=block)
        return out

    def row_max(self, matrix: Array) -> Array:
        """A new array (N, 1): the largest element of each row of matrix (N, V)."""
        return self.xp.max(matrix, axis=1, keepdims=True)

    def row_sums(self, matrix: Array) -> Array:
        """A new array (N, 1): the sum of each row of matrix (N, V)."""
        return self.xp.sum(matrix, axis=1, keepdims=True)

    def total(self, vector: Array) -> Array:
        """The sum (0-d) of a vector."""
        return self.xp.sum(vector)

    def pick(self, matrix: Array, ids: Array) -> Array:
        """A new array (N,): matrix[n, ids[n]] for matrix (N, V), ids (N,)."""
        return self.xp.take_along_axis(matrix, ids[:, None], axis=1)[:, 0]

    def subtract_at(self, matrix: Array, ids: Array, amount: float) -> None:
        """The adjoint of `pick`, in place: matrix[n, ids[n]] -= amount."""
        values = self.xp.arange(matrix.shape[1], dtype=ids.dtype, device=self.device)
        matrix -= self.xp.astype(ids[:, None] == values[None, :], matrix.dtype) * amount

    def blocks(self, *vectors: Array) -> Iterator[tuple[Array, ...]]:
        """The vectors, all of one length, cut alike, with scratch memory of the same length: whole, or a cache's worth.

        For chains of elementwise operations: what one writes, the next should find in the cache.
        """
        yield (*vectors, self.scratch(vectors[0]))

    def scratch(self, like: Array) -> Array:
        """Memory with arbitrary contents, like the array; the same comes back at every call, thread by thread."""
        key = (like.shape, like.dtype)
        found = self.spare.__dict__.setdefault("arrays", {})
        if key not in found:
            found[key] = self.xp.empty_like(like)
        return found[key]

    # -- choices made on the device, without a wait -------------------------------------------------------------------

    def select(self, condition: Array, yes: Array, no: Array) -> Array:
        """`yes` where the 0-d boolean `condition` holds, else `no`; both 0-d."""
        return self.xp.where(condition, yes, no)

    def zero_unless(self, ok: Array, array: Array) -> None:
        """Zero the whole `array` in place unless the 0-d boolean `ok` holds. A mask: 0 · NaN would be NaN."""
        array[...] = self.xp.where(ok, array, self.xp.zeros_like(array))

    def copy_if(self, ok: Array, source: Array, *, out: Array) -> None:
        """Copy `source` to `out` if the 0-d boolean `ok` holds."""
        out[...] = self.xp.where(ok, source, out)

    def shrink(self, array: Array, norm: Array, bound: float) -> None:
        """Scale `array`, whose norm is the 0-d `norm`, to the norm `bound` in place if it is above; not for a NaN."""
        xp = self.xp
        xp.multiply(array, xp.where(norm > bound, bound / norm, xp.ones_like(norm)), out=array)

    def clip(self, array: Array, bound: float) -> None:
        """Clip `array` to [-bound, bound] in place; NaN stays NaN."""
        array[...] = self.xp.clip(array, -bound, bound)

    def dot(self, a: Array, b: Array) -> Array:
        """The inner product of two vectors, a 0-d array."""
        return self.xp.vecdot(a, b)

    def quiet(self) -> AbstractContextManager[None]:
        """Within it overflow and NaN raise no warning: the guard judges results, and every device is alike."""
        return nullcontext()

    # -- kernels ------------------------------------------------------------------------------------------------------

    def fused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """What does the work of `function` here: itself, or a device kernel that is called alike."""
        del name
        return function

    def recurrence(self, cell: Any) -> Any:
        """What runs `recurrence_forward` and `recurrence_backward` of `cell` here: its own loop, or a device kernel."""
        return cell

    def recurrence_in_words(self, cell: Any, B: int, H: int, dtype: str) -> str:
        """How a layer of B streams and H units would be computed, for people; empty where there is no choice."""
        del cell, B, H, dtype
        return ""
