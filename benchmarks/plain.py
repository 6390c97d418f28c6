"""A GPU without this project's kernels: what they are compared with."""

from __future__ import annotations

from charrnn.backend.cupy import CupyBackend


class Plain(CupyBackend):
    """CuPy's own operations, one launch each: cells, loss and update as they are written for every device."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.cooperative = False
        self.kernels.functions = {}
