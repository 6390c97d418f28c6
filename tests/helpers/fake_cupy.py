"""A fake CuPy for machines without a GPU.

It computes with NumPy, runs kernels on the CPU, counts launches, and raises where CuPy would wait for the device.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import array_api_compat
import array_api_compat.numpy
import numpy as np
from helpers import cuda_cpu
from helpers.cupy_arrays import DeviceArray, download, log, on_device

from charrnn.backend import cupy
from charrnn.backend.kernels.check import Checks, Subject, Verdict


class Function(cuda_cpu.Function):
    """A kernel that counts its launches."""

    def __call__(self, *args: Any, **options: Any) -> None:
        """Launch the kernel."""
        log.append("kernel")
        super().__call__(*args, **options)


class RawModule(cuda_cpu.RawModule):
    """A module of these kernels."""

    def get_function(self, name: str) -> Function:
        """Return a kernel by name."""
        return Function(super().get_function(name).function)


class Pool:
    """An empty memory pool."""

    limit = 0

    def set_limit(self, *, size: int) -> None:
        """Set how many bytes the pool may allocate."""
        self.limit = size

    def get_limit(self) -> int:
        """Return how many bytes the pool may allocate."""
        return self.limit

    def free_bytes(self) -> int:
        """Return the bytes that no array uses."""
        return 0

    def used_bytes(self) -> int:
        """Return the bytes that arrays use."""
        return 0


class CUDARuntimeError(RuntimeError):
    """CuPy's error of the CUDA runtime."""

    __module__ = "cupy_backends.cuda.api.runtime"


class Current(threading.local):
    """The index of a thread's current card."""

    index = 0


current = Current()


class Device:
    """A small card, as a context manager that makes it the thread's current one."""

    attributes: ClassVar = {
        "CooperativeLaunch": 1,
        "MultiProcessorCount": 4,
        "MaxSharedMemoryPerBlockOptin": 2**20,
        "MaxThreadsPerBlock": 4,
    }

    compute_capability = "90"

    def __init__(self, index: int) -> None:
        self.index, self.before = index, list[int]()

    def __enter__(self) -> None:
        self.before.append(current.index)
        current.index = self.index

    def __exit__(self, *error: object) -> None:
        current.index = self.before.pop()


class Event:
    """A device event, which records the time."""

    def record(self) -> None:
        """Record the time now, because no work is asynchronous."""
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """Do nothing: all work is done."""


def module(
    count: int = 1, failure: Exception | None = None, broken: Exception | None = None, free: int = 2**30
) -> ModuleType:
    """Return a module with CuPy's names, on a card with `free` bytes.

    Counting the devices raises `failure`, the first kernel raises `broken`.
    """
    cupy = ModuleType("cupy")

    def device_count() -> int:
        if failure:
            raise failure
        return count

    def ones(*args: object, **options: object) -> np.ndarray:
        if broken:
            raise broken
        return np.ones(*args, **options)

    properties = {"name": b"Stand-in", "totalGlobalMem": 8 * 2**30, "major": 9, "minor": 0}
    runtime = SimpleNamespace(
        getDeviceCount=device_count, getDeviceProperties=lambda _: properties, CUDARuntimeError=CUDARuntimeError
    )
    runtime.getDevice = lambda: current.index
    runtime.driverGetVersion = runtime.runtimeGetVersion = lambda: 13000
    runtime.memGetInfo = lambda: (free, 8 * 2**30)
    stream = SimpleNamespace(synchronize=lambda: None)
    cupy.__version__, cupy.ones, cupy.float32, cupy.tanh = "14.0", ones, np.float32, np.tanh
    cupy.RawModule, cupy.asnumpy = RawModule, download
    cupy.empty, cupy.array = on_device(np.empty), on_device(np.array, "upload")
    cupy.ascontiguousarray = lambda array: array if array.flags.c_contiguous else on_device(np.array, "copy")(array)
    for name in ("zeros", "arange", "clip", "take", "sum"):
        setattr(cupy, name, on_device(getattr(np, name), name))
    cupy.dot = multiply
    compute = SimpleNamespace(COMPUTE_TYPE_DEFAULT=1, COMPUTE_TYPE_TF32=7, chosen=[])
    compute.set_compute_type = lambda dtype, kind: compute.chosen.append((str(dtype), kind))
    cupy._core = SimpleNamespace(_routines_linalg=compute)
    pool = Pool()
    cupy.get_default_memory_pool = lambda: pool
    cupy.cuda = SimpleNamespace(
        runtime=runtime, driver=cuda_cpu.driver, Device=Device, get_current_stream=lambda: stream, Event=Event
    )
    cupy.cuda.get_elapsed_time = lambda began, ended: (ended.at - began.at) * 1000
    cupy.cuda.set_allocator = lambda _: None
    return cupy


def multiply(a: DeviceArray, b: DeviceArray, *, out: DeviceArray | None = None) -> DeviceArray:
    """Count one launch, and one for each operand that CuPy copies because cuBLAS cannot read its strides."""
    log.extend("copy" for x in (a, b) if not (x.flags.c_contiguous or x.flags.f_contiguous))
    return on_device(np.dot, "dot")(a, b, out=out)


def namespace() -> ModuleType:
    """Return a module with the names of `array_api_compat.cupy`."""
    xp = ModuleType("array_api_compat.cupy")
    vars(xp).update({k: v for k, v in vars(array_api_compat.numpy).items() if not k.startswith("__")})
    xp.empty, xp.asarray = on_device(np.empty), on_device(np.asarray, "asarray")
    for name in ("zeros", "arange"):
        setattr(xp, name, on_device(getattr(np, name), name))
    return xp


@contextmanager
def imported(cupy: ModuleType | None) -> Iterator[None]:
    """Let `import cupy` return this module (None: fail) and `import array_api_compat.cupy` the fake's namespace.

    The real namespace, where it was imported before, is an attribute of its package, too, and would be preferred.
    """
    xp = namespace()
    modules = {"cupy": cupy, "array_api_compat.cupy": xp}
    with patch.dict(sys.modules, modules), patch.object(array_api_compat, "cupy", xp, create=True):
        yield


@contextmanager
def installed(free: int = 2**30, count: int = 1) -> Iterator[None]:
    """Install the fake as CuPy in this process, on a machine with `count` GPUs."""
    wheels = patch.object(cupy, "wheels", lambda: ["cupy-cuda13x 14.0"])
    with imported(module(count, free=free)), wheels, patch.object(Checks, "check", trust):
        yield


def trust(self: Checks, subjects: Sequence[Subject]) -> None:
    """Take kernels for checked. A child process would not have the fake."""
    self.verdicts |= {subject: Verdict(0.0) for subject in subjects}


def backend(kernels: str = "auto") -> cupy.CupyBackend:
    """Return the backend of the fake GPU."""
    with installed():
        return cupy.CupyBackend(0, kernels=kernels)
