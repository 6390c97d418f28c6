"""Compare the hand-written gradients with finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from charrnn.backend import Array, Backend
from charrnn.config import ModelConfig
from charrnn.model.bptt import Chunk, loss_and_grad
from charrnn.model.network import Workspace, build

if TYPE_CHECKING:
    from numpy.random import Generator

V, H, E, T, B = 11, 7, 4, 5, 3
STEP = 1e-3
STENCIL = ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))
"""Fourth-order central difference: f'(x) = sum of weight * f(x + n * STEP) / STEP, with an error of about 1e-12."""
CHECKED = 64
"""How many elements of each parameter are checked."""


def gradcheck(model: ModelConfig, backend: Backend, rng: Generator, checked: int = CHECKED) -> dict[str, float]:
    """Return the largest relative error of each parameter's gradient, on a small random network in float64.

    The chunk has T > 1, B > 1, an initial state that is not zero, and a stream whose state is reset inside it.

    Args:
        model: the cell, the number of layers, whether there is an embedding, whether its size is that of the hidden
            state, and whether weights are tied; the sizes are the small ones of this module.
        backend: where to compute.
        rng: draws the weights and the chunk.
        checked: how many elements of each parameter to check.
    """
    embedding_size = H if model.embedding_size == model.hidden_size else E if model.embedding_size else 0
    model = replace(model, hidden_size=H, embedding_size=embedding_size, dtype="float64")
    network = build(model, V, backend)
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
        """Return the scaled loss at `vector` and fill `grads`."""
        return float(loss_and_grad(network, params, grads, chunk, state, work, scale=1 / B)) / B  # sync

    loss()
    analytic = backend.to_host(gradient)  # sync
    errors = {}
    for name, offset in layout.offsets.items():
        size = params[name].size
        elements = rng.choice(size, min(size, checked), replace=False) + offset
        found = [relative_error(derivative(loss, vector, int(i)), float(analytic[i])) for i in elements]
        errors[name] = max(found, key=lambda error: (error != error, error))  # NaN counts as the largest
    return errors


def derivative(loss: Callable[[], float], vector: Array, i: int) -> float:
    """Return the derivative of `loss` by element `i` of `vector`; the element is restored."""
    before = float(vector[i])  # sync
    result = 0.0
    for n, weight in STENCIL:
        vector[i] = before + n * STEP
        result += weight * loss()
    vector[i] = before
    return result / STEP


def relative_error(a: float, b: float) -> float:
    """Return |a - b| divided by the larger of |a|, |b| and 1e-6."""
    return abs(a - b) / max(abs(a), abs(b), 1e-6)
