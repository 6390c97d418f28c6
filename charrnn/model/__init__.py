"""The network: layout, cells, loss, forward and backward pass, initial weights."""

from charrnn.model.bptt import loss_and_grad, surprise
from charrnn.model.dropout import drop_inputs
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
    layout_of,
    next_state,
    prepare,
    read,
)

__all__ = [
    "Chunk",
    "Layout",
    "Network",
    "State",
    "Views",
    "Workspace",
    "build",
    "drop_inputs",
    "forward",
    "gradcheck",
    "initial",
    "layout_of",
    "loss_and_grad",
    "next_state",
    "prepare",
    "read",
    "surprise",
]
