"""Convert weights to and from PyTorch: a recurrent module and a linear output layer, as a state dict of NumPy arrays.

    nn.ModuleDict({"recurrent": nn.LSTM(V, H, L), "output": nn.Linear(H, V)})

This module (or with `nn.GRU`, or `nn.RNN` with tanh) reads one-hot characters (T, B, V) and computes the same logits as
the network here. A network with an embedding becomes a module that reads ids (T, B):

    nn.ModuleDict({"embedding": nn.Embedding(V, E), "recurrent": nn.LSTM(E, H, L), "output": nn.Linear(H, V)})

With tied weights, `output.weight` is `embedding.weight` (V, E); unless E = H, a `"projection": nn.Linear(H, E,
bias=False)` is before the output layer, which is `nn.Linear(E, V)`.

The gates have the same order and equations, so the conversion is exact. PyTorch's weights have shape (out, in), ours
(in, out). PyTorch has two biases, of which only the sum matters: our bias is the sum; it becomes `bias_ih`, and
`bias_hh` is 0. Only the candidate of a GRU needs both biases. PyTorch itself is not imported.

Letters: `V` characters, `E` numbers for a character, `H` hidden units, `L` layers, `G` gates of the cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charrnn import arguments, backend
from charrnn import config as configuration
from charrnn.api import HostArray, Model, device_params
from charrnn.config import Config, ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.model import build, character_axes
from charrnn.model.cells import CELLS
from charrnn.text import Vocabulary


def to_torch(model: Model) -> dict[str, HostArray]:
    """Return the weights of `model` as the state dict of a PyTorch module: new arrays of the same dtype.

    For V characters, H hidden units and L layers (with `nn.GRU` or `nn.RNN` for the other cells), the module reads
    one-hot characters (T, B, V) in the order of `model.vocabulary.characters`:

        module = nn.ModuleDict({"recurrent": nn.LSTM(V, H, L), "output": nn.Linear(H, V)})
        module.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(model).items()})
        logits = module["output"](module["recurrent"](one_hot)[0])

    With an embedding, the module begins with `"embedding": nn.Embedding(V, E)` and reads ids (T, B). With tied weights
    it has one tensor under two names; if E is not H, a `"projection": nn.Linear(H, E, bias=False)` precedes the output:

        module["output"].weight = module["embedding"].weight
        logits = module["output"](module["projection"](module["recurrent"](module["embedding"](ids))[0]))
    """
    if not isinstance(model, Model):
        raise ConfigError(f"to_torch needs a charrnn.Model, not {arguments.shown(model)}")
    return state_dict(model.config.model.cell, model.host_weights())


def from_torch(
    state: Mapping[str, Any], characters: str | Sequence[str], *, device: str = "auto", fallback: bool = True
) -> Model:
    """Return a model with the weights of a PyTorch module; the inverse of `to_torch`.

    Args:
        state: the state dict of a module as in `to_torch`: NumPy arrays or CPU tensors, float32 or float64.
        characters: the V characters, each once, in the order of the module's one-hot input: a string, or a list.
        device: as in `charrnn.load`.
        fallback: as in `charrnn.load`.

    Raises `CheckpointError`, naming the tensor, if one is missing, unexpected (of a bidirectional network, for
    instance), of another type or shape, or not finite; `ConfigError` if `characters` does not fit the tensors.
    """
    configuration.checked({"train": {"device": device}}, "--device")
    if hasattr(state, "state_dict"):
        raise ConfigError("from_torch needs a state dict, not a module: pass module.state_dict()")
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ConfigError(f"from_torch needs a state dict, not {arguments.shown(state)}")
    characters = joined_characters(characters)
    model, weights = parameters(state)
    V = len(weights["output.b_y"])
    if len(set(characters)) != len(characters) or len(characters) != V:
        raise ConfigError(f"characters must be the {V} distinct characters that the network knows, in its order")
    order = sorted(range(V), key=characters.__getitem__)  # a vocabulary is sorted
    choice = backend.choose(device, fallback=fallback)
    network = build(model, V, choice.backend)
    for name, axis in character_axes(network.layout).items():
        weights[name] = weights[name].take(order, axis)
    return Model(
        network,
        device_params(network, weights),
        Config(model=model),
        Vocabulary("".join(sorted(characters)), (1,) * V),
        0,
        notices=(choice.reason,) if choice.fell_back else (),
    )


def joined_characters(characters: Any) -> str:
    """Return characters as one string. Raises `ConfigError` for a dict, or for a token that is no single character."""
    if isinstance(characters, Mapping):
        order = "a dict has no order of its own: pass the characters in the order of their numbers"
        raise ConfigError(f"characters must be a string or a list of single characters; {order}")
    for token in arguments.strings(characters, "characters") if not isinstance(characters, str) else ():
        if len(token) != 1:
            raise ConfigError(
                f"characters must be single characters, not {token!r}: a network here has no other tokens"
            )
    return "".join(characters)


def state_dict(cell: str, weights: Mapping[str, HostArray]) -> dict[str, HostArray]:
    """Return the parameters `weights` of a network of `cell` under PyTorch's names, in PyTorch's shapes."""
    state, layer = dict[str, HostArray](), 0
    if "embedding.table" in weights:
        state["embedding.weight"] = weights["embedding.table"].copy()
    while f"layer{layer}.W_hh" in weights:
        ours, theirs = f"layer{layer}.", f"_l{layer}"
        H = len(weights[ours + "W_hh"])
        bias_hh = np.zeros_like(weights[ours + "b_h"])  # (G*H,)
        for name, gate in CELLS[cell].BIASES.items():
            bias_hh[gate * H : (gate + 1) * H] = weights[ours + name]
        state["recurrent.weight_ih" + theirs] = weights[ours + "W_xh"].T.copy()
        state["recurrent.weight_hh" + theirs] = weights[ours + "W_hh"].T.copy()
        state["recurrent.bias_ih" + theirs] = weights[ours + "b_h"].copy()
        state["recurrent.bias_hh" + theirs] = bias_hh
        layer += 1
    if "output.W_he" in weights:
        state["projection.weight"] = weights["output.W_he"].T.copy()
    tied = "output.W_hy" not in weights
    state["output.weight"] = (weights["embedding.table"] if tied else weights["output.W_hy"].T).copy()
    return state | {"output.bias": weights["output.b_y"].copy()}


def parameters(state: Mapping[str, Any]) -> tuple[ModelConfig, dict[str, HostArray]]:
    """Return the shape of the network and its parameters by name; the inverse of `state_dict`."""
    arrays = {name: as_array(name, tensor) for name, tensor in state.items()}
    weights: dict[str, HostArray] = {}
    output = pop_array(arrays, "output.weight", (None, None))
    V, H = output.shape
    for name, array in arrays.items():
        if array.dtype != output.dtype:
            raise CheckpointError(f"{name} is {array.dtype}, but output.weight is {output.dtype}: convert one of them")
    projection = pop_array(arrays, "projection.weight", (H, None)) if "projection.weight" in arrays else None
    H = H if projection is None else projection.shape[1]
    if "embedding.weight" in arrays:
        weights["embedding.table"] = pop_array(arrays, "embedding.weight", (V, None)).copy()
    E = weights["embedding.table"].shape[1] if weights else 0
    tied = bool(weights) and np.array_equal(weights["embedding.table"], output)
    if projection is not None and not tied:
        raise CheckpointError("projection.weight needs tied weights: output.weight must equal embedding.weight")
    GH = len(pop_array(dict(arrays), "recurrent.weight_hh_l0", (None, H)))
    cell = next((cell for cell in CELLS.values() if cell.GATES * H == GH), None)
    if cell is None:
        sizes = ", ".join(f"{cell.GATES * H} ({name})" for name, cell in CELLS.items())
        raise CheckpointError(f"recurrent.weight_hh_l0 has {GH} rows: with {H} hidden units it must have {sizes}")
    layer = 0
    while layer == 0 or f"recurrent.weight_hh_l{layer}" in arrays:
        ours, theirs, inputs = f"layer{layer}.", f"_l{layer}", H if layer else E or V
        weights[ours + "W_xh"] = pop_array(arrays, "recurrent.weight_ih" + theirs, (GH, inputs)).T.copy()
        weights[ours + "W_hh"] = pop_array(arrays, "recurrent.weight_hh" + theirs, (GH, H)).T.copy()
        bias_hh = pop_array(arrays, "recurrent.bias_hh" + theirs, (GH,)).copy()
        separate = {}  # the part of bias_hh that is a parameter of its own: that of the GRU's candidate
        for name, gate in cell.BIASES.items():
            block = slice(gate * H, (gate + 1) * H)
            separate[ours + name] = bias_hh[block].copy()
            bias_hh[block] = 0
        weights[ours + "b_h"] = pop_array(arrays, "recurrent.bias_ih" + theirs, (GH,)) + bias_hh
        weights |= separate
        layer += 1
    if not tied:
        weights["output.W_hy"] = output.T.copy()
    elif projection is not None:
        weights["output.W_he"] = projection.T.copy()
    weights["output.b_y"] = pop_array(arrays, "output.bias", (V,)).copy()
    if arrays:
        raise CheckpointError(f"the tensor {next(iter(arrays))} is unexpected: see charrnn.to_torch for the module")
    shape = {"cell": cell.NAME, "hidden_size": H, "num_layers": layer, "dtype": str(output.dtype)}
    shape |= {"embedding_size": E, "tie_weights": tied}
    return ModelConfig(**shape, start_symbol=False), weights


def as_array(name: str, tensor: Any) -> HostArray:
    """Return a tensor as a NumPy array. Raises `CheckpointError` unless it holds finite floating-point numbers."""
    try:
        array = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:  # on a GPU, with a gradient, or of a type NumPy lacks
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{name} cannot be converted to NumPy ({reason}): pass module.float().cpu().state_dict()"
        ) from None
    if array.dtype not in ("float32", "float64"):
        raise CheckpointError(f"{name} is {array.dtype}: convert the module with .float() first")
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name} holds numbers that are not finite")
    return array


def pop_array(arrays: dict[str, HostArray], name: str, shape: tuple[int | None, ...]) -> HostArray:
    """Remove `name` from `arrays` and return it. Raises `CheckpointError` for another shape; None matches any size."""
    if name not in arrays:
        raise CheckpointError(f"the tensor {name} is missing")
    array = arrays.pop(name)
    if len(array.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
        expected = ["any" if n is None else n for n in shape]
        raise CheckpointError(f"{name} has shape {list(array.shape)}, not {expected}")
    return array
