"""How much memory arrays take, without taking it."""

from __future__ import annotations

import array_api_compat.numpy
import numpy as np

from charrnn.backend.base import BLOCK, Backend
from charrnn.backend.views import Array


class Ledger(Backend):
    """A backend on the host that counts the `bytes` of what it makes."""

    def __init__(self) -> None:
        super().__init__(array_api_compat.numpy, None, name="ledger", label="a ledger")
        self.bytes = 0

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An array of one number, everywhere the same, counted as if it were whole."""
        self.bytes += int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.broadcast_to(np.zeros((), dtype), shape)

    zeros = empty

    def one_hot(self, ids: int, V: int, dtype: str) -> None:
        """Count what `sum_rows` of so many ids makes in passing: a matrix of flags, and the same as numbers."""
        self.empty((min(V, BLOCK), ids), "bool")
        self.empty((min(V, BLOCK), ids), dtype)
