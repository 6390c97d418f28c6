"""Arrays of a fake GPU: NumPy's, which count what they are asked for and refuse what would wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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


def download(array: Any) -> np.ndarray:
    """A copy for the host, for which it waits."""
    log.append("download")
    return np.array(host(array))
