"""A textbook implementation of the network, for real and complex numbers: one stream, character and gate at a time."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return the logistic function of `x`."""
    return 1 / (1 + np.exp(-x))


def gate_weights(weights: Arrays, layer: int, gate: int, H: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W, U and b of one gate."""
    return tuple(weights[f"layer{layer}.{name}"][..., gate * H : (gate + 1) * H] for name in ("W_xh", "W_hh", "b_h"))


def next_state(cell: str, weights: Arrays, layer: int, x: np.ndarray, state: Arrays) -> Arrays:
    """Return the state of one layer, arrays (H,), after the input `x`."""
    h = state["hidden"]
    gates = [(x @ W + b, h @ U) for W, U, b in (gate_weights(weights, layer, n, len(h)) for n in range(4)) if W.size]
    if cell == "rnn":
        return {"hidden": np.tanh(sum(gates[0]))}
    if cell == "gru":  # PyTorch's documentation of nn.GRU
        r, z = sigmoid(sum(gates[0])), sigmoid(sum(gates[1]))
        n = np.tanh(gates[2][0] + r * (gates[2][1] + weights[f"layer{layer}.b_hn"]))
        return {"hidden": (1 - z) * n + z * h}
    i, f, g, o = (np.tanh(sum(gate)) if n == 2 else sigmoid(sum(gate)) for n, gate in enumerate(gates))
    c = f * state["cell_state"] + i * g
    return {"hidden": o * np.tanh(c), "cell_state": c}


def logits(host: SimpleNamespace, weights: Arrays, states: list[Arrays], character: int | None, b: int) -> np.ndarray:
    """Return the logits (V,) of stream b after one more character, and replace the `states` of the layers.

    None is the start symbol: no character at all.
    """
    x = np.zeros(len(weights["output.b_y"]))
    if character is not None:
        x[character] = not host.input_mask[b, character]
    if "embedding.table" in weights:
        x = x @ weights["embedding.table"]
    for layer, state in enumerate(states):
        states[layer] = next_state(host.cell, weights, layer, x, state)
        x = states[layer]["hidden"] * host.output_masks[layer, b]
    return output(weights, x)


def output(weights: Arrays, h: np.ndarray) -> np.ndarray:
    """Return the logits (V,) for the output (H,) of the last layer."""
    if "output.W_hy" in weights:
        return h @ weights["output.W_hy"] + weights["output.b_y"]
    e = h @ weights["output.W_he"] if "output.W_he" in weights else h
    return np.array([row @ e for row in weights["embedding.table"]]) + weights["output.b_y"]


def loss(host: SimpleNamespace, weights: Arrays, scale: float) -> complex:
    """Return the sum of all losses of a problem in nats, times `scale`. `weights` may be complex."""
    T, B = host.inputs.shape
    dropped = {f"layer{n}.W_hh": weights[f"layer{n}.W_hh"] * mask for n, mask in enumerate(host.recurrent_masks)}
    weights, total = weights | dropped, 0.0
    for b in range(B):
        states = [{name: array[layer, b] for name, array in host.state.items()} for layer in range(host.layers)]
        for t in range(T):
            states = [{name: host.keep[t, b] * array for name, array in state.items()} for state in states]
            y = logits(host, weights, states, None if host.begins[t, b] else host.inputs[t, b], b)
            exps = np.exp(y + host.shift)
            total = total - np.log(exps[host.targets[t, b]] / np.sum(exps))
    return total * scale


def gradient(host: SimpleNamespace, scale: float) -> Arrays:
    """Return the gradient of `loss` by complex steps, exact to rounding (Squire & Trapp, 1998)."""
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
    cell: str,
    *,
    layers: int = 2,
    T: int = 6,
    B: int = 3,
    V: int = 7,
    H: int = 5,
    dropout: bool = False,
    start_symbol: bool = False,
    E: int = 0,
    tied: bool = False,
    sampled: bool = False,
) -> SimpleNamespace:
    """Return a random problem with non-zero states; one stream is reset at the first time step, one in the middle.

    With `dropout` some characters are dropped in some streams, and half of each layer's outputs and recurrent weights.
    With `start_symbol` the stream that is reset in the middle reads the start symbol there, and another at its end.
    Characters are one-hot, or with `E` the rows of a table, which with `tied` is the output layer's, too.
    With `sampled` the softmax is over the targets and three other characters, whose logits are raised by 1, 2 and 3.
    """
    rng, G = np.random.default_rng(1), {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    shapes = {"embedding.table": (V, E)} if E else {}
    for layer in range(layers):
        inputs = H if layer else E or V
        shapes |= {
            f"layer{layer}.W_xh": (inputs, G * H),
            f"layer{layer}.W_hh": (H, G * H),
            f"layer{layer}.b_h": (G * H,),
        }
        shapes |= {f"layer{layer}.b_hn": (H,)} if cell == "gru" else {}
    if not tied or E != H:
        shapes |= {"output.W_he": (H, E)} if tied else {"output.W_hy": (H, V)}
    shapes["output.b_y"] = (V,)
    states = ("hidden", "cell_state") if cell == "lstm" else ("hidden",)
    host = SimpleNamespace(
        cell=cell,
        layers=layers,
        weights={name: rng.standard_normal(shape) * 0.6 for name, shape in shapes.items()},
        state={name: rng.standard_normal((layers, B, H)) * 0.5 for name in states},
        inputs=rng.integers(0, V, (T, B)),
        targets=rng.integers(0, V, (T, B)),
        keep=np.ones((T, B)),
        input_mask=np.zeros((B, V), bool),
        output_masks=np.ones((layers, B, H)),
        recurrent_masks=np.ones((layers, H, G * H)),
        shift=np.zeros(V),
    )
    if sampled:
        absent = np.setdiff1d(np.arange(V), host.targets)
        host.shift[absent] = -np.inf
        host.shift[absent[-3:]] = 1, 2, 3
    if dropout:
        host.input_mask = rng.random((B, V)) < 0.4
        host.output_masks = 2.0 * (rng.random((layers, B, H)) < 0.5)
        host.recurrent_masks = 2.0 * (rng.random((layers, H, G * H)) < 0.5)
    host.keep[0, 2] = host.keep[T // 2, 1] = 0
    host.begins = np.zeros((T, B), bool)
    if start_symbol:
        host.begins[T // 2, 1] = host.begins[T - 1, 0] = True
        host.keep[T - 1, 0] = 0
    return host


@cache
def example_gradient(cell: str, scale: float, **options: object) -> Arrays:
    """Return the gradient of `example`, computed once for all namespaces."""
    return gradient(example(cell, **options), scale)
