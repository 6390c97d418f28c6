"""NVIDIA GPUs through CuPy, which is imported only if a CUDA device is requested."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend.base import Array, Backend, Rows
from charrnn.backend.kernels import THREADS, Card, has_source
from charrnn.backend.kernels.fused import Fused
from charrnn.backend.kernels.loader import Recurrence

WHEELS = ("cupy-cuda12x", "cupy-cuda13x", "cupy-cuda11x", "cupy")
NOT_INSTALLED = "CuPy has no build for macOS" if sys.platform == "darwin" else "CuPy is not installed"
PCI = Path("/sys/bus/pci/devices")
"""Where Linux lists the cards of the machine."""
NVIDIA, DISPLAY = "0x10de", "0x03"
"""The vendor of a PCI card, and how the class of a graphics or compute card begins."""
REMEDY = "pip install 'cupy-cuda13x[ctk]' (for a CUDA 12 driver: cupy-cuda12x)"


class CupyBackend(Backend):
    """CuPy arrays on one GPU. Most operations are the inherited ones: none of them waits.

    The constructor makes the card the current device of the calling thread, which must be the thread that computes.

    Args:
        index: the number of the card.
        precision: float32 or tf32, for products of float32 matrices outside recurrences; None keeps the setting of the
            process.
        memory: most bytes for arrays; 0 keeps the limit of the process.
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
            # CuPy has no public function for this setting, which is one of the whole process.
            linalg = cupy._core._routines_linalg
            chosen = linalg.COMPUTE_TYPE_TF32 if precision == "tf32" else linalg.COMPUTE_TYPE_DEFAULT
            linalg.set_compute_type(np.dtype("float32"), chosen)
        attributes = self.device.attributes
        # The kernels need release and acquire instructions, which Volta was the first to have.
        self.cooperative = bool(attributes["CooperativeLaunch"]) and int(self.device.compute_capability) >= 70
        processors, shared = attributes["MultiProcessorCount"], attributes["MaxSharedMemoryPerBlockOptin"]
        self.card = Card(processors, shared, min(THREADS, attributes["MaxThreadsPerBlock"]))
        self.kernels = Fused(cupy, self.card)

    def use(self) -> None:
        """Make the card current: each thread has its own current card."""
        self.device.use()

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        return self.cupy.array(np.asarray(array, dtype=dtype, order="C"))

    def rows(self, table: np.ndarray[Any, Any]) -> Rows:
        """Upload the whole table if it needs at most a quarter of the free memory, else blocks of that size."""
        return Rows(self, table, self.free_bytes() // 4)

    def free_bytes(self, *, cached: bool = True) -> int:
        """Return the driver's free bytes within the limit of CuPy's pool, plus what the pool holds for reuse."""
        pool, free = self.cupy.get_default_memory_pool(), self.cupy.cuda.runtime.memGetInfo()[0]
        if limit := pool.get_limit():
            free = min(free, limit - pool.used_bytes() - pool.free_bytes())
        return int(free + pool.free_bytes() * cached)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Download once. Waits for the device."""  # sync
        return np.asarray(self.cupy.asnumpy(array))

    def matmul(self, a: Array, b: Array, *, out: Array) -> Array:
        """Let cuBLAS write directly into `out`."""
        return self.cupy.matmul(a, b, out=out)

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """Write directly into `out`. The ids were checked on the host."""
        return self.cupy.take(table, ids, axis=0, out=out)

    def pick(self, matrix: Array, ids: Array) -> Array:
        """Index by the distinct pairs (n, ids[n]): N elements instead of N · V, and no atomic operation."""
        return matrix[self.cupy.arange(ids.shape[0]), ids]

    def subtract_at(self, matrix: Array, ids: Array, amount: float) -> None:
        """Index by the same pairs."""
        matrix[self.cupy.arange(ids.shape[0]), ids] -= amount

    def dot(self, a: Array, b: Array) -> Array:
        """Reduce once; `vecdot` of array_api_compat would compute a batched product."""
        return self.cupy.dot(a, b)

    def clip(self, array: Array, bound: float) -> None:
        """Clip by one launch."""
        self.cupy.clip(array, -bound, bound, out=array)

    def fused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Replace one launch for each operation by one or two."""
        return self.kernels.function(name) or function

    def recurrence(self, cell: Any) -> Any:
        """Return kernels of one launch a pass if the cell has them and the card can run all blocks at once."""
        if not self.cooperative or not has_source(f"{cell.NAME}.cu"):
            return cell
        if cell.NAME not in self.recurrences:
            self.recurrences[cell.NAME] = Recurrence(self.cupy, cell, self.card)
        return self.recurrences[cell.NAME]

    def describe_recurrence(self, cell: Any, B: int, H: int, dtype: str) -> str:
        """Describe the layout of the kernel, or why there is none."""
        if not self.cooperative:
            return "one operation after another: the card is too old for the kernel"
        if not has_source(f"{cell.NAME}.cu"):
            return "one operation after another: this cell has no kernel"
        layout = self.recurrence(cell).layout(B, H, np.dtype(dtype).itemsize)
        return str(layout or f"one operation after another: {H} hidden units are too many for a kernel on this card")


def count() -> int:
    """Return the number of CUDA devices. Without a driver, CuPy raises an error."""
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def started() -> bool:
    """Return whether CuPy is installed and the driver reports a device."""
    try:
        return count() > 0
    except Exception:  # a broken installation can raise anything
        return False


def describe(index: int) -> str:
    """Return name, compute capability and memory of a GPU, for users."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(index)
    name = properties["name"].decode()
    gibibytes = properties["totalGlobalMem"] / 2**30
    return f"{name} (sm_{properties['major']}{properties['minor']}, {gibibytes:.0f} GiB)"


def problem(index: int) -> str | None:
    """Return why CUDA device `index` cannot be used, one line that ends with the remedy; None if it can be used.

    The check runs a computation: without the CUDA libraries everything works until the first kernel.
    """
    installed = wheels()
    if len(installed) > 1:
        return f"two CuPy packages are installed ({' and '.join(installed)}): pip uninstall both, then {REMEDY}"
    if not installed:
        return NOT_INSTALLED if sys.platform == "darwin" else f"{NOT_INSTALLED}: {REMEDY}"
    try:
        import cupy
    except Exception as error:
        return f"{installed[0]} cannot be imported ({first_line(error)}): {REMEDY}"
    try:
        devices = count()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error):
            return (
                f"no NVIDIA driver, or one too old for {installed[0]}: install a newer driver, or the other CuPy extra"
            )
        return f"CUDA does not start ({first_line(error)}): check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if not devices:
        return "the driver shows no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if index >= devices:
        return f"there is no cuda:{index}, only {', '.join(f'cuda:{n}' for n in range(devices))}"
    try:
        with cupy.cuda.Device(index):
            ones = cupy.ones((8, 8), dtype=cupy.float32)
            if float(cupy.tanh(ones @ ones).sum()) <= 0:  # sync
                return "the GPU computes wrong results"
    except Exception as error:
        return f"the GPU cannot compute ({first_line(error)}): a CUDA library is missing or too old for it; {REMEDY}"
    return None


def wheels() -> list[str]:
    """Return the installed CuPy packages and versions; more than one is a broken installation."""
    installed = []
    for name in WHEELS:
        try:
            installed.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return installed


def nvidia_is_present() -> bool:
    """Return whether this machine seems to have an NVIDIA card or driver. CuPy is not imported, no program is run."""
    if Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi"):
        return True
    with suppress(OSError):
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return True
    with suppress(OSError):
        for card in PCI.iterdir():
            vendor, kind = ((card / name).read_text() for name in ("vendor", "class"))
            if vendor.startswith(NVIDIA) and kind.startswith(DISPLAY):
                return True
    return False


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
