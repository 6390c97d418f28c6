"""A single recurrent layer with random numbers, on which its kernels and its loop of operations are compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from charrnn.backend import Array, Backend, series
from charrnn.model.cells import CELLS


class Problem(NamedTuple):
    """The tape of a layer, its initial numbers, and the gradient of its output."""

    cell: Any
    tape: Any
    z: Array
    dhidden: Array
    keep: Array
    backend: Backend


def problem(name: str, T: int, B: int, H: int, dtype: str, backend: Backend) -> Problem:
    """Return a problem with the same random numbers on every backend."""
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


def solved(recurrence: Any, layer: Problem, *, keep: bool = True) -> dict[str, np.ndarray]:
    """Run both passes; return the states, and the gradients of z and of the recurrent product."""
    tape, backend, dropped = layer.tape, layer.backend, layer.keep if keep else None
    tape.z[...] = layer.z
    for state in layer.cell.STATES:
        getattr(tape, state)[1:, ...] = float("nan")  # NaN shows where the pass reads an old state
    recurrence.recurrence_forward(tape, dropped, backend=backend)
    dhidden = backend.xp.asarray(layer.dhidden, copy=True)  # the backward pass overwrites it
    recurrence.recurrence_backward(tape, series(dhidden), dropped, backend=backend)
    names = (*layer.cell.STATES, "z", "z_hidden")
    return {name: np.array(backend.to_host(getattr(tape, name))) for name in names}
