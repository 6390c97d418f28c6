"""Where each parameter is in the flat vector that holds them all."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from charrnn.backend import Array

ALIGN = 64
"""Elements: every view starts at a multiple of 256 bytes (float32; 512 of float64), for vector loads and cuBLAS."""


@dataclass(frozen=True)
class Layout:
    """Named shapes, one after the other, each with an aligned start. The padding between them stays zero.

    Attributes:
        shapes: name -> shape, in the order of the vector.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def offsets(self) -> dict[str, int]:
        """name -> the index of its first element."""
        result, end = {}, 0
        for name, shape in self.shapes:
            result[name] = end
            end += -(-prod(shape) // ALIGN) * ALIGN
        return result

    @property
    def size(self) -> int:
        """P, the length of the flat vector, with padding."""
        return sum(-(-prod(shape) // ALIGN) * ALIGN for _, shape in self.shapes)

    @property
    def parameters(self) -> int:
        """The number of parameters, without padding."""
        return sum(prod(shape) for _, shape in self.shapes)

    def views(self, flat: Array, *, xp: Any) -> dict[str, Array]:
        """Return name -> the view of `flat` (P,) in the parameter's shape; writing to it writes to the vector.

        `xp` is the namespace of `flat`.
        """
        offsets = self.offsets
        return {name: xp.reshape(flat[offsets[name] : offsets[name] + prod(s)], s) for name, s in self.shapes}
