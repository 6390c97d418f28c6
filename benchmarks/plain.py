"""A GPU backend without this project's kernels, with which the kernels are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from charrnn.backend.cupy import CupyBackend


class Plain(CupyBackend):
    """CuPy's own operations, with one launch each: the generic code of cells, loss and update."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.cooperative = False

    def fused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: no kernel replaces it."""
        del name
        return function
