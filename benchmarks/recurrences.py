"""A recurrent layer by itself, with random numbers: what its kernels and its loop over operations are compared by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from charrnn.backend import Array, Backend, series
from charrnn.model.cells import CELLS


class Problem(NamedTuple):
    """A layer's tape, the numbers it begins with, and the gradient that comes from above."""

    cell: Any
    tape: Any
    z: Array
    dhidden: Array
    keep: Array
    backend: Backend


def problem(name: str, T: int, B: int, H: int, dtype: str, backend: Backend) -> Problem:
    """The same numbers wherever they are computed with."""
    cell, rng = CELLS[name], np.random.default_rng(5)
    tape = cell.tape(T, B, H, dtype, backend=backend)

    def normal(*shape: int) -> Array:
        return backend.from_host(rng.standard_normal(shape), dtype)

    z = normal(*tape.z.shape)
    for state in cell.STATES:
        getattr(tape, state)[0, ...] = normal(B, H)
    W = backend.from_host(rng.standard_normal((H, cell.GATES * H)) / np.sqrt(H), dtype)
    for gate in cell.BIASES.values():
        tape.bias[gate, ...] = normal(H)
    tape.by_W.use(W)
    tape.by_W_T.use(W.T)
    return Problem(cell, tape, z, normal(T, B, H), backend.from_host(rng.random((T, B)) > 0.3, dtype), backend)


def solved(recurrence: Any, given: Problem, *, keep: bool = True) -> dict[str, np.ndarray]:
    """What the two passes leave: the states, and the gradients by z and by the recurrent product."""
    tape, backend, dropped = given.tape, given.backend, given.keep if keep else None
    tape.z[...] = given.z
    for state in given.cell.STATES:
        getattr(tape, state)[1:, ...] = float("nan")  # nothing is left over from the last time
    recurrence.recurrence_forward(tape, dropped, backend=backend)
    dhidden = backend.xp.asarray(given.dhidden, copy=True)  # loops write to it
    recurrence.recurrence_backward(tape, series(dhidden), dropped, backend=backend)
    names = (*given.cell.STATES, "z", "z_hidden")
    return {name: np.array(backend.to_host(getattr(tape, name))) for name in names}
