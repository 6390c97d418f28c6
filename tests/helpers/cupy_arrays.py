"""Arrays of a fake GPU: NumPy arrays that record every launch, and refuse what would wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FREE = ("reshape", "transpose", "broadcast_to", "empty_like", "shape", "ndim")
"""The functions of NumPy that launch nothing."""
WAITING = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "tolist", "item")
"""The methods of an array that wait for its values."""
log: list[str] = []
"""The names of all launches."""


class WaitError(Exception):
    """Python asks for a value that only the device knows."""


def host(value: Any) -> Any:
    """Return a device array as a NumPy array; also in tuples and lists."""
    if isinstance(value, DeviceArray):
        return value.view(np.ndarray)
    return type(value)(map(host, value)) if type(value) in (tuple, list) else value


def device(value: Any) -> DeviceArray:
    """Return a result as CuPy does: scalars are arrays."""
    return np.asarray(value).view(DeviceArray)


def waits(self: DeviceArray, *_: object) -> Any:
    """Raise `WaitError` in the place of a method for which CuPy waits."""
    raise WaitError


class DeviceArray(np.ndarray):
    """An array that records every operation, and whose values Python cannot read."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        """Record one launch."""
        assert not any(isinstance(x, np.ndarray) and x.ndim and not isinstance(x, DeviceArray) for x in inputs)
        log.append(ufunc.__name__)
        if out:
            getattr(ufunc, method)(*map(host, inputs), out=host(out), **options)
            return out[0]
        return device(getattr(ufunc, method)(*map(host, inputs), **options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Record one launch, unless the result is a view."""
        if function.__name__ not in FREE:
            log.append(function.__name__)
        out = options.pop("out", None)
        result = function(*host(tuple(args)), **{k: host(v) for k, v in options.items()})
        if out is None:
            return device(result) if isinstance(result, (np.ndarray, np.generic)) else result
        host(out)[...] = result
        return out

    def __getitem__(self, index: Any) -> DeviceArray:
        """Return a view, without a launch."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, np.ndarray) for part in parts):
            log.append("getitem")
        elif Ellipsis not in parts:
            parts = (*parts, ...)
        return device(host(self)[host(tuple(parts))])

    def __setitem__(self, index: Any, value: Any) -> None:
        """Record one launch for a copy or fill."""
        assert isinstance(value, DeviceArray) or not np.ndim(value)
        log.append("setitem")
        host(self)[host(index)] = host(value)

    def fill(self, value: Any) -> None:
        """Record one launch."""
        log.append("fill")
        host(self).fill(value)

    def astype(self, *args: Any, **options: Any) -> DeviceArray:
        """Record one launch."""
        log.append("astype")
        return device(host(self).astype(*args, **options))


for name in WAITING:
    setattr(DeviceArray, name, waits)


def born(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """Return a function that makes arrays on the device, and records `name` as its launch."""

    def make(*args: Any, device: object = None, out: Any = None, **options: Any) -> DeviceArray:
        if name:
            log.append(name)
        result = np.asarray(function(*map(host, args), **options))
        if out is None:
            return result.view(DeviceArray)
        host(out)[...] = result
        return out

    return make


def download(array: Any) -> np.ndarray:
    """Return a copy for the host."""
    log.append("download")
    return np.array(host(array))
