"""NVIDIA GPUs: CuPy, imported only when a CUDA device is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from charrnn.backend.base import Backend
from charrnn.backend.kernels import THREADS, Card, has_source
from charrnn.backend.kernels.fused import Fused
from charrnn.backend.kernels.loader import Recurrence
from charrnn.backend.rows import Rows
from charrnn.backend.views import Array

WHEELS = ("cupy-cuda12x", "cupy-cuda13x", "cupy-cuda11x", "cupy")
REMEDY = "pip install 'cupy-cuda13x[ctk]' (for a CUDA 12 driver: cupy-cuda12x)"


class CupyBackend(Backend):
    """CuPy arrays on one GPU. The standard's forms of the operations are inherited: none of them waits.

    Making one makes its card the current device of the calling thread, which must be the one that computes.

    Args:
        index: of the card.
        precision: of the products of float32 matrices, but for those inside a recurrence: float32 or tf32; None leaves
            what the process has.
        memory: bytes that arrays may take; 0 leaves the limit that the process has.
    """

    def __init__(self, index: int, *, precision: str | None = None, memory: int = 0) -> None:
        import array_api_compat.cupy as xp
        import cupy

        self.cupy = cupy
        label = f"{describe(index)}, CuPy {cupy.__version__}"
        super().__init__(xp, cupy.cuda.Device(index), name=f"cuda:{index}", label=label, one_thread_only=True)
        self.use()
        self.recurrences: dict[str, Recurrence] = {}
        if memory:
            cupy.get_default_memory_pool().set_limit(size=memory)
        if precision is not None:
            # CuPy has no public name for this; it is a setting of the whole process.
            linalg = cupy._core._routines_linalg
            chosen = linalg.COMPUTE_TYPE_TF32 if precision == "tf32" else linalg.COMPUTE_TYPE_DEFAULT
            linalg.set_compute_type(np.dtype("float32"), chosen)
        attributes = self.device.attributes
        # The kernels' release and acquire came with Volta.
        self.cooperative = bool(attributes["CooperativeLaunch"]) and int(self.device.compute_capability) >= 70
        processors, shared = attributes["MultiProcessorCount"], attributes["MaxSharedMemoryPerBlockOptin"]
        self.card = Card(processors, shared, min(THREADS, attributes["MaxThreadsPerBlock"]))
        self.kernels = Fused(cupy, self.card)

    def use(self) -> None:
        """The current card is a thread's own."""
        self.device.use()

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        """One upload."""
        return self.cupy.array(np.asarray(array, dtype=dtype, order="C"))

    def rows(self, table: np.ndarray[Any, Any]) -> Rows:
        """Whole if it takes no more than a quarter of the free memory, else in blocks of that."""
        return Rows(self, table, self.free_bytes() // 4)

    def free_bytes(self) -> int:
        """What the driver and CuPy's pool have left, within the limit of the pool."""
        pool = self.cupy.get_default_memory_pool()
        free = self.cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
        return int(min(free, pool.get_limit() - pool.used_bytes()) if pool.get_limit() else free)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """One download. Waits for the device."""  # sync
        return np.asarray(self.cupy.asnumpy(array))

    def matmul(self, a: Array, b: Array, *, out: Array) -> Array:
        """cuBLAS, straight into `out`."""
        return self.cupy.matmul(a, b, out=out)

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """CuPy's take has no `mode`; the ids were checked on the host."""
        return self.cupy.take(table, ids, axis=0, out=out)

    def pick(self, matrix: Array, ids: Array) -> Array:
        """By distinct pairs of indices (n, ids[n]): N elements instead of N · V, and nothing atomic."""
        return matrix[self.cupy.arange(ids.shape[0]), ids]

    def subtract_at(self, matrix: Array, ids: Array, amount: float) -> None:
        """By the same pairs."""
        matrix[self.cupy.arange(ids.shape[0]), ids] -= amount

    def dot(self, a: Array, b: Array) -> Array:
        """One reduction; the compatibility layer's vecdot would make a batched product of it."""
        return self.cupy.dot(a, b)

    def clip(self, array: Array, bound: float) -> None:
        """One launch in place."""
        self.cupy.clip(array, -bound, bound, out=array)

    def fused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """One or two launches instead of one for each operation."""
        return self.kernels.functions.get(name, function)

    def recurrence(self, cell: Any) -> Any:
        """One launch a pass for a cell that has a kernel, on cards that can run all blocks of a launch at once."""
        if not self.cooperative or not has_source(f"{cell.NAME}.cu"):
            return cell
        if cell.NAME not in self.recurrences:
            self.recurrences[cell.NAME] = Recurrence(self.cupy, cell, self.card)
        return self.recurrences[cell.NAME]

    def recurrence_in_words(self, cell: Any, B: int, H: int, dtype: str) -> str:
        """The layout of the kernel, or why there is none."""
        if not self.cooperative:
            return "one operation after another: the card is too old for the kernel"
        if not has_source(f"{cell.NAME}.cu"):
            return "one operation after another: this cell has no kernel"
        layout = self.recurrence(cell).layout(B, H, np.dtype(dtype).itemsize)
        return str(layout or f"one operation after another: {H} hidden units are too many for a kernel on this card")


def count() -> int:
    """How many CUDA devices the driver shows. Raises whatever CuPy raises without a driver."""
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def started() -> bool:
    """Whether CuPy is there and its driver answers."""
    try:
        return count() > 0
    except Exception:  # whatever a broken installation raises
        return False


def describe(index: int) -> str:
    """Name, compute capability and memory of a GPU."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(index)
    name = properties["name"].decode()
    gibibytes = properties["totalGlobalMem"] / 2**30
    return f"{name} (sm_{properties['major']}{properties['minor']}, {gibibytes:.0f} GiB)"


def problem(index: int) -> str | None:
    """Why CUDA device `index` cannot be used, in one line that ends with the remedy; None if it can.

    The probe computes: with a driver but without the CUDA libraries everything looks well until the first kernel.
    """
    installed = wheels()
    if len(installed) > 1:
        return f"two CuPy packages are installed ({' and '.join(installed)}): pip uninstall both, then {REMEDY}"
    if not installed:
        if sys.platform == "darwin":
            return "CuPy has no build for macOS"
        return f"CuPy is not installed: {REMEDY}"
    try:
        import cupy
    except Exception as error:
        return f"{installed[0]} cannot be imported ({first_line(error)}): {REMEDY}"
    try:
        found = count()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error):
            return (
                f"no NVIDIA driver, or one too old for {installed[0]}: install a newer driver, or the other CuPy extra"
            )
        return f"CUDA does not start ({first_line(error)}): check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if not found:
        return "the driver shows no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if index >= found:
        return f"there is no cuda:{index}, only {', '.join(f'cuda:{n}' for n in range(found))}"
    try:
        with cupy.cuda.Device(index):
            ones = cupy.ones((8, 8), dtype=cupy.float32)
            if float(cupy.tanh(ones @ ones).sum()) <= 0:  # sync
                return "the GPU computes wrong results"
    except Exception as error:
        return f"the GPU cannot compute ({first_line(error)}): a CUDA library is missing or too old for it; {REMEDY}"
    return None


def wheels() -> list[str]:
    """The CuPy distributions installed here; more than one is a broken installation."""
    found = []
    for name in WHEELS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
