"""The textbook's network: one stream, one character, one gate at a time, for complex numbers too."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def blocks(weights: Arrays, layer: int, gate: int, H: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, U and b of one gate."""
    return tuple(weights[f"layer{layer}.{name}"][..., gate * H : (gate + 1) * H] for name in ("W_xh", "W_hh", "b_h"))


def advance(cell: str, weights: Arrays, layer: int, x: np.ndarray, state: Arrays) -> Arrays:
    """The state (H,) of one layer after it has read x."""
    h = state["hidden"]
    gates = [(x @ W + b, h @ U) for W, U, b in (blocks(weights, layer, n, len(h)) for n in range(4)) if W.size]
    if cell == "rnn":
        return {"hidden": np.tanh(sum(gates[0]))}
    if cell == "gru":  # PyTorch's documentation of nn.GRU
        r, z = sigmoid(sum(gates[0])), sigmoid(sum(gates[1]))
        n = np.tanh(gates[2][0] + r * (gates[2][1] + weights[f"layer{layer}.b_hn"]))
        return {"hidden": (1 - z) * n + z * h}
    i, f, g, o = (np.tanh(sum(gate)) if n == 2 else sigmoid(sum(gate)) for n, gate in enumerate(gates))
    c = f * state["cell_state"] + i * g
    return {"hidden": o * np.tanh(c), "cell_state": c}


def logits(host: SimpleNamespace, weights: Arrays, states: list[Arrays], character: int, b: int) -> np.ndarray:
    """The logits (V,) of stream b after one more character; the layers' `states` are replaced."""
    x = np.zeros(weights["layer0.W_xh"].shape[0])
    x[character] = not host.hidden[b, character]
    for layer, state in enumerate(states):
        states[layer] = advance(host.cell, weights, layer, x, state)
        x = states[layer]["hidden"] * host.drop[layer, b]
    return x @ weights["output.W_hy"] + weights["output.b_y"]


def loss(host: SimpleNamespace, weights: Arrays, scale: float) -> complex:
    """The summed nats of a problem, times `scale`; complex weights give complex-step gradients."""
    T, B = host.inputs.shape
    dropped = {f"layer{n}.W_hh": weights[f"layer{n}.W_hh"] * mask for n, mask in enumerate(host.connections)}
    weights, total = weights | dropped, 0.0
    for b in range(B):
        states = [{name: array[layer, b] for name, array in host.state.items()} for layer in range(host.layers)]
        for t in range(T):
            states = [{name: host.keep[t, b] * array for name, array in state.items()} for state in states]
            each = np.exp(logits(host, weights, states, host.inputs[t, b], b))
            total = total - np.log(each[host.targets[t, b]] / np.sum(each))
    return total * scale


def gradient(host: SimpleNamespace, scale: float) -> Arrays:
    """The gradient of `loss` by complex steps, exact to rounding (Squire & Trapp, 1998)."""
    result = {}
    for name, weight in host.weights.items():
        result[name] = np.empty(weight.shape)
        for index in np.ndindex(*weight.shape):
            stepped = host.weights | {name: weight.astype(complex)}
            stepped[name][index] += 1e-30j
            result[name][index] = loss(host, stepped, scale).imag / 1e-30
    return result


@cache
def example(
    cell: str, *, layers: int = 2, T: int = 6, B: int = 3, V: int = 7, H: int = 5, dropout: bool = False
) -> SimpleNamespace:
    """A random problem, the states non-zero, one stream dropped at the start and one on the way.

    With `dropout` some characters are hidden from some streams, and half of each layer's outputs and of its recurrent
    weights are dropped.
    """
    rng, G = np.random.default_rng(1), {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    shapes = {}
    for layer in range(layers):
        inputs = H if layer else V
        shapes |= {
            f"layer{layer}.W_xh": (inputs, G * H),
            f"layer{layer}.W_hh": (H, G * H),
            f"layer{layer}.b_h": (G * H,),
        }
        shapes |= {f"layer{layer}.b_hn": (H,)} if cell == "gru" else {}
    shapes |= {"output.W_hy": (H, V), "output.b_y": (V,)}
    states = ("hidden", "cell_state") if cell == "lstm" else ("hidden",)
    host = SimpleNamespace(
        cell=cell,
        layers=layers,
        weights={name: rng.standard_normal(shape) * 0.6 for name, shape in shapes.items()},
        state={name: rng.standard_normal((layers, B, H)) * 0.5 for name in states},
        inputs=rng.integers(0, V, (T, B)),
        targets=rng.integers(0, V, (T, B)),
        keep=np.ones((T, B)),
        hidden=np.zeros((B, V), bool),
        drop=np.ones((layers, B, H)),
        connections=np.ones((layers, H, G * H)),
    )
    if dropout:
        host.hidden = rng.random((B, V)) < 0.4
        host.drop = 2.0 * (rng.random((layers, B, H)) < 0.5)
        host.connections = 2.0 * (rng.random((layers, H, G * H)) < 0.5)
    host.keep[0, 2] = host.keep[T // 2, 1] = 0
    return host


@cache
def example_gradient(cell: str, scale: float, *, dropout: bool = False) -> Arrays:
    """The gradient of `example`, which every namespace is compared with."""
    return gradient(example(cell, dropout=dropout), scale)
