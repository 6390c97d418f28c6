"""A network as an ONNX model: operators RNN, GRU or LSTM, with the state as inputs and outputs, in float32.

    characters (T, B) int64, hidden (L, B, H), for an LSTM cell_state (L, B, H)
        -> logits (T, B, V), next_hidden (L, B, H), next_cell_state (L, B, H)

T and B are dynamic. The id V is the start symbol: its input is all zeros. The operators' equations are in ONNX's
documents (https://onnx.ai/onnx/operators/). They differ from PyTorch's in the order of the gates, and the bias of the
recurrent product is outside of the GRU's reset gate unless `linear_before_reset` is 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.api import HostArray, Model
from charrnn.errors import ConfigError
from charrnn.model.cells import CELLS
from charrnn.tools.torch_weights import to_torch

OPERATORS: dict[str, tuple[str, tuple[int, ...], dict[str, int]]] = {
    "rnn": ("RNN", (0,), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # z r h of ONNX from r z n of PyTorch
    "lstm": ("LSTM", (0, 3, 1, 2), {}),  # i o f c of ONNX from i f g o of PyTorch
}
"""Cell -> the operator, the index in PyTorch's order of each of its gates, and its attributes."""
OPSET, FORMAT = 17, 8
"""The version of the operators and of the file: ONNX Runtime 1.12 and later read them."""
LARGEST = 2**31 - 2**20
"""Bytes of weights that fit into a file: a message of protobuf ends at 2 GB."""


def onnx_model(model: Model) -> bytes:
    """Return the ONNX file of a model. Raises `ConfigError` for float64, and if the package onnx is not installed."""
    try:
        import onnx
    except ImportError:
        raise ConfigError("an ONNX file needs the package onnx: pip install 'charrnn-xp[onnx]'") from None
    if model.config.model.dtype != "float32":
        raise ConfigError(
            "ONNX Runtime computes recurrent operators in float32 only, and this network is float64: "
            "export a run with model.dtype = float32"
        )
    state = to_torch(model)
    if sum(array.nbytes for array in state.values()) > LARGEST:
        raise ConfigError("the network has more than 2 GB of weights, which an ONNX file cannot hold")
    graph = Graph(onnx, model.config.model.cell, model.config.model.num_layers)
    graph.input_layer(state)
    for layer in range(graph.layers):
        graph.recurrent_layer(state, layer)
    graph.output_layer(state)
    made = onnx.helper.make_model(
        graph.build(len(model.vocabulary), model.config.model.hidden_size),
        producer_name="charrnn",
        producer_version=__version__,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=FORMAT,
    )
    onnx.helper.set_model_props(made, metadata(model))
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def metadata(model: Model) -> dict[str, str]:
    """Return what a program needs to write text with the model; values with text are JSON."""
    V = len(model.vocabulary)
    return {
        "vocabulary": json.dumps(model.vocabulary.characters),  # in the order of the ids
        "start_symbol": str(V) if model.network.start_symbol else "",
        "document_separator": json.dumps(model.config.data.document_separator),
    }


class Graph:
    """The graph of a model in the making. `last` is the name of the newest layer's output (T, B, ...)."""

    def __init__(self, onnx: Any, cell: str, layers: int) -> None:
        self.onnx, self.cell, self.layers = onnx, cell, layers
        self.states = CELLS[cell].STATES
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "characters"
        for name in self.states:  # (L, B, H) in L parts (1, B, H)
            sizes = self.constant(f"{name}_sizes", np.ones(layers, np.int64))
            self.node("Split", [name, sizes], [f"{name}_{layer}" for layer in range(layers)], axis=0)

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Add an operator."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))

    def constant(self, name: str, array: HostArray) -> str:
        """Add an array and return its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def input_layer(self, state: Mapping[str, HostArray]) -> None:
        """Add the vector of each character, which is zeros for the id V: a row of the embedding, or one-hot."""
        V = len(state["output.bias"])
        if "embedding.weight" in state:
            table = np.pad(state["embedding.weight"], ((0, 1), (0, 0)))
            self.node("Gather", [self.constant("embedding", table), self.last], ["embedded"])
            self.last = "embedded"
            return
        depth, values = self.constant("V", np.array(V)), self.constant("off_on", np.array([0, 1], np.float32))
        self.node("OneHot", [self.last, depth, values], ["one_hot"], axis=-1)  # zeros for V: it is out of range
        self.last = "one_hot"

    def recurrent_layer(self, state: Mapping[str, HostArray], layer: int) -> None:
        """Add one layer of the cell."""
        kind, gates, attributes = OPERATORS[self.cell]

        def ordered(name: str) -> HostArray:
            parts = np.split(state[f"recurrent.{name}_l{layer}"], len(gates))
            return np.concatenate([parts[gate] for gate in gates])[None]  # one direction

        W = self.constant(f"W_{layer}", ordered("weight_ih"))
        R = self.constant(f"R_{layer}", ordered("weight_hh"))
        B = self.constant(f"B_{layer}", np.concatenate([ordered("bias_ih"), ordered("bias_hh")], axis=1))
        H = state[f"recurrent.weight_hh_l{layer}"].shape[1]
        before, after = ([f"{word}{name}_{layer}" for name in self.states] for word in ("", "next_"))
        output = f"layer_{layer}_directions"
        self.node(kind, [self.last, W, R, B, "", *before], [output, *after], hidden_size=H, **attributes)
        axis = self.constant(f"direction_{layer}", np.array([1]))
        self.node("Squeeze", [output, axis], [f"layer_{layer}"])  # (T, 1, B, H) -> (T, B, H)
        self.last = f"layer_{layer}"

    def output_layer(self, state: Mapping[str, HostArray]) -> None:
        """Add the logits."""
        if "projection.weight" in state:
            self.node("MatMul", [self.last, self.constant("W_he", state["projection.weight"].T)], ["projected"])
            self.last = "projected"
        W, b = self.constant("W_hy", state["output.weight"].T), self.constant("b_y", state["output.bias"])
        self.node("MatMul", [self.last, W], ["product"])
        self.node("Add", ["product", b], ["logits"])

    def build(self, V: int, H: int) -> Any:
        """Return the graph, after the new states."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        for name in self.states:
            parts = [f"next_{name}_{layer}" for layer in range(self.layers)]
            self.node("Concat", parts, [f"next_{name}"], axis=0)
        before, after = (
            [helper.make_tensor_value_info(word + name, types.FLOAT, [self.layers, "B", H]) for name in self.states]
            for word in ("", "next_")
        )
        characters = helper.make_tensor_value_info("characters", types.INT64, ["T", "B"])
        logits = helper.make_tensor_value_info("logits", types.FLOAT, ["T", "B", V])
        return helper.make_graph(self.nodes, "charrnn", [characters, *before], [logits, *after], self.constants)
