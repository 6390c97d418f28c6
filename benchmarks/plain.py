"""A GPU without this project's kernels: what they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from charrnn.backend.cupy_backend import CupyBackend


class Plain(CupyBackend):
    """CuPy's own operations, one launch each: cells, loss and update as they are written for every device."""

    def fused(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        del name
        return function

    def recurrence(self, cell: Any) -> Any:
        """The cell's own loop."""
        return cell
