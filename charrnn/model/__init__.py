"""The network: cells, forward and backward pass, loss, dropout, parameters and their initial values."""

from charrnn.model.bptt import Chunk, forward, loss_and_grad, next_state, prepare, surprise
from charrnn.model.gradcheck import gradcheck
from charrnn.model.initial import initial_weights
from charrnn.model.layout import Layout
from charrnn.model.network import Network, State, Views, Workspace, build, character_axes, layout_of

__all__ = [
    "Chunk",
    "Layout",
    "Network",
    "State",
    "Views",
    "Workspace",
    "build",
    "character_axes",
    "forward",
    "gradcheck",
    "initial_weights",
    "layout_of",
    "loss_and_grad",
    "next_state",
    "prepare",
    "surprise",
]
