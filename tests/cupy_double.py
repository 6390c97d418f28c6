"""A stand-in for CuPy on machines without a GPU.

It computes with NumPy, runs kernels on the CPU, counts what a GPU would be asked to do, and refuses what would wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import array_api_compat.numpy
import cuda_cpu
import numpy as np

from charrnn.backend import cupy_backend

FREE = ("reshape", "transpose", "broadcast_to", "empty_like", "shape", "ndim")
"""NumPy's functions that launch nothing."""
WAITING = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "tolist", "item")
"""What of an array waits for its values."""
log: list[str] = []
"""The names of all launches."""


class WaitError(Exception):
    """Python asked for a value that only the device knows."""


def host(value: Any) -> Any:
    """A device array as NumPy's own; tuples and lists of them too."""
    if isinstance(value, DeviceArray):
        return value.view(np.ndarray)
    return type(value)(map(host, value)) if type(value) in (tuple, list) else value


def device(value: Any) -> DeviceArray:
    """A result where CuPy would have it: scalars are arrays there."""
    return np.asarray(value).view(DeviceArray)


def waits(self: DeviceArray, *_: object) -> Any:
    """What CuPy would do by waiting."""
    raise WaitError


class DeviceArray(np.ndarray):
    """An array that is counted at every operation, and whose values Python cannot see."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        """One launch."""
        assert not any(isinstance(x, np.ndarray) and x.ndim and not isinstance(x, DeviceArray) for x in inputs)
        log.append(ufunc.__name__)
        if out:
            getattr(ufunc, method)(*map(host, inputs), out=host(out), **options)
            return out[0]
        return device(getattr(ufunc, method)(*map(host, inputs), **options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """One launch, unless it only looks at memory in another way."""
        if function.__name__ not in FREE:
            log.append(function.__name__)
        out = options.pop("out", None)
        result = function(*host(tuple(args)), **{k: host(v) for k, v in options.items()})
        if out is None:
            return device(result) if isinstance(result, (np.ndarray, np.generic)) else result
        host(out)[...] = result
        return out

    def __getitem__(self, index: Any) -> DeviceArray:
        """Views are free."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, np.ndarray) for part in parts):
            log.append("getitem")
        elif Ellipsis not in parts:
            parts = (*parts, ...)
        return device(host(self)[host(tuple(parts))])

    def __setitem__(self, index: Any, value: Any) -> None:
        """A copy or a fill."""
        assert isinstance(value, DeviceArray) or not np.ndim(value)
        log.append("setitem")
        host(self)[host(index)] = host(value)

    def fill(self, value: Any) -> None:
        """One launch."""
        log.append("fill")
        host(self).fill(value)

    def astype(self, *args: Any, **options: Any) -> DeviceArray:
        """One launch."""
        log.append("astype")
        return device(host(self).astype(*args, **options))


for name in WAITING:
    setattr(DeviceArray, name, waits)


def born(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """A function that makes arrays, on the device; `name` is what it launches, if anything."""

    def make(*args: Any, device: object = None, out: Any = None, **options: Any) -> DeviceArray:
        if name:
            log.append(name)
        result = np.asarray(function(*map(host, args), **options))
        if out is None:
            return result.view(DeviceArray)
        host(out)[...] = result
        return out

    return make


class Function(cuda_cpu.Function):
    """A kernel whose launches are counted."""

    def __call__(self, *args: Any, **options: Any) -> None:
        """One launch."""
        log.append("kernel")
        super().__call__(*args, **options)


def download(array: Any) -> np.ndarray:
    """A copy for the host, for which it waits."""
    log.append("download")
    return np.array(host(array))


class RawModule(cuda_cpu.RawModule):
    """A module of such kernels."""

    def get_function(self, name: str) -> Function:
        """A kernel by name."""
        return Function(super().get_function(name).function)


class Pool:
    """A memory pool that has nothing in it."""

    limit = 0

    def set_limit(self, *, size: int) -> None:
        """The most it may give."""
        self.limit = size

    def get_limit(self) -> int:
        """See `set_limit`."""
        return self.limit

    def free_bytes(self) -> int:
        """Held by nobody."""
        return 0

    def used_bytes(self) -> int:
        """Held by arrays."""
        return 0


class CUDARuntimeError(RuntimeError):
    """As CuPy has it."""


class Device(nullcontext[None]):
    """A small card that can be entered and used."""

    attributes: ClassVar = {
        "CooperativeLaunch": 1,
        "MultiProcessorCount": 4,
        "MaxSharedMemoryPerBlockOptin": 2**20,
        "MaxThreadsPerBlock": 4,
    }

    compute_capability = "90"

    def use(self) -> None:
        """Nothing to switch."""


class Event:
    """A mark in time, and a wait for it."""

    def record(self) -> None:
        """Now, as nothing here is done later."""
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing to wait for."""


def module(
    count: int = 1, failure: Exception | None = None, broken: Exception | None = None, free: int = 2**30
) -> ModuleType:
    """A module that looks like CuPy, on a card with `free` bytes.

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
    """What array_api_compat makes of it."""
    xp = ModuleType("array_api_compat.cupy")
    vars(xp).update({k: v for k, v in vars(array_api_compat.numpy).items() if not k.startswith("__")})
    xp.empty, xp.asarray = born(np.empty), born(np.asarray, "asarray")
    for name in ("zeros", "arange"):
        setattr(xp, name, born(getattr(np, name), name))
    return xp


@contextmanager
def installed(free: int = 2**30) -> Iterator[None]:
    """Everything in this process takes this for CuPy, on a machine with one GPU."""
    modules = {"cupy": module(free=free), "array_api_compat.cupy": namespace()}
    with patch.dict(sys.modules, modules), patch.object(cupy_backend, "wheels", lambda: ["cupy-cuda13x 14.0"]):
        yield


def backend() -> cupy_backend.CupyBackend:
    """The backend of a GPU, on this."""
    with installed():
        return cupy_backend.CupyBackend(0)
