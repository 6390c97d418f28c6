"""The array backend: a namespace `xp`, a device, and the few operations that the array standard lacks.

`Backend` uses only the standard (https://data-apis.org/array-api) plus `out=`, so it runs on any namespace. The NumPy
and CuPy backends replace single methods where their library has a faster call. Nothing above this package asks which
library it runs on.

Two assumptions go beyond the standard: `array[i, ...]` and `reshape` of a contiguous array return views, and
elementwise functions accept `out=`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from charrnn.backend.threads import ThreadPool

Array: TypeAlias = Any
"""An array of the backend's namespace; the standard has no type for it yet."""
Affine: TypeAlias = Callable[[Array, Array, Array], object]
"""`affine(a, b, out)` writes a @ W + b into `out`, which may be `b`, for a fixed matrix W."""

BLOCK = 4096
"""Most columns of the one-hot matrix in `sum_rows`: with 60,000 characters the whole matrix would be gigabytes."""


def steps(array: Array) -> tuple[Array, ...]:
    """Return the views `array[t, ...]`. A loop then saves the indexing, a third of a small operation's time."""
    return tuple(array[t, ...] for t in range(array.shape[0]))


class Series(NamedTuple):
    """An array (T, ...) for a device kernel, and its T views `whole[t, ...]` for a loop."""

    whole: Array
    steps: tuple[Array, ...]


def series(array: Array) -> Series:
    """Return the array with its `steps`."""
    return Series(array, steps(array))


def gate_steps(array: Array, G: int, *, xp: Any) -> tuple[Array, ...]:
    """Return T views (G, B, H) of an array (T, B, G·H): the columns of each gate as one block."""
    T, B, N = array.shape
    return steps(xp.permute_dims(xp.reshape(array, (T, B, G, N // G)), (0, 2, 1, 3)))


class Rows:
    """A table (N, B) on the host whose rows are read on the device, a stretch at a time.

    Args:
        backend: the device.
        table: (N, B), read only.
        limit: most bytes that the table may take on the device. A larger table is uploaded in blocks of that size,
            when they are needed. None uploads the whole table now.
    """

    def __init__(self, backend: Backend, table: np.ndarray[Any, Any], limit: int | None = None) -> None:
        self.backend, self.table = backend, table
        fitting = len(table) if limit is None else limit // max(1, table[:1].nbytes)
        self.count = min(len(table), max(1, fitting))
        self.first, self.block = 0, None if self.count < len(table) else backend.resident(table)

    def read(self, first: int, last: int) -> Array:
        """Return rows first, ..., last - 1 on the device; upload a block if the current one lacks some of them."""
        if self.block is None or not self.first <= first <= last <= self.first + self.block.shape[0]:
            self.first, self.block = first, None  # free the old block before the new one is allocated
            self.block = self.backend.resident(self.table[first : first + max(self.count, last - first)])
        return self.block[first - self.first : last - self.first, :]


class Failure(NamedTuple):
    """An error of a device, in words for users.

    Attributes:
        what: what the device did or cannot do; the device's name goes before it.
        advice: what to do; empty if the memory is exhausted, because the advice then depends on the command.
    """

    what: str
    advice: str = ""


class PackedWeights:
    """A matrix (K, N) that multiplies many matrices of `rows` rows, as recurrent weights do at every time step.

    A library may multiply faster with another memory layout: `use` converts the matrix once for all its products.

    Attributes:
        matrix: the matrix in use, as it was passed to `use`.
        affine: `affine(a, b, out)` writes a @ matrix + b. With `blocks`, b and out are (blocks, rows, N / blocks) of
            any strides: each gate of a cell has its own memory. This costs nothing: the sum is a separate pass anyway.
    """

    matrix: Array
    affine: Affine

    def __init__(self, backend: Backend, shape: tuple[int, int], dtype: str, *, rows: int, blocks: int = 0) -> None:
        self.backend, self.blocks = backend, blocks
        self.product = self.summand = backend.empty((rows, shape[1]), dtype)
        if blocks:
            self.summand = gate_steps(self.product[None, ...], blocks, xp=backend.xp)[0]

    def use(self, matrix: Array) -> None:
        """Multiply by `matrix` (K, N) from now on. It may be a transposed view, and must not change while in use."""
        self.matrix, self.affine = matrix, self.affine_by(matrix)

    def affine_by(self, matrix: Array) -> Affine:
        """Return the function `affine` for a matrix."""
        matmul, add, product, summand = self.backend.matmul, self.backend.xp.add, self.product, self.summand

        def affine(a: Array, b: Array, out: Array) -> None:
            matmul(a, matrix, out=product)
            add(summand, b, out=out)

        return affine


class Backend:
    """Arrays on one device.

    Attributes:
        xp: the array namespace; its elementwise functions accept `out=`.
        device: the namespace's name of the device, an argument of each function that creates an array.
        name: `cpu`, `cuda:0`, ..., as in configurations and metrics.
        label: a description of the device for users.
        one_thread_only: whether only one thread may use the device; it then computes the shards one after another.
        shares: whether forked processes share the arrays of `shared_zeros`.
    """

    shares = False

    def __init__(self, xp: Any, device: Any, *, name: str, label: str, one_thread_only: bool = False) -> None:
        self.xp = xp
        self.device = device
        self.name = name
        self.label = label
        self.one_thread_only = one_thread_only
        self.per_thread = threading.local()

    def current(self) -> AbstractContextManager[object]:
        """Return a context in which this is the thread's current device. At its end the one from before is again."""
        return nullcontext()

    def thread_pool(self, count: int = 0) -> ThreadPool:
        """Return a pool of `count` threads (0: one on each core), or of one thread if only one may use the device."""
        return ThreadPool(1 if self.one_thread_only else count)

    # -- creation and transfer ----------------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return a new array with arbitrary contents."""
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return a new array of zeros."""
        return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def shared_zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return zeros, which the workers of a `ForkPool` share if `shares` is true."""
        return self.zeros(shape, dtype)

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        """Return a copy of a NumPy array on the device, converted to `dtype` if that is given."""
        return self.xp.asarray(np.asarray(array, dtype=dtype, order="C"), device=self.device, copy=True)

    def resident(self, array: np.ndarray[Any, Any]) -> Array:
        """Return a NumPy array on the device, to be read only: it may be the array itself."""
        return self.from_host(array)

    @contextmanager
    def written_on_host(self, array: Array, dtype: Any) -> Iterator[np.ndarray[Any, Any]]:
        """Yield a NumPy array of the shape of `array`. At the end of the context its contents are those of `array`.

        `dtype` is NumPy's for the dtype of `array`, which is contiguous.
        """
        host = np.empty(array.shape, dtype)
        yield host
        array[...] = self.from_host(host)

    def rows(self, table: np.ndarray[Any, Any]) -> Rows:
        """Return a table (N, B), to be read only, whose rows are read on the device."""
        return Rows(self, table)

    def free_bytes(self, *, cached: bool = True) -> int | None:
        """Return the free bytes of the device's memory, with those `cached` for reuse or without; None if not known."""
        del cached
        return None

    def failure(self, error: Exception) -> Failure | None:
        """Return an exception as a failure of the device; None if it is another error."""
        return Failure(f"is out of memory ({first_line(error)})") if isinstance(error, MemoryError) else None

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Return a NumPy copy of `array`. Waits for the device."""  # sync
        return np.array(np.from_dlpack(array))

    def on_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Return an array as one of NumPy, to be read only: it may be the array itself. Waits."""  # sync
        return self.to_host(array)

    # -- products, and rows by index: each gather is followed by its adjoint ------------------------------------------

    def matmul(self, a: Array, b: Array, *, out: Array) -> Array:
        """Write the product of two 2-D arrays into `out`."""
        return self.xp.matmul(a, b, out=out)

    def column_sums(self, matrix: Array, *, ones: Array, out: Array) -> None:
        """Write the sums over the N rows of a part of a matrix (N, H), of any strides, into `out` (H,).

        `ones` is (1, N).
        """
        self.matmul(ones, matrix, out=out[None, :])

    def packed_weights(self, shape: tuple[int, int], dtype: str, *, rows: int, blocks: int = 0) -> PackedWeights:
        """Return an object that multiplies many matrices (rows, K) by one matrix of `shape` (K, N)."""
        return PackedWeights(self, shape, dtype, rows=rows, blocks=blocks)

    def indices(self, ids: Array) -> Array:
        """Return a new contiguous copy of `ids` in the integer type that indexing needs."""
        return self.xp.astype(ids, self.xp.int64, copy=True)

    def host_indices(self, ids: np.ndarray[Any, Any]) -> Array:
        """Return the `indices` of a NumPy array."""
        return self.indices(self.from_host(ids, "int64"))

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """Write out[n, :] = table[ids[n], :] for ids (N,), table (V, H), out (N, H)."""
        out[...] = self.xp.take(table, ids, axis=0)
        return out

    def sum_rows(self, ids: Array, rows: Array, *, out: Array) -> Array:
        """Write out[v, :] = the sum of rows[n, :] over all n with ids[n] == v: the adjoint of `take_rows`.

        It is a product with a one-hot matrix: a GPU would add at indices atomically, which is not deterministic.
        """
        for first in range(0, out.shape[0], BLOCK):
            block = out[first : min(first + BLOCK, out.shape[0]), ...]
            self.matmul(self.one_hot(ids, first, block.shape[0], rows.dtype), rows, out=block)
        return out

    def put_rows(self, ids: Array, rows: Array, *, out: Array) -> None:
        """Write out[ids[n], :] = rows[n, :] and zeros in the other rows, for distinct `ids` (N,)."""
        self.sum_rows(ids, rows, out=out)

    def one_hot(self, ids: Array, first: int, count: int, dtype: Any) -> Array:
        """Return a new array (count, N) with 1 at [v, n] where ids[n] == first + v, else 0."""
        values = self.xp.arange(first, first + count, dtype=ids.dtype, device=self.device)
        return self.xp.astype(values[:, None] == ids[None, :], dtype)

    def row_max(self, matrix: Array) -> Array:
        """Return a new array (N, 1): the largest element of each row of matrix (N, V)."""
        return self.xp.max(matrix, axis=1, keepdims=True)

    def row_sums(self, matrix: Array) -> Array:
        """Return a new array (N, 1): the sum of each row of matrix (N, V)."""
        return self.xp.sum(matrix, axis=1, keepdims=True)

    def total(self, vector: Array) -> Array:
        """Return the sum (0-d) of a vector."""
        return self.xp.sum(vector)

    def pick(self, matrix: Array, ids: Array) -> Array:
        """Return a new array (N,): matrix[n, ids[n]] for matrix (N, V), ids (N,)."""
        return self.xp.take_along_axis(matrix, ids[:, None], axis=1)[:, 0]

    def subtract_at(self, matrix: Array, ids: Array, amount: float) -> None:
        """Subtract in place, matrix[n, ids[n]] -= amount: the adjoint of `pick`."""
        values = self.xp.arange(matrix.shape[1], dtype=ids.dtype, device=self.device)
        matrix -= self.xp.astype(ids[:, None] == values[None, :], matrix.dtype) * amount

    def blocks(self, *vectors: Array) -> Iterator[tuple[Array, ...]]:
        """Yield the same stretch of each of the vectors, all of one length, and scratch memory of the stretch's length.

        A chain of elementwise operations then finds its operands in the cache. Here the stretch is the whole vector.
        """
        yield (*vectors, self.scratch(vectors[0]))

    def scratch(self, like: Array) -> Array:
        """Return memory of the array's shape and type with arbitrary contents: the same at each call of a thread."""
        key = (like.shape, like.dtype)
        arrays = self.per_thread.__dict__.setdefault("arrays", {})
        if key not in arrays:
            arrays[key] = self.xp.empty_like(like)
        return arrays[key]

    # -- decisions made on the device, without a wait -----------------------------------------------------------------

    def select(self, condition: Array, yes: Array, no: Array) -> Array:
        """Return `yes` if the 0-d boolean `condition` holds, else `no`; both are 0-d."""
        return self.xp.where(condition, yes, no)

    def zero_unless(self, ok: Array, array: Array) -> None:
        """Set all of `array` to zero unless the 0-d boolean `ok` holds. No product with a mask: 0 · NaN is NaN."""
        array[...] = self.xp.where(ok, array, self.xp.zeros_like(array))

    def copy_if(self, ok: Array, source: Array, *, out: Array) -> None:
        """Copy `source` to `out` if the 0-d boolean `ok` holds."""
        out[...] = self.xp.where(ok, source, out)

    def shrink(self, array: Array, norm: Array, bound: float) -> None:
        """Scale `array` in place to the norm `bound` if its norm, the 0-d `norm`, is larger. A NaN changes nothing."""
        xp = self.xp
        xp.multiply(array, xp.where(norm > bound, bound / norm, xp.ones_like(norm)), out=array)

    def clip(self, array: Array, bound: float) -> None:
        """Clip `array` to [-bound, bound] in place; NaN stays NaN."""
        array[...] = self.xp.clip(array, -bound, bound)

    def dot(self, a: Array, b: Array) -> Array:
        """Return the inner product (0-d) of two vectors."""
        return self.xp.vecdot(a, b)

    def quiet(self) -> AbstractContextManager[None]:
        """Return a context in which overflow and NaN cause no warning: the guard checks the results on every device."""
        return nullcontext()

    # -- kernels ------------------------------------------------------------------------------------------------------

    def fused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, or a device kernel that is called in the same way and computes the same."""
        del name
        return function

    def recurrence(self, cell: Any) -> Any:
        """Return the cell, or device kernels with its `recurrence_forward` and `recurrence_backward`."""
        return cell

    def facts(self) -> dict[str, Any]:
        """Return name -> what a user who repeats a run must know about this device."""
        return {"device": self.name, "label": self.label}

    def check_kernels(
        self, cell: Any, streams: Iterable[int], H: int, dtype: str, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        """Check the device's kernels for a layer of H units, and for functions, now and not at their first use.

        `streams` are the numbers B, and `functions` name -> the function, as for `fused`.
        """

    def describe_recurrence(self, cell: Any, B: int, H: int, dtype: str) -> str:
        """Describe to users how a layer of B streams and H units is computed; empty if there is only one way."""
        del cell, B, H, dtype
        return ""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().removesuffix(".") if lines else type(error).__name__
