"""Models with random weights, and what they compute, for the tests of exports."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.api import Model, device_params
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import Config, DataConfig, ModelConfig
from charrnn.model import Workspace, build, forward, next_state, prepare
from charrnn.model.bptt import project
from charrnn.text import Vocabulary

Arrays = dict[str, np.ndarray[Any, Any]]


def random_model(
    cell: str,
    layers: int = 1,
    *,
    characters: str = "\n abcdeé日🙂",
    H: int = 7,
    scale: float = 0.6,
    separator: str = "",
    start_symbol: bool = True,
    dtype: str = "float32",
    embedding: int = 0,
    tied: bool = False,
) -> Model:
    """Return a model with random weights and biases."""
    shape = {"cell": cell, "hidden_size": H, "num_layers": layers, "dtype": dtype, "start_symbol": start_symbol}
    shape |= {"embedding_size": embedding, "tie_weights": tied}
    config = Config(data=DataConfig(document_separator=separator), model=ModelConfig(**shape))
    network = build(config.model, len(characters), NumpyBackend())
    rng = np.random.default_rng(layers)
    weights = {name: rng.standard_normal(shape) * scale for name, shape in network.layout.shapes}
    counts = tuple(range(1, len(characters) + 1))
    return Model(network, device_params(network, weights), config, Vocabulary(characters, counts), step=0)


def random_state(model: Model, B: int) -> Arrays:
    """Return a random state (L, B, H)."""
    rng, shape = np.random.default_rng(B), (model.network.num_layers, B, model.network.hidden_size)
    return {name: rng.standard_normal(shape).astype(model.network.dtype) for name in model.network.cell.STATES}


def logits_and_state(model: Model, ids: np.ndarray[Any, Any], state: Arrays) -> tuple[np.ndarray[Any, Any], Arrays]:
    """Return what charrnn computes: the logits (T, B, V) after each of `ids` (T, B), and the state after the last."""
    (T, B), network = ids.shape, model.network
    work, after = Workspace(network, T, B), {name: np.empty_like(array) for name, array in state.items()}
    prepare(network, model.params, work)
    hidden = forward(network, model.params, ids.reshape(-1), None, state, work)
    embedded = np.empty((T * B, network.embedding_size), network.dtype) if "output.W_he" in model.params else None
    out = np.empty((T * B, network.vocab_size), network.dtype)
    logits = project(network, model.params, hidden, embedded=embedded, out=out)
    next_state(work, out=after)
    return logits.reshape(T, B, -1).copy(), after
