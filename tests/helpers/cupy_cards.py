"""Fake GPUs in special conditions."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from helpers import cupy_arrays, fake_cupy

from charrnn.backend import cupy


@contextmanager
def seen() -> Iterator[None]:
    """Let Python read values of the fake GPU, as it does outside of a step."""
    with patch.multiple(cupy_arrays.DeviceArray, **{name: getattr(np.ndarray, name) for name in cupy_arrays.WAITING}):
        yield


@contextmanager
def limited(free: int) -> Iterator[None]:
    """Install a fake GPU that has `free` bytes for arrays."""
    taken = Counter[int]()

    def counted(self: cupy.CupyBackend, shape: tuple[int, ...], dtype: str) -> cupy_arrays.DeviceArray:
        array = np.zeros(shape, dtype)
        if sum(taken.values()) + array.nbytes > free:
            raise MemoryError(f"Out of memory allocating {array.nbytes} bytes")
        taken[id(array)] = array.nbytes
        weakref.finalize(array, taken.pop, id(array))
        return cupy_arrays.device(array)

    usable = patch.object(cupy, "problem", lambda _=None: None)
    with fake_cupy.installed(free), usable, patch.multiple(cupy.CupyBackend, empty=counted, zeros=counted):
        yield
