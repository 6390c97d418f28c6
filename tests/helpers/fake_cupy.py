"""A fake CuPy for machines without a GPU.

It computes with NumPy, runs kernels on the CPU, counts what a GPU would be asked to do, and refuses what would wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import array_api_compat.numpy
import numpy as np
from helpers import cuda_cpu
from helpers.cupy_arrays import born, download, log

from charrnn.backend import cupy


class Function(cuda_cpu.Function):
    """A kernel whose launches are counted."""

    def __call__(self, *args: Any, **options: Any) -> None:
        """Record one launch."""
        log.append("kernel")
        super().__call__(*args, **options)


class RawModule(cuda_cpu.RawModule):
    """A module of such kernels."""

    def get_function(self, name: str) -> Function:
        """Return a kernel by its name."""
        return Function(super().get_function(name).function)


class Pool:
    """An empty memory pool."""

    limit = 0

    def set_limit(self, *, size: int) -> None:
        """Set the limit."""
        self.limit = size

    def get_limit(self) -> int:
        """Return the limit."""
        return self.limit

    def free_bytes(self) -> int:
        """Return 0: the pool holds no free block."""
        return 0

    def used_bytes(self) -> int:
        """Return 0: no array is counted."""
        return 0


class CUDARuntimeError(RuntimeError):
    """The error of CUDA calls."""


class Device(nullcontext[None]):
    """A small card, and a context that makes it current."""

    attributes: ClassVar = {
        "CooperativeLaunch": 1,
        "MultiProcessorCount": 4,
        "MaxSharedMemoryPerBlockOptin": 2**20,
        "MaxThreadsPerBlock": 4,
    }

    compute_capability = "90"

    def use(self) -> None:
        """Do nothing: it is the only card."""


class Event:
    """An event: a point in time."""

    def record(self) -> None:
        """Record the time: every launch has ended when it returns."""
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """Do nothing: every launch has ended."""


def module(
    count: int = 1, failure: Exception | None = None, broken: Exception | None = None, free: int = 2**30
) -> ModuleType:
    """Return a module with the part of CuPy that the package uses, on a card with `free` bytes.

    `failure` is what asking for the devices raises, `broken` what the first kernel raises.
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
    runtime.memGetInfo = lambda: (free, 8 * 2**30)
    stream = SimpleNamespace(synchronize=lambda: None)
    cupy.__version__, cupy.ones, cupy.float32, cupy.tanh = "14.0", ones, np.float32, np.tanh
    cupy.RawModule, cupy.asnumpy = RawModule, download
    cupy.empty, cupy.array = born(np.empty), born(np.array, "upload")
    cupy.ascontiguousarray = lambda array: array if array.flags.c_contiguous else born(np.array, "copy")(array)
    for name in ("zeros", "arange", "matmul", "dot", "clip", "take"):
        setattr(cupy, name, born(getattr(np, name), name))
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


def namespace() -> ModuleType:
    """Return the namespace that array_api_compat makes of it."""
    xp = ModuleType("array_api_compat.cupy")
    vars(xp).update({k: v for k, v in vars(array_api_compat.numpy).items() if not k.startswith("__")})
    xp.empty, xp.asarray = born(np.empty), born(np.asarray, "asarray")
    for name in ("zeros", "arange"):
        setattr(xp, name, born(getattr(np, name), name))
    return xp


@contextmanager
def installed(free: int = 2**30) -> Iterator[None]:
    """Let this process import the fake as CuPy, on a machine with one GPU."""
    modules = {"cupy": module(free=free), "array_api_compat.cupy": namespace()}
    with patch.dict(sys.modules, modules), patch.object(cupy, "wheels", lambda: ["cupy-cuda13x 14.0"]):
        yield


def backend() -> cupy.CupyBackend:
    """Return the backend of the fake GPU."""
    with installed():
        return cupy.CupyBackend(0)
