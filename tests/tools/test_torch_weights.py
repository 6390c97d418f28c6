"""Weights to and from PyTorch, and PyTorch as the reference for logits, states and gradients of every cell."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.networks import close

import charrnn
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, ConfigError
from charrnn.model import Chunk, Workspace, build, loss_and_grad, next_state
from charrnn.model.bptt import project
from charrnn.tools.torch_weights import parameters, state_dict

T, B, V, H = 7, 3, 11, 6
EMBEDDINGS = [(0, False), (4, False), (4, True), (H, True)]
"""Sizes of the embedding, 0 for none, and whether weights are tied."""


def network(
    cell: str, layers: int = 2, dtype: str = "float64", embedding: tuple[int, bool] = (0, False)
) -> SimpleNamespace:
    """Return a network with random weights and biases, a chunk, a state and a workspace."""
    model = ModelConfig(cell=cell, hidden_size=H, num_layers=layers, dtype=dtype)
    net = build(replace(model, embedding_size=embedding[0], tie_weights=embedding[1]), V, NumpyBackend())
    rng = np.random.default_rng(layers)
    params = net.views((rng.standard_normal(net.layout.size) * 0.5).astype(dtype))
    state = {name: rng.standard_normal((layers, B, H)).astype(dtype) for name in net.cell.STATES}
    chunk = Chunk(rng.integers(0, V, T * B), rng.integers(0, V, T * B), None)
    return SimpleNamespace(net=net, params=params, state=state, chunk=chunk, work=Workspace(net, T, B))


def module(torch: Any, cell: str, layers: int, weights: dict[str, np.ndarray], E: int, tied: bool) -> Any:
    """Return the documented PyTorch module with the converted weights."""
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    parts = {"embedding": torch.nn.Embedding(V, E)} if E else {}
    parts |= {"recurrent": kind(E or V, H, layers), "output": torch.nn.Linear(E if tied else H, V)}
    parts |= {"projection": torch.nn.Linear(H, E, bias=False)} if tied and E != H else {}
    result = torch.nn.ModuleDict(parts)
    if tied:
        result["output"].weight = result["embedding"].weight
    result.to(getattr(torch, str(weights["output.b_y"].dtype)))
    result.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict(cell, weights).items()})
    return result


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize(("layers", "embedding"), [(1, (0, False)), (3, (0, False)), *((2, e) for e in EMBEDDINGS)])
def test_pytorch_agrees(cell: str, layers: int, dtype: str, tolerance: float, embedding: tuple[int, bool]) -> None:
    """Logits, loss, final states and all gradients agree with PyTorch with the converted weights."""
    torch = pytest.importorskip("torch")
    x = network(cell, layers, dtype, embedding)
    peer, ids = module(torch, cell, layers, x.params, *embedding), torch.from_numpy(x.chunk.inputs)
    one_hot = torch.nn.functional.one_hot(ids, V).to(getattr(torch, dtype))
    inputs = peer["embedding"](ids) if "embedding" in peer else one_hot
    before = tuple(torch.from_numpy(array) for array in x.state.values())
    hidden, after = peer["recurrent"](inputs.reshape(T, B, -1), before if len(before) > 1 else before[0])
    hidden = peer["projection"](hidden) if "projection" in peer else hidden
    logits = peer["output"](hidden).reshape(T * B, V)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(x.chunk.targets), reduction="sum")
    loss.backward()
    grads = x.net.views(np.zeros(x.net.layout.size, dtype))
    ours = loss_and_grad(x.net, x.params, grads, x.chunk, x.state, x.work, scale=1.0)
    assert float(ours) == pytest.approx(loss.item(), rel=tolerance)
    embedded = x.work.embedded
    made = project(x.net, x.params, x.work.layers[-1].h, embedded=embedded, out=np.empty((T * B, V), dtype))
    assert close(made, logits.detach().numpy(), tolerance)
    next_state(x.work, out=x.state)
    for array, theirs in zip(x.state.values(), after if isinstance(after, tuple) else (after,), strict=True):
        assert close(array, theirs.detach().numpy(), tolerance)
    theirs = {name: p.grad.numpy() for name, p in peer.named_parameters(remove_duplicate=False)}
    for layer in range(layers):  # of the sum of two biases, each has the whole gradient
        theirs[f"recurrent.bias_ih_l{layer}"][...], inner = 0, theirs[f"recurrent.bias_ih_l{layer}"].copy()
        merged = np.isclose(inner, theirs[f"recurrent.bias_hh_l{layer}"], rtol=1e-3)
        assert merged.all() == (cell != "gru")
        theirs[f"recurrent.bias_ih_l{layer}"][...] = inner
        theirs[f"recurrent.bias_hh_l{layer}"][: 2 * H if cell == "gru" else None] = 0
    for name, gradient in parameters(theirs)[1].items():
        assert close(grads[name], gradient, tolerance * 10), name


@pytest.mark.parametrize(("layers", "embedding"), [(1, (0, False)), *((3, e) for e in EMBEDDINGS)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conversion_and_back(cell: str, layers: int, dtype: str, embedding: tuple[int, bool]) -> None:
    """Every parameter and the shape are unchanged; of PyTorch's two biases only the sum matters."""
    x = network(cell, layers, dtype, embedding)
    state = state_dict(cell, x.params)
    model, weights = parameters(state)
    expected = ModelConfig(cell=cell, hidden_size=H, num_layers=layers, dtype=dtype, start_symbol=False)
    assert model == replace(expected, embedding_size=embedding[0], tie_weights=embedding[1])
    assert list(weights) == list(x.params)
    for name, array in weights.items():
        assert array.dtype == dtype
        assert np.array_equal(array, x.params[name]), name
    moved = dict(state) | {
        "recurrent.bias_ih_l0": state["recurrent.bias_ih_l0"] - 2,
        "recurrent.bias_hh_l0": state["recurrent.bias_hh_l0"] + 2,
    }
    shift = {} if cell != "gru" else {"layer0.b_h": np.r_[np.zeros(2 * H), np.full(H, -2.0)], "layer0.b_hn": 2.0}
    for name, array in parameters(moved)[1].items():
        assert np.allclose(array, x.params[name] + shift.get(name, 0), atol=1e-6), name


def test_model_conversion(cell: str) -> None:
    """A model from `from_torch` samples and scores like the model that `to_torch` converted."""
    settings = {"train.steps": 3, "train.batch_size": 2, "train.seq_length": 5, "model.hidden_size": H}
    model = charrnn.train("hello world " * 9, settings=settings | {"model.cell": cell, "train.device": "cpu"})
    again = charrnn.from_torch(charrnn.to_torch(model), model.vocabulary.characters, device="cpu")
    assert again.sample("he", length=20, seed=1) == model.sample("he", length=20, seed=1)
    assert np.array_equal(again.score("hello"), model.score("hello"))
    with pytest.raises(ConfigError, match="the 8 distinct characters"):
        charrnn.from_torch(charrnn.to_torch(model), "helo wrl", device="cpu")


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_order_of_characters(embedding: tuple[int, bool]) -> None:
    """A module with another order of characters gives the same model."""
    settings = {"train.steps": 3, "train.batch_size": 2, "train.seq_length": 5, "model.hidden_size": H}
    settings |= {"model.embedding_size": embedding[0], "model.tie_weights": embedding[1]}
    model = charrnn.train("hello world " * 9, settings=settings | {"train.device": "cpu"})
    theirs = "world he"
    state, order = charrnn.to_torch(model), [model.vocabulary.characters.index(c) for c in theirs]
    if embedding[0]:
        state["embedding.weight"] = state["embedding.weight"][order]
    else:
        state["recurrent.weight_ih_l0"] = state["recurrent.weight_ih_l0"][:, order]
    state |= {name: state[name][order] for name in ("output.weight", "output.bias")}
    again = charrnn.from_torch(state, theirs, device="cpu")
    assert again.vocabulary.characters == model.vocabulary.characters
    assert np.array_equal(again.score("hello"), model.score("hello"))


def test_tensors_that_numpy_cannot_read() -> None:
    """Parameters with gradients, and types that NumPy lacks, are errors that say what to pass instead."""
    torch = pytest.importorskip("torch")
    module = torch.nn.ModuleDict({"recurrent": torch.nn.RNN(3, H), "output": torch.nn.Linear(H, 3)})
    with pytest.raises(CheckpointError, match=r"requires grad.*pass module.float\(\).cpu\(\).state_dict\(\)"):
        charrnn.from_torch(dict(module.named_parameters()), "abc", device="cpu")
    with pytest.raises(CheckpointError, match=r"BFloat16.*pass module.float\(\).cpu\(\).state_dict\(\)"):
        charrnn.from_torch(module.bfloat16().state_dict(), "abc", device="cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"projection.weight": np.zeros((6, 6))}, "projection.weight needs tied weights: output.weight must equal emb"),
        ({"embedding.weight": np.zeros((7, 4))}, r"embedding.weight has shape \[7, 4\], not \[11, 'any'\]"),
        ({"embedding.weight": np.zeros((11, 4))}, r"weight_ih_l0 has shape \[24, 11\], not \[24, 4\]"),
        ({"recurrent.bias_hh_l1": None}, "recurrent.bias_hh_l1 is missing"),
        ({"output.weight": None}, "output.weight is missing"),
        ({"output.weight": np.zeros(3)}, r"output.weight has shape \[3\], not \['any', 'any'\]"),
        ({"output.weight": np.array(0.5)}, r"output.weight has shape \[\], not \['any', 'any'\]"),
        ({"output.bias": np.array(0.5)}, r"output.bias has shape \[\], not \[11\]"),
        ({"recurrent.weight_hh_l0": np.array(0.5)}, r"weight_hh_l0 has shape \[\], not \['any', 6\]"),
        ({"recurrent.weight_hh_l0": np.zeros(24)}, r"weight_hh_l0 has shape \[24\], not \['any', 6\]"),
        ({"recurrent.weight_hh_l0": None}, "recurrent.weight_hh_l0 is missing"),
        ({"recurrent.weight_ih_l1": np.zeros((24, 7))}, r"weight_ih_l1 has shape \[24, 7\], not \[24, 6\]"),
        (
            {"recurrent.weight_hh_l0": np.zeros((12, 6))},
            r"has 12 rows: with 6 hidden units it must have 6 .*, 24 \(lstm\)",
        ),
        ({"recurrent.weight_hh_l0_reverse": np.zeros((24, 6))}, "weight_hh_l0_reverse is unexpected"),
        ({"output.bias": np.full(7, np.nan)}, "output.bias holds numbers that are not finite"),
        ({"output.bias": np.zeros(7, np.int64)}, r"output.bias is int64: convert the module with .float\(\)"),
        (
            {"output.bias": np.zeros(7, np.float32)},
            "output.bias is float32, but output.weight is float64: convert",
        ),
    ],
)
def test_wrong_tensors(change: dict[str, Any], words: str) -> None:
    """A tensor that is missing, unexpected, or of another shape or type is an error with its name."""
    state = state_dict("lstm", network("lstm").params) | change
    with pytest.raises(CheckpointError, match=words):
        parameters({name: array for name, array in state.items() if array is not None})
