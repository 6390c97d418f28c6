"""Initial weights of every cell: orthogonal recurrences, open forget gates, the ancestor's scheme."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import build, initial_weights

H, V = 40, 30


def drawn(cell: str, seed: int = 0, **options: object) -> dict[str, np.ndarray]:
    """The weights of a network of two layers."""
    model = ModelConfig(cell=cell, hidden_size=H, num_layers=2, **options)
    return initial_weights(build(model, V, NumpyBackend()), model, np.random.default_rng(seed))


def test_each_gate_begins_orthogonal(cell: str) -> None:
    """Every gate's recurrent matrix is orthogonal, and no two are the same."""
    weights = drawn(cell)
    gates = [
        g for layer in range(2) for g in np.split(weights[f"layer{layer}.W_hh"], weights["layer0.b_h"].size // H, 1)
    ]
    for gate in gates:
        assert np.allclose(gate @ gate.T, np.eye(H), atol=1e-12)
    assert len({gate.tobytes() for gate in gates}) == len(gates) == 2 * {"rnn": 1, "gru": 3, "lstm": 4}[cell]


def test_inputs_have_their_spread(cell: str) -> None:
    """The rows of characters have deviation `input_std`, the other weights 1 / sqrt(rows)."""
    weights = drawn(cell, input_std=0.7)
    for name, deviation in (("layer0.W_xh", 0.7), ("layer1.W_xh", H**-0.5), ("output.W_hy", H**-0.5)):
        assert np.std(weights[name]) == pytest.approx(deviation, rel=0.1), name


@pytest.mark.parametrize("scheme", ["orthogonal", "min-char-rnn"])
@pytest.mark.parametrize("bias", [1.0, -0.5, 0.0])
def test_only_forget_gates_have_a_bias(cell: str, scheme: str, bias: float) -> None:
    """Biases are zero but for the second gate of an LSTM, which has `forget_bias`."""
    for name, weights in drawn(cell, init=scheme, forget_bias=bias).items():
        if weights.ndim == 1:
            expected = np.zeros_like(weights)
            if cell == "lstm" and name.endswith("b_h"):
                expected[H : 2 * H] = bias
            assert np.array_equal(weights, expected), name


def test_the_ancestors_scheme_is_small_and_normal(cell: str) -> None:
    """Every matrix is normal times 0.01, drawn in order as (out, in)."""
    weights, rng = drawn(cell, seed=3, init="min-char-rnn"), np.random.default_rng(3)
    for name, matrix in weights.items():
        if matrix.ndim == 2:
            assert np.array_equal(matrix, rng.standard_normal(matrix.shape[::-1]).T * 0.01), name
