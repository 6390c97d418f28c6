"""NVIDIA GPUs through CuPy, which is imported only if a CUDA device is requested."""

from __future__ import annotations

import ctypes
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.backend.base import Array, Backend, Failure, Rows, first_line
from charrnn.backend.kernels import REALS, THREADS, Card, has_source
from charrnn.backend.kernels.fused import Fused
from charrnn.backend.kernels.loader import Recurrence
from charrnn.errors import DeviceError

if TYPE_CHECKING:
    from charrnn.backend.kernels.check import Subject, Verdict

CHECKED = (32, 256)
"""Streams and units for which `check_all` checks the cells: those of the default configuration."""
WHEELS = ("cupy-cuda12x", "cupy-cuda13x", "cupy-cuda11x", "cupy")
OUT_OF_MEMORY = {
    "CUDA_ERROR_OUT_OF_MEMORY": "loading a kernel: ",
    "cudaErrorMemoryAllocation": "",
    "CUBLAS_STATUS_ALLOC_FAILED": "starting cuBLAS: ",
}
"""How errors of the driver, the runtime and cuBLAS begin that are no `MemoryError`, and what needed the memory."""
LAUNCH_ERRORS, LAUNCH_TIMEOUT = range(700, 730), 702
"""Statuses of the driver and the runtime: a kernel failed, or ran longer than the system allows."""
UPLOAD = 64 * 2**20
"""Most bytes that CuPy uploads at once. It copies them to page-locked memory, which it keeps."""
NOT_INSTALLED = "CuPy has no build for macOS" if sys.platform == "darwin" else "CuPy is not installed"
PCI = Path("/sys/bus/pci/devices")
"""Where Linux lists the cards of the machine."""
NVIDIA, DISPLAY = "0x10de", "0x03"
"""The vendor of a PCI card, and how the class of a graphics or compute card begins."""
REMEDY = "pip install 'cupy-cuda13x[ctk]' (for a CUDA 12 driver: cupy-cuda12x)"


class CupyBackend(Backend):
    """CuPy arrays on one GPU. Most operations are the inherited ones: none of them waits.

    Each thread has its own current card, on which CuPy computes: compute only where this card is `current`.

    Args:
        index: the number of the card.
        precision: float32 or tf32, for products of float32 matrices outside recurrences; None keeps the setting of the
            process.
        memory: most bytes for arrays; 0 keeps the limit of the process.
        kernels: `auto` replaces functions by the kernels of this package; `off` launches array operations only.
    """

    def __init__(self, index: int, *, precision: str | None = None, memory: int = 0, kernels: str = "auto") -> None:
        import array_api_compat.cupy as xp
        import cupy

        self.cupy = cupy
        label = f"{describe(index)}, CuPy {cupy.__version__}"
        super().__init__(xp, cupy.cuda.Device(index), name=f"cuda:{index}", label=label, one_thread_only=True)
        self.index = index
        self.recurrences: dict[str, Recurrence] = {}
        self.columns: dict[tuple[int, int], Array] = {}
        self.gave_up: Array | None = None  # the flag of the recurrences, see `to_host`
        if memory:
            with self.current():  # a pool has a limit for each card
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
        self.kernels: Fused | None = None
        if kernels != "off":
            from charrnn.backend.kernels.check import Checks

            self.kernels, self.checks = Fused(cupy, self.card), Checks(index, lambda: identity(index))
        self.trusted: dict[str, bool] = {}

    def current(self) -> AbstractContextManager[object]:
        """Return a new object, because CuPy's remembers the card from before."""
        return self.cupy.cuda.Device(self.index)

    def failure(self, error: Exception) -> Failure | None:
        """Tell the errors of CuPy, the driver and cuBLAS apart by their types and statuses."""
        words = first_line(error)
        need = next((need for beginning, need in OUT_OF_MEMORY.items() if words.startswith(beginning)), None)
        if isinstance(error, MemoryError) or need is not None:
            with suppress(Exception):  # a driver that has failed may answer nothing more
                # Without cached memory: after the error it includes arrays that were freed on the way to this line.
                words += f", {self.free_bytes(cached=False) / 2**20:,.0f} MiB are free"
            return Failure(f"is out of memory ({need or ''}{words})")
        kind, status = type(error), getattr(error, "status", None)
        if kind.__module__.partition(".")[0] not in ("cupy", "cupy_backends"):
            return None
        if kind.__name__ == "CUBLASError":
            return Failure(f"cannot multiply matrices ({words})", "use --device cpu, and check charrnn devices")
        if status == LAUNCH_TIMEOUT:
            return Failure(f"stopped a kernel ({words})", "use a card that drives no display, or --device cpu")
        if status in LAUNCH_ERRORS:
            return Failure(f"cannot run a kernel ({words})", "use --kernels off, or --device cpu")
        return Failure(f"failed ({words})", "use --device cpu, and check charrnn devices")

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        """Upload a copy; if it has more than `UPLOAD` bytes, in slices that need no page-locked memory, and wait."""
        array = np.asarray(array)
        kind = np.dtype(dtype or array.dtype)
        if array.size * kind.itemsize <= UPLOAD:
            return self.cupy.array(np.asarray(array, kind, order="C"))
        result, rows = self.cupy.empty(array.shape, kind), max(1, UPLOAD * len(array) // (array.size * kind.itemsize))
        for first in range(0, len(array), rows):
            part = slice(first, first + rows)
            result[part].set(np.asarray(array[part], kind, order="C"))  # sync
        return result

    def host_indices(self, ids: np.ndarray[Any, Any]) -> Array:
        """Upload the integer type that indexing needs, in half the time of `from_host`. Waits for the device."""
        result = self.cupy.empty(ids.shape, "int64")
        result.set(np.ascontiguousarray(ids, "int64"))  # sync
        return result

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
        """Download once. Waits for the device.

        Raises `DeviceError` if a kernel before gave up at its barrier: no number that it computed leaves the device.
        """
        result = np.asarray(self.cupy.asnumpy(array))  # sync
        waited = [recurrence for recurrence in self.recurrences.values() if recurrence.has_waited]
        for recurrence in waited:
            recurrence.has_waited = False
        if any(self.cupy.asnumpy(recurrence.gave_up)[0] for recurrence in waited):  # sync
            raise DeviceError(
                f"{self.name}: a kernel waited too long for its own blocks, so its results are not used: "
                "add --kernels off (train --resume --kernels off continues a run from its last checkpoint)"
            )
        return result

    def matmul(self, a: Array, b: Array, *, out: Array) -> Array:
        """Let cuBLAS write directly into `out`. For 2-D arrays `dot` is what `matmul` calls."""
        return self.cupy.dot(a, b, out=out)

    def column_sums(self, matrix: Array, *, ones: Array, out: Array) -> None:
        """Reduce once; a product would first copy a matrix that is not contiguous."""
        del ones
        self.cupy.sum(matrix, axis=0, out=out)

    def take_rows(self, table: Array, ids: Array, *, out: Array) -> Array:
        """Write directly into `out`. The ids were checked on the host."""
        return self.cupy.take(table, ids, axis=0, out=out)

    def put_rows(self, ids: Array, rows: Array, *, out: Array) -> None:
        """Assign at the indices, which the array API lacks."""
        out[...] = 0
        out[ids] = rows

    def one_hot(self, ids: Array, first: int, count: int, dtype: Any) -> Array:
        """Compare and convert in one launch."""
        return self.xp.equal(self.numbers(first, count), ids, out=self.cupy.empty((count, ids.shape[0]), dtype))

    def numbers(self, first: int, count: int) -> Array:
        """Return first, ..., first + count - 1 as a column (count, 1), made once."""
        if (first, count) not in self.columns:
            self.columns[first, count] = self.cupy.arange(first, first + count)[:, None]
        return self.columns[first, count]

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
        kernel = self.kernels.function(name) if self.kernels else None
        if kernel is None:
            return function
        if name not in self.trusted:
            self.trusted[name] = self.checks.trusts_function(name, function)
        return kernel if self.trusted[name] else function

    def recurrence(self, cell: Any) -> Any:
        """Return kernels of one launch a pass if the cell has them and the card can run all blocks at once."""
        if self.kernels is None or not self.cooperative or not has_source(f"{cell.NAME}.cu"):
            return cell
        if cell.NAME not in self.recurrences:
            if self.gave_up is None:
                self.gave_up = self.cupy.zeros(1, np.uint32)
            options: dict[str, Any] = {"trusted": self.checks.trusts, "gave_up": self.gave_up}
            self.recurrences[cell.NAME] = Recurrence(self.cupy, cell, self.card, **options)
        return self.recurrences[cell.NAME]

    def facts(self) -> dict[str, Any]:
        """Add the driver and CuPy; of each kernel that was checked, whether it is used; and the verdicts."""
        facts = super().facts() | identity(self.index) | {"kernels": {}, "checks": []}
        if self.kernels is not None:
            failed = {name: f"not used: {verdict.problem}" for name, verdict in self.checks.failed.items()}
            for subject, verdict in self.checks.verdicts.items():
                facts["kernels"][subject.name] = failed.get(subject.name, "used")
                facts["checks"].append({"kernel": str(subject), "error": verdict.error, "problem": verdict.problem})
        return facts

    def check_kernels(
        self, cell: Any, streams: Iterable[int], H: int, dtype: str, functions: Mapping[str, Callable[..., Any]]
    ) -> None:
        """Check all in one child process."""
        if self.kernels is not None:
            from charrnn.backend.kernels.check import subject_of

            recurrence, itemsize = self.recurrence(cell), np.dtype(dtype).itemsize
            planned = [B for B in streams if recurrence is not cell and recurrence.layout(B, H, itemsize)]
            layers = [subject_of(recurrence, B, H, dtype) for B in planned]
            self.checks.check([*layers, *self.replacing(functions)])

    def replacing(self, functions: Mapping[str, Callable[..., Any]]) -> list[Subject]:
        """Return the kernels that replace some of these functions."""
        from charrnn.backend.kernels.check import subjects_of

        replaced = [name for name in functions if self.kernels and self.kernels.function(name)]
        return [subject for name in replaced for subject in subjects_of(name, functions[name])]

    def check_all(
        self, cells: Iterable[Any], functions: Mapping[str, Callable[..., Any]]
    ) -> Iterator[tuple[str, str, str, Verdict]]:
        """Check all kernels again. Yield name, dtype, where the recurrent weights are (of a cell), and the verdict."""
        from charrnn.backend.kernels.check import subject_of

        (B, H), subjects = CHECKED, []
        for cell, dtype, resident in product(cells, REALS, (True, False)):
            recurrence = Recurrence(self.cupy, cell, self.card, residence=(resident,))
            if self.cooperative and has_source(f"{cell.NAME}.cu") and recurrence.layout(B, H, REALS[dtype][1]):
                subjects.append(subject_of(recurrence, B, H, dtype))
        subjects += self.replacing(functions)
        for subject, verdict in self.checks.check_again(subjects):
            where = "weights on chip" if subject.residence == (True,) else "weights from L2"
            yield subject.name, subject.dtype, where if subject.sizes else "", verdict

    def describe_recurrence(self, cell: Any, B: int, H: int, dtype: str) -> str:
        """Describe the layout of the kernel, or why there is none."""
        if self.kernels is None:
            return "one operation after another: train.kernels is off"
        if not self.cooperative:
            return "one operation after another: the card is too old for the kernel"
        if not has_source(f"{cell.NAME}.cu"):
            return "one operation after another: this cell has no kernel"
        recurrence, sizes = self.recurrence(cell), (B, H, np.dtype(dtype).itemsize)
        if recurrence.layout(*sizes) is None:
            return f"one operation after another: {recurrence.reason(*sizes)}"
        kernel = recurrence.kernel_for(B, H, dtype)
        return str(kernel.layout) if kernel else "one operation after another: the kernel is not used on this card"


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


def identity(index: int) -> dict[str, Any]:
    """Return the card, the driver, CUDA and CuPy by name: what the results of kernels depend on."""
    import cupy

    runtime = cupy.cuda.runtime
    return {
        "card": describe(index),
        "driver": driver_version(),
        "driver_cuda": runtime.driverGetVersion(),
        "cuda": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def driver_version() -> str:
    """Return the version of NVIDIA's driver; empty where the system does not show it in a file."""
    with suppress(OSError):
        match = re.search(r"Kernel Module\s.*?(\d+(?:\.\d+)+)", Path("/proc/driver/nvidia/version").read_text())
        return match[1] if match else ""
    return ""


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
