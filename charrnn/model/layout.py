"""Where each named parameter lives in the one flat vector that holds them all."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from charrnn.backend import Array

ALIGN = 64
"""Elements: every view starts on a 256-byte boundary (of float32; 512 of float64), for vector loads and cuBLAS."""


@dataclass(frozen=True)
class Layout:
    """Named shapes, laid one after the other with aligned starts. The padding between them stays zero.

    Attributes:
        shapes: name -> shape, in the order of the vector.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def offsets(self) -> dict[str, int]:
        """name -> index of its first element."""
        result, end = {}, 0
        for name, shape in self.shapes:
            result[name] = end
            end += -(-prod(shape) // ALIGN) * ALIGN
        return result

    @property
    def size(self) -> int:
        """P, the length of the flat vector, padding included."""
        return sum(-(-prod(shape) // ALIGN) * ALIGN for _, shape in self.shapes)

    @property
    def parameters(self) -> int:
        """The number of parameters, padding excluded."""
        return sum(prod(shape) for _, shape in self.shapes)

    def views(self, flat: Array, *, xp: Any) -> dict[str, Array]:
        """name -> the view of `flat` (P,) in the parameter's shape: writing to a view writes to the vector.

        `xp` is the namespace of `flat`.
        """
        offsets = self.offsets
        return {name: xp.reshape(flat[offsets[name] : offsets[name] + prod(s)], s) for name, s in self.shapes}
