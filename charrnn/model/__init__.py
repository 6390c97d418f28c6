"""The network: layout, cells, loss, forward and backward pass, initial weights."""

from charrnn.model.gradcheck import gradcheck
from charrnn.model.initial import initial
from charrnn.model.layout import Layout
from charrnn.model.loss import cross_entropy
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
)

__all__ = [
    "Chunk",
    "Layout",
    "Network",
    "State",
    "Views",
    "Workspace",
    "build",
    "cross_entropy",
    "forward",
    "gradcheck",
    "initial",
    "loss_and_grad",
    "next_state",
]
