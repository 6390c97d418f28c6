"""The tensors of a checkpoint: their names and shapes, and how a flat vector becomes tensors and back.

`parameters/NAME`, `optimizer/SLOT/NAME`, `average/NAME` (where a running mean of the parameters is kept), `state/NAME`
(L, B, H), `guard/scale` and `guard/bad` (). A vector (P,) is saved as one tensor for each parameter, so the layout of
the vector may change, and files stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.config import Config
from charrnn.errors import CheckpointError
from charrnn.model import Layout, layout_of
from charrnn.model.cells import CELLS
from charrnn.optim import rule

HostArray = np.ndarray[Any, np.dtype[Any]]
Shapes = dict[str, tuple[int, ...]]


def vector_names(config: Config) -> list[str]:
    """Return the names of the vectors (P,): each is saved as `NAME/PARAMETER` for every parameter."""
    slots = [f"optimizer/{slot}" for slot in rule(config.optimizer).slots]
    return ["parameters", *slots, *(["average"] if config.optimizer.average else [])]


def array_shapes(config: Config) -> Shapes:
    """Return the names and shapes of the other arrays, which are saved as they are."""
    state = (config.model.num_layers, config.train.batch_size, config.model.hidden_size)
    states = {f"state/{name}": state for name in CELLS[config.model.cell].STATES}
    return {**states, "guard/scale": (), "guard/bad": ()}


def tensor_shapes(config: Config, vocab_size: int) -> Shapes:
    """Return the names and shapes of all tensors."""
    parameters = layout_of(config.model, vocab_size).shapes
    vectors = {f"{vector}/{name}": shape for vector in vector_names(config) for name, shape in parameters}
    return vectors | array_shapes(config)


def to_tensors(name: str, vector: HostArray, layout: Layout) -> dict[str, HostArray]:
    """Return the vector (P,) as tensors `name/PARAMETER`."""
    return {f"{name}/{parameter}": view for parameter, view in layout.views(vector, xp=np).items()}


def to_vector(name: str, tensors: Mapping[str, HostArray], layout: Layout, dtype: str) -> HostArray:
    """Return the tensors `name/PARAMETER` as a vector (P,). Raise `CheckpointError` for a tensor of another shape."""
    vector = np.zeros(layout.size, dtype)
    for parameter, view in layout.views(vector, xp=np).items():
        tensor = tensors[f"{name}/{parameter}"]
        if tensor.shape != view.shape:
            raise CheckpointError(f"{name}/{parameter} has the shape {list(tensor.shape)}, not {list(view.shape)}")
        view[...] = tensor
    return vector


def check_tensors(tensors: Mapping[str, HostArray], config: Config, vocab_size: int) -> None:
    """Raise `CheckpointError` for a tensor that is missing, extra, of another shape or dtype, or not finite."""
    expected, dtype = tensor_shapes(config, vocab_size), np.dtype(config.model.dtype)
    for name in sorted(expected.keys() ^ tensors.keys()):
        problem = "is missing" if name in expected else "does not belong to this network"
        raise CheckpointError(f"the tensor {name} {problem}")
    for name, tensor in tensors.items():
        shape = expected[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise CheckpointError(f"{name} is {tensor.dtype}{list(tensor.shape)}, not {dtype}{list(shape)}")
        if not np.isfinite(tensor).all():  # NaN parameters would show much later, in a sampler
            raise CheckpointError(f"{name} holds numbers that are not finite: use an earlier checkpoint")
