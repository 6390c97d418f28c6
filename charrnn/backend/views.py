"""Arrays, and the views of them that a loop over time wants."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
"""An array of the backend's namespace; the standard has no type for it yet."""


def steps(array: Array) -> tuple[Array, ...]:
    """The views `array[t, ...]`, made once: in a loop, indexing costs a third of a small operation."""
    return tuple(array[t, ...] for t in range(array.shape[0]))


class Series(NamedTuple):
    """An array (T, ...) and the T views `whole[t, ...]`: a loop wants these, a device kernel that."""

    whole: Array
    steps: tuple[Array, ...]


def series(array: Array) -> Series:
    """The array with its `steps`."""
    return Series(array, steps(array))


def gate_steps(array: Array, G: int, *, xp: Any) -> tuple[Array, ...]:
    """The T views (G, B, H) of an array (T, B, G·H): each gate's block of columns apart."""
    T, B, N = array.shape
    return steps(xp.permute_dims(xp.reshape(array, (T, B, G, N // G)), (0, 2, 1, 3)))
