"""Initial weights of every cell: orthogonal recurrent matrices, biases of forget gates, min-char-rnn's scheme."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import build, initial_weights

H, V = 40, 30


def weights_of(cell: str, seed: int = 0, **options: object) -> dict[str, np.ndarray]:
    """Return the initial weights of a network of two layers."""
    model = ModelConfig(**{"cell": cell, "hidden_size": H, "num_layers": 2, "start_symbol": False, **options})
    return initial_weights(build(model, V, NumpyBackend()), model, np.random.default_rng(seed))


def test_recurrent_matrices_are_orthogonal(cell: str) -> None:
    """The recurrent matrix of every gate is orthogonal, and no two are equal."""
    weights = weights_of(cell)
    gates = [
        g for layer in range(2) for g in np.split(weights[f"layer{layer}.W_hh"], weights["layer0.b_h"].size // H, 1)
    ]
    for gate in gates:
        assert np.allclose(gate @ gate.T, np.eye(H), atol=1e-12)
    assert len({gate.tobytes() for gate in gates}) == len(gates) == 2 * {"rnn": 1, "gru": 3, "lstm": 4}[cell]


def test_weights_have_the_right_standard_deviation(cell: str) -> None:
    """The rows of characters have the standard deviation `input_std`, the other weights 1 / sqrt(rows)."""
    weights = weights_of(cell, input_std=0.7)
    for name, deviation in (("layer0.W_xh", 0.7), ("layer1.W_xh", H**-0.5), ("output.W_hy", H**-0.5)):
        assert np.std(weights[name]) == pytest.approx(deviation, rel=0.1), name


def test_the_start_symbol_is_a_vector_and_characters_are_read_as_without_it(cell: str) -> None:
    """`b_h` has half of `input_std`; a character's row plus `b_h` is the same with the symbol as without it."""
    without, weights = weights_of(cell), weights_of(cell, start_symbol=True)
    read = [w["layer0.W_xh"] + w["layer0.b_h"] for w in (without, weights)]
    assert np.allclose(*read, rtol=0, atol=1e-12)
    assert np.std(weights["layer0.b_h"] - without["layer0.b_h"]) == pytest.approx(1.0, rel=0.3)
    for name in without.keys() - {"layer0.W_xh", "layer0.b_h"}:
        assert np.array_equal(weights[name], without[name]), name


@pytest.mark.parametrize("scheme", ["orthogonal", "min-char-rnn"])
@pytest.mark.parametrize("bias", [1.0, -0.5, 0.0])
def test_only_forget_gates_have_a_bias(cell: str, scheme: str, bias: float) -> None:
    """Biases are zero, except those of the second gate of an LSTM, which are `forget_bias`."""
    for name, weights in weights_of(cell, init=scheme, forget_bias=bias).items():
        if weights.ndim == 1:
            expected = np.zeros_like(weights)
            if cell == "lstm" and name.endswith("b_h"):
                expected[H : 2 * H] = bias
            assert np.array_equal(weights, expected), name


def test_min_char_rnns_scheme_draws_small_normal_weights(cell: str) -> None:
    """Every matrix is drawn from a normal distribution times 0.01, in order, in the shape (out, in)."""
    weights, rng = weights_of(cell, seed=3, init="min-char-rnn"), np.random.default_rng(3)
    for name, matrix in weights.items():
        if matrix.ndim == 2:
            assert np.array_equal(matrix, rng.standard_normal(matrix.shape[::-1]).T * 0.01), name
