"""Initial weights, drawn on the host, so that a seed means the same network on every device."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.config import ModelConfig
from charrnn.model.network import Network

HostArray = np.ndarray[Any, np.dtype[np.float64]]


def initial_weights(network: Network, model: ModelConfig, rng: np.random.Generator) -> dict[str, HostArray]:
    """Return name -> float64 weights for every parameter of `network`, by the scheme `model.init`.

    `orthogonal`: the recurrent matrix of each gate is orthogonal (Saxe et al., 2014), so that the unrolled network
    neither explodes nor vanishes at the start. The other matrices are normal with variance 1 / rows, but the first
    layer's rows, of which each character selects one, have the standard deviation `model.input_std`. With an embedding
    its table (V, E) is normal with variance 1 / E, so that a character is a vector of length 1, on average, and tied
    logits begin as small as others; the first layer's weights (E, G·H) have the standard deviation `model.input_std`.
    The first layer's input is then distributed as without an embedding.

    A network that learns how documents begin reads the start symbol as a vector, too, of half this standard deviation:
    `b_h` of the first layer, which is subtracted from the characters' rows, so that these are read as without it. From
    zero, where all states are zero after the symbol, the network learns much later how documents begin. With an
    embedding it is a vector of half the length of a character: `b_h` is its projection, and the table's rows are
    shifted by it, which changes all tied logits by the same amount, and so no probability.

    `min-char-rnn`: normal times 0.01, drawn in the order and in the shapes (out, in) of min-char-rnn, for any cell.

    Other biases are zero, but those of forget gates are `model.forget_bias`: with 1 a new network remembers (Gers et
    al., 2000; Jozefowicz et al., 2015).
    """
    H = model.hidden_size
    weights = {name: initial_weight(name, shape, model, rng) for name, shape in network.layout.shapes}
    if network.start_symbol and model.init == "orthogonal" and model.embedding_size:
        start_symbol = rng.standard_normal(model.embedding_size) / np.sqrt(model.embedding_size) / 2
        weights["layer0.b_h"] += start_symbol @ weights["layer0.W_xh"]
        weights["embedding.table"] -= start_symbol
    elif network.start_symbol and model.init == "orthogonal":
        start_symbol = rng.standard_normal(weights["layer0.b_h"].shape) * model.input_std / 2
        weights["layer0.b_h"] += start_symbol
        weights["layer0.W_xh"] -= start_symbol
    for layer in range(network.num_layers):
        for gate in network.cell.FORGET_GATES:
            weights[f"layer{layer}.b_h"][gate * H : (gate + 1) * H] += model.forget_bias
    return weights


def initial_weight(name: str, shape: tuple[int, ...], model: ModelConfig, rng: np.random.Generator) -> HostArray:
    """Return the initial value of one parameter."""
    if len(shape) == 1:
        return np.zeros(shape)
    if model.init == "min-char-rnn":
        return rng.standard_normal(shape[::-1]).T * 0.01
    if name.endswith("W_hh"):
        return np.concatenate([orthogonal(rng, shape[0]) for _ in range(shape[1] // shape[0])], axis=1)
    if name == "embedding.table":
        return rng.standard_normal(shape) / np.sqrt(shape[1])
    if name == "layer0.W_xh":
        return rng.standard_normal(shape) * model.input_std
    return rng.standard_normal(shape) / np.sqrt(shape[0])


def orthogonal(rng: np.random.Generator, n: int) -> HostArray:
    """Return a random orthogonal (n, n) matrix: Q of a normal matrix, with signs by R's diagonal (Mezzadri, 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))
