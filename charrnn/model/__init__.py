"""The network: layout, cells, loss, forward and backward pass, initial weights."""

from charrnn.model.gradcheck import gradcheck
from charrnn.model.initial import initial
from charrnn.model.layout import Layout
from charrnn.model.network import (
    Chunk,
    Network,
    State,
    Views,
    Workspace,
    build,
    forward,
    loss_and_grad,
    next_state,
    prepare,
    read,
)
from charrnn.model.output import surprise
from charrnn.model.torch_weights import from_torch, to_torch

__all__ = [
    "Chunk",
    "Layout",
    "Network",
    "State",
    "Views",
    "Workspace",
    "build",
    "forward",
    "from_torch",
    "gradcheck",
    "initial",
    "loss_and_grad",
    "next_state",
    "prepare",
    "read",
    "surprise",
    "to_torch",
]
