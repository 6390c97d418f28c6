"""Weights to and from PyTorch: a recurrent module with a linear layer on it, as a state dict of NumPy arrays.

    nn.ModuleDict({"recurrent": nn.LSTM(V, H, L), "output": nn.Linear(H, V)})

reads one-hot characters (T, B, V) and has the logits of this network; so with `nn.GRU`, and with `nn.RNN` of tanh.
Gates have PyTorch's order and equations, so conversion is exact. PyTorch's weights are (out, in), the transposes of
ours. It has two biases where only their sum counts: ours is the sum, and becomes `bias_ih`, while `bias_hh` is zero;
but the GRU's candidate needs both. PyTorch itself is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn import backend
from charrnn import config as configuration
from charrnn.api import Model
from charrnn.config import Config, ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.model import build
from charrnn.model.cells import CELLS
from charrnn.text import Vocabulary

HostArray = np.ndarray[Any, np.dtype[Any]]


def to_torch(model: Model) -> dict[str, HostArray]:
    """The weights of `model` as the state dict of a PyTorch module; new arrays, of the same dtype.

    The module, for V characters, H hidden units and L layers (or with `nn.GRU`, `nn.RNN`), reads one-hot characters
    (T, B, V) in the order of `model.vocabulary.characters`:

        module = nn.ModuleDict({"recurrent": nn.LSTM(V, H, L), "output": nn.Linear(H, V)})
        module.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(model).items()})
        logits = module["output"](module["recurrent"](one_hot)[0])
    """
    to_host = model.network.backend.to_host
    return state_dict(model.config.model.cell, {name: to_host(array) for name, array in model.params.items()})


def from_torch(state: Mapping[str, Any], characters: str, *, device: str = "auto", fallback: bool = True) -> Model:
    """A model with the weights of a PyTorch module, the inverse of `to_torch`.

    Args:
        state: its state dict, of NumPy arrays or CPU tensors, float32 or float64; what the module is, see `to_torch`.
        characters: those it knows, each once; the index of each is the one that it has in the module's input.
        device: as for `charrnn.load`.
        fallback: as for `charrnn.load`.

    Raises `CheckpointError` naming a tensor that is missing, superfluous (of a bidirectional network, say), of a
    type or shape that does not fit, or not finite; `ConfigError` for other characters.
    """
    configuration.checked({"train": {"device": device}}, "--device")
    model, weights = parameters(state)
    V = len(weights["output.b_y"])
    if len(set(characters)) != len(characters) or len(characters) != V:
        raise ConfigError(f"characters must be the {V} distinct characters that the network knows, in its order")
    order = sorted(range(V), key=characters.__getitem__)  # a vocabulary is sorted
    for name, axis in (("layer0.W_xh", 0), ("output.W_hy", 1), ("output.b_y", 0)):
        weights[name] = weights[name].take(order, axis)
    choice = backend.choose(device, fallback=fallback)
    network = build(model, V, choice.backend)
    params = network.views(choice.backend.zeros((network.layout.size,), model.dtype))
    for name, array in weights.items():
        params[name][...] = choice.backend.from_host(array, model.dtype)
    notices = (choice.reason,) if choice.fell_back else ()
    return Model(
        network, params, Config(model=model), Vocabulary("".join(sorted(characters)), (1,) * V), 0, notices=notices
    )


def state_dict(cell: str, weights: Mapping[str, HostArray]) -> dict[str, HostArray]:
    """PyTorch's names and arrays for the parameters `weights` of a network of `cell`."""
    state, layer = {}, 0
    while f"layer{layer}.W_hh" in weights:
        ours, theirs = f"layer{layer}.", f"_l{layer}"
        H = len(weights[ours + "W_hh"])
        inner = np.zeros_like(weights[ours + "b_h"])
        for name, gate in CELLS[cell].BIASES.items():
            inner[gate * H : (gate + 1) * H] = weights[ours + name]
        state["recurrent.weight_ih" + theirs] = weights[ours + "W_xh"].T.copy()
        state["recurrent.weight_hh" + theirs] = weights[ours + "W_hh"].T.copy()
        state["recurrent.bias_ih" + theirs] = weights[ours + "b_h"].copy()
        state["recurrent.bias_hh" + theirs] = inner
        layer += 1
    return state | {"output.weight": weights["output.W_hy"].T.copy(), "output.bias": weights["output.b_y"].copy()}


def parameters(state: Mapping[str, Any]) -> tuple[ModelConfig, dict[str, HostArray]]:
    """The inverse of `state_dict`: what the network is, and its parameters by name."""
    arrays, weights, layer = {name: as_array(name, array) for name, array in state.items()}, dict[str, HostArray](), 0
    output = taken(arrays, "output.weight", (None, None))
    V, H = output.shape
    N = len(arrays.get("recurrent.weight_hh_l0", ()))
    cell = next((cell for cell in CELLS.values() if N == cell.GATES * H), None)
    for name, array in arrays.items():
        if array.dtype != output.dtype:
            raise CheckpointError(f"{name} is {array.dtype} and output.weight {output.dtype}: they must be alike")
    if cell is None:
        sizes = ", ".join(f"{cell.GATES * H} ({name})" for name, cell in CELLS.items())
        raise CheckpointError(f"recurrent.weight_hh_l0 has {N} rows: of {H} hidden units they are {sizes}")
    while layer == 0 or f"recurrent.weight_hh_l{layer}" in arrays:
        ours, theirs = f"layer{layer}.", f"_l{layer}"
        weights[ours + "W_xh"] = taken(arrays, "recurrent.weight_ih" + theirs, (N, H if layer else V)).T.copy()
        weights[ours + "W_hh"] = taken(arrays, "recurrent.weight_hh" + theirs, (N, H)).T.copy()
        inner = taken(arrays, "recurrent.bias_hh" + theirs, (N,)).copy()
        extra = {name: slice(gate * H, (gate + 1) * H) for name, gate in cell.BIASES.items()}
        alone = {ours + name: inner[block].copy() for name, block in extra.items()}
        for block in extra.values():
            inner[block] = 0
        weights |= {ours + "b_h": taken(arrays, "recurrent.bias_ih" + theirs, (N,)) + inner} | alone
        layer += 1
    weights |= {"output.W_hy": output.T.copy(), "output.b_y": taken(arrays, "output.bias", (V,)).copy()}
    if arrays:
        raise CheckpointError(f"the tensor {next(iter(arrays))} does not belong")
    return ModelConfig(cell=cell.NAME, hidden_size=H, num_layers=layer, dtype=str(output.dtype)), weights


def as_array(name: str, tensor: Any) -> HostArray:
    """A tensor as a NumPy array, if it holds the kind of numbers that weights are."""
    try:
        array = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:  # on a GPU, with a gradient, or of a type NumPy lacks
        why = str(error).partition("\n")[0]
        raise CheckpointError(f"{name} is no NumPy array ({why}): pass module.float().cpu().state_dict()") from None
    if array.dtype not in ("float32", "float64"):
        raise CheckpointError(f"{name} is {array.dtype}: convert the module with .float() first")
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name} holds numbers that are not finite")
    return array


def taken(arrays: dict[str, HostArray], name: str, shape: tuple[int | None, ...]) -> HostArray:
    """Take `name` out of `arrays`; None in `shape` is any number."""
    if name not in arrays:
        raise CheckpointError(f"the tensor {name} is missing")
    array = arrays.pop(name)
    if len(array.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        raise CheckpointError(f"{name} is {list(array.shape)}, not {['any' if n is None else n for n in shape]}")
    return array
