"""Fixtures of the whole suite."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from namespaces import Case, parameters

from charrnn.config import ModelConfig
from charrnn.model import Chunk, Workspace, build

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n" * 6


@pytest.fixture
def text() -> str:
    """A short text with some structure, 516 characters."""
    return TEXT


@pytest.fixture(params=parameters())
def case(request: pytest.FixtureRequest) -> Case:
    """Each namespace and dtype."""
    return request.param


@pytest.fixture
def net(case: Case) -> SimpleNamespace:
    """A small network with random weights on each namespace, and the same numbers on the host."""
    return problem(case)


def problem(case: Case, *, layers: int = 2, T: int = 6, B: int = 3, V: int = 7, H: int = 5) -> SimpleNamespace:
    """Weights, state, ids and keep mask: random, the state non-zero, one stream dropped on the way."""
    backend, rng = case.make(), np.random.default_rng(1)
    network = build(ModelConfig(hidden_size=H, num_layers=layers, dtype=case.dtype), V, backend)
    host = SimpleNamespace(
        weights={name: rng.standard_normal(shape) * 0.6 for name, shape in network.layout.shapes},
        state=rng.standard_normal((layers, B, H)) * 0.5,
        inputs=rng.integers(0, V, (T, B)),
        targets=rng.integers(0, V, (T, B)),
        keep=np.ones((T, B)),
    )
    host.keep[T // 2, 1] = 0
    flat = np.zeros(network.layout.size)
    for name, view in network.layout.views(flat, xp=np).items():
        view[...] = host.weights[name]
    params = network.views(backend.from_host(flat, case.dtype))
    gradient = backend.zeros((network.layout.size,), case.dtype)
    inputs, targets = (backend.indices(backend.from_host(a.reshape(-1))) for a in (host.inputs, host.targets))
    return SimpleNamespace(
        case=case,
        backend=backend,
        network=network,
        host=host,
        params=params,
        gradient=gradient,
        grads=network.views(gradient),
        chunk=Chunk(inputs, targets, backend.from_host(host.keep, case.dtype)),
        state={"hidden": backend.from_host(host.state, case.dtype)},
        work=Workspace(network, T, B),
        T=T,
        B=B,
        V=V,
        H=H,
        layers=layers,
    )


def reference_loss(host: SimpleNamespace, weights: dict[str, np.ndarray], scale: float) -> complex:
    """The textbook's loss, one character at a time; complex weights give complex-step gradients."""
    T, B = host.inputs.shape
    L = host.state.shape[0]
    total = 0.0
    for b in range(B):
        h = [host.state[layer, b] for layer in range(L)]
        for t in range(T):
            x = np.zeros(weights["layer0.W_xh"].shape[0])
            x[host.inputs[t, b]] = 1
            for layer in range(L):
                recurrent = host.keep[t, b] * h[layer] @ weights[f"layer{layer}.W_hh"]
                h[layer] = np.tanh(x @ weights[f"layer{layer}.W_xh"] + recurrent + weights[f"layer{layer}.b_h"])
                x = h[layer]
            logits = x @ weights["output.W_hy"] + weights["output.b_y"]
            total = total - np.log(np.exp(logits)[host.targets[t, b]] / np.sum(np.exp(logits)))
    return total * scale


def reference_gradient(host: SimpleNamespace, scale: float) -> dict[str, np.ndarray]:
    """The gradient of `reference_loss` by complex steps, exact to rounding (Squire & Trapp, 1998)."""
    result = {}
    for name, weight in host.weights.items():
        result[name] = np.empty(weight.shape)
        for index in np.ndindex(*weight.shape):
            stepped = {k: v.astype(complex) for k, v in host.weights.items()}
            stepped[name][index] += 1e-30j
            result[name][index] = reference_loss(host, stepped, scale).imag / 1e-30
    return result


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays agree relative to the largest element."""
    return bool(np.max(np.abs(actual - expected)) <= tolerance * max(1e-30, np.max(np.abs(expected))))
