"""Fake GPUs under conditions that `fake_cupy` does not have."""

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
def readable_values() -> Iterator[None]:
    """Allow Python to wait for values, as it does outside a step."""
    with patch.multiple(
        cupy_arrays.DeviceArray, **{name: getattr(np.ndarray, name) for name in cupy_arrays.WAITING_METHODS}
    ):
        yield


@contextmanager
def with_free_memory(free: int) -> Iterator[None]:
    """Install a fake GPU that has no more than `free` bytes for arrays."""
    allocated = Counter[int]()

    def allocate(self: cupy.CupyBackend, shape: tuple[int, ...], dtype: str) -> cupy_arrays.DeviceArray:
        array = np.zeros(shape, dtype)
        if sum(allocated.values()) + array.nbytes > free:
            raise MemoryError(f"Out of memory allocating {array.nbytes} bytes")
        allocated[id(array)] = array.nbytes
        weakref.finalize(array, allocated.pop, id(array))
        return cupy_arrays.device(array)

    usable = patch.object(cupy, "problem", lambda _=None: None)
    with fake_cupy.installed(free), usable, patch.multiple(cupy.CupyBackend, empty=allocate, zeros=allocate):
        yield
