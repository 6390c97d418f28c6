"""Tables of the host where steps on a device read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.backend.views import Array

if TYPE_CHECKING:
    from charrnn.backend.base import Backend


class Rows:
    """A table (N, B) on the host, of which steps read one stretch of rows after another: whole there, or by blocks."""

    def __init__(self, backend: Backend, table: np.ndarray[Any, Any], most: int | None = None) -> None:
        self.backend, self.table = backend, table
        fits = len(table) if most is None else most // max(1, table[:1].nbytes)
        self.count = min(len(table), max(1, fits))
        self.first, self.block = 0, None if self.count < len(table) else backend.resident(table)

    def read(self, first: int, last: int) -> Array:
        """Rows first, ..., last - 1 on the device. A block that has them all may have to be brought there."""
        if self.block is None or not self.first <= first <= last <= self.first + self.block.shape[0]:
            self.first, self.block = first, None  # the old one goes before the new one comes
            self.block = self.backend.resident(self.table[first : first + max(self.count, last - first)])
        return self.block[first - self.first : last - self.first, :]
