"""Finite differences against the hand-written gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from charrnn.backend import Array, Backend
from charrnn.config import ModelConfig
from charrnn.model.bptt import loss_and_grad
from charrnn.model.network import Chunk, Workspace, build

if TYPE_CHECKING:
    from numpy.random import Generator

V, H, T, B = 11, 7, 5, 3
STEP = 1e-3
STENCIL = ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))
"""Fourth-order central difference: f' = sum of weight · f(x + n · STEP) / STEP, exact to about 1e-12 in float64."""
MOST = 64
"""Elements of a parameter that are checked, if it has more."""


def gradcheck(model: ModelConfig, backend: Backend, rng: Generator, most: int = MOST) -> dict[str, float]:
    """The worst relative error of each parameter's gradient, on a small random network in float64.

    The chunk has T > 1, B > 1, a non-zero initial state, and a stream whose state is dropped on the way.

    Args:
        model: gives the cell and the number of layers; sizes are small ones of this module.
        backend: where to compute.
        rng: draws everything.
        most: elements tried of each parameter.
    """
    network = build(replace(model, hidden_size=H, dtype="float64"), V, backend)
    layout = network.layout
    vector = backend.from_host(rng.standard_normal(layout.size) * 0.5)
    gradient = backend.zeros((layout.size,), "float64")
    state = {name: backend.from_host(rng.standard_normal((model.num_layers, B, H))) for name in network.cell.STATES}
    keep = backend.zeros((T, B), "float64") + 1.0
    keep[T // 2, 1] = 0.0
    inputs, targets = (backend.indices(backend.from_host(rng.integers(0, V, T * B))) for _ in range(2))
    chunk, work = Chunk(inputs, targets, keep), Workspace(network, T, B)
    params, grads = network.views(vector), network.views(gradient)

    def loss() -> float:
        """The scaled loss at `vector`; fills `grads`."""
        return float(loss_and_grad(network, params, grads, chunk, state, work, scale=1 / B)) / B  # sync

    loss()
    analytic = backend.to_host(gradient)  # sync
    errors = {}
    for name, offset in layout.offsets.items():
        size = params[name].size
        tried = rng.choice(size, min(size, most), replace=False) + offset
        found = [relative(difference(loss, vector, int(i)), float(analytic[i])) for i in tried]
        errors[name] = max(found, key=lambda error: (error != error, error))  # a NaN is the worst
    return errors


def difference(loss: Callable[[], float], vector: Array, i: int) -> float:
    """The derivative of `loss` by element `i` of `vector`, which is put back as it was."""
    before = float(vector[i])  # sync
    result = 0.0
    for n, weight in STENCIL:
        vector[i] = before + n * STEP
        result += weight * loss()
    vector[i] = before
    return result / STEP


def relative(a: float, b: float) -> float:
    """The difference of `a` and `b` relative to the larger; below 1e-6 they count as zero."""
    return abs(a - b) / max(abs(a), abs(b), 1e-6)
