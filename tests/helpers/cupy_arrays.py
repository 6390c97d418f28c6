"""Arrays of a fake GPU: NumPy arrays that count launches and raise where CuPy would wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FREE = ("reshape", "transpose", "broadcast_to", "empty_like", "shape", "ndim")
"""NumPy's functions that launch nothing."""
WAITING_METHODS = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "tolist", "item")
"""The methods of an array that wait for its values."""
log: list[str] = []
"""The names of all launches."""


class WaitError(Exception):
    """Python read a value that only the device knows."""


def host(value: Any) -> Any:
    """Return a device array as a NumPy array, also inside tuples and lists."""
    if isinstance(value, DeviceArray):
        return value.view(np.ndarray)
    return type(value)(map(host, value)) if type(value) in (tuple, list) else value


def device(value: Any) -> DeviceArray:
    """Return a result as a device array; CuPy's scalars are arrays, too."""
    return np.asarray(value).view(DeviceArray)


def refuse_to_wait(self: DeviceArray, *_: object) -> Any:
    """Raise where CuPy would wait."""
    raise WaitError


class DeviceArray(np.ndarray):
    """An array that counts its operations and hides its values from Python."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        """Count one launch."""
        assert not any(isinstance(x, np.ndarray) and x.ndim and not isinstance(x, DeviceArray) for x in inputs)
        others = [x for x in inputs if out and isinstance(x, np.ndarray) and x is not out[0]]
        # CuPy copies an operand that overlaps the result in another view.
        log.extend("copy" for x in others if np.may_share_memory(host(x), host(out[0])))
        log.append(ufunc.__name__)
        if out:
            getattr(ufunc, method)(*map(host, inputs), out=host(out), **options)
            return out[0]
        return device(getattr(ufunc, method)(*map(host, inputs), **options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Count one launch, unless the function only returns a view."""
        if function.__name__ not in FREE:
            log.append(function.__name__)
        out = options.pop("out", None)
        result = function(*host(tuple(args)), **{k: host(v) for k, v in options.items()})
        if out is None:
            return device(result) if isinstance(result, (np.ndarray, np.generic)) else result
        host(out)[...] = result
        return out

    def __getitem__(self, index: Any) -> DeviceArray:
        """Return a view, which is free, or count one launch for an index array."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, np.ndarray) for part in parts):
            log.append("getitem")
        elif Ellipsis not in parts:
            parts = (*parts, ...)
        return device(host(self)[host(tuple(parts))])

    def __setitem__(self, index: Any, value: Any) -> None:
        """Count one launch: a copy or a fill."""
        assert isinstance(value, DeviceArray) or not np.ndim(value)
        log.append("setitem")
        host(self)[host(index)] = host(value)

    def set(self, array: np.ndarray) -> None:
        """Count an upload."""
        log.append("upload")
        host(self)[...] = array

    def fill(self, value: Any) -> None:
        """Count one launch."""
        log.append("fill")
        host(self).fill(value)

    def astype(self, *args: Any, **options: Any) -> DeviceArray:
        """Count one launch."""
        log.append("astype")
        return device(host(self).astype(*args, **options))


for name in WAITING_METHODS:
    setattr(DeviceArray, name, refuse_to_wait)


def on_device(function: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """Return `function` with device arrays as results. `name` is the launch that it counts, or empty for none."""

    def create(*args: Any, device: object = None, out: Any = None, **options: Any) -> DeviceArray:
        if name:
            log.append(name)
        result = np.asarray(function(*map(host, args), **options))
        if out is None:
            return result.view(DeviceArray)
        host(out)[...] = result
        return out

    return create


def download(array: Any) -> np.ndarray:
    """Return a copy on the host, which waits for the device."""
    log.append("download")
    return np.array(host(array))
