"""Small networks on every namespace, and how closely arrays agree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from helpers.namespaces import Case
from helpers.textbook import example

from charrnn.config import ModelConfig
from charrnn.model import Chunk, Workspace, build


def problem(case: Case, cell: str = "rnn", **options: Any) -> SimpleNamespace:
    """Return the example of the textbook, with its options, as a network on a namespace."""
    backend, host = case.make(), example(cell, **options)
    (T, B), H, V = host.inputs.shape, len(host.weights["layer0.W_hh"]), len(host.weights["output.b_y"])
    shape = {"cell": cell, "hidden_size": H, "num_layers": host.layers, "dtype": case.dtype}
    start_symbol = options.get("start_symbol", False)
    shape |= {"embedding_size": options.get("E", 0), "tie_weights": options.get("tied", False)}
    model = ModelConfig(**shape, start_symbol=start_symbol)
    network = build(model, V, backend)
    assert {name: weight.shape for name, weight in host.weights.items()} == dict(network.layout.shapes)
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
        chunk=Chunk(
            inputs,
            targets,
            backend.from_host(host.keep, case.dtype),
            backend.from_host(host.begins) if start_symbol else None,
        ),
        state={name: backend.from_host(array, case.dtype) for name, array in host.state.items()},
        work=Workspace(network, T, B),
        T=T,
        B=B,
        V=V,
        H=H,
    )


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Return whether two arrays agree to `tolerance` times the largest element."""
    return bool(np.max(np.abs(actual - expected)) <= tolerance * max(1e-30, np.max(np.abs(expected))))
