"""An embedding of the characters, alone and with tied weights, against the textbook and on every namespace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import textbook
from helpers.namespaces import Case
from helpers.networks import close, problem

import charrnn
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.model import Workspace, build, gradcheck, initial_weights, layout_of, loss_and_grad, surprise

SMALL = {"layers": 1, "T": 5}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "embedding": {"E": 4, **SMALL},
    "tied": {"E": 4, "tied": True, **SMALL},
    "tied, no projection": {"E": 5, "tied": True, **SMALL},
}


@pytest.fixture(params=EMBEDDINGS)
def embedding(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return each kind of embedding, as arguments of the textbook's example."""
    return EMBEDDINGS[request.param]


def step(net: SimpleNamespace) -> float:
    """Return the loss of one pass, which writes the gradient to `net.grads`."""
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=0.25)
    return float(net.backend.to_host(loss))


def test_loss_and_gradients_agree_with_the_textbook(case: Case, cell: str, embedding: dict[str, Any]) -> None:
    """Loss and gradients equal those of the textbook, with and without a row for "no character", and none is zero.

    With one, a start symbol begins documents and all kinds of dropout are on.
    """
    for options in (embedding, embedding | {"dropout": True, "start_symbol": True}):
        net = problem(case, cell, **options)
        if "dropout" in options:
            masks = {name: net.backend.from_host(net.host.input_mask) for name in ("input_mask",)}
            for name in ("output_masks", "recurrent_masks"):
                masks[name] = net.backend.from_host(getattr(net.host, name), case.dtype)
            net.chunk, net.work = net.chunk._replace(**masks), Workspace(net.network, net.T, net.B, dropout=True)
        for _ in range(2):  # the second pass finds the arrays as the first one left them
            assert step(net) == pytest.approx(textbook.loss(net.host, net.host.weights, 1.0), rel=case.tolerance)
            for name, expected in textbook.example_gradient(cell, 0.25, **options).items():
                assert close(net.backend.to_host(net.grads[name]), expected, case.tolerance), name
                assert np.max(np.abs(expected)) > 1e-3, name


def test_blocks_of_logits_change_nothing(
    case: Case, embedding: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the logits are computed for a block of rows at a time, the losses and gradients are the same."""
    net = problem(case, "lstm", **embedding)
    loss, whole = step(net), net.backend.to_host(net.gradient).copy()
    monkeypatch.setattr("charrnn.model.network.MOST_LOGITS", 1)
    net.work = Workspace(net.network, net.T, net.B)
    assert len(net.work.blocks) > 2
    assert step(net) == pytest.approx(loss, rel=case.tolerance)
    assert close(net.backend.to_host(net.gradient), whole, case.tolerance)
    nats = surprise(net.network, net.params, net.work.layers[-1].h, net.chunk.targets, net.work)
    assert float(np.sum(net.backend.to_host(nats))) == pytest.approx(loss, rel=case.tolerance)


@pytest.mark.parametrize(("hidden_size", "tied", "output"), [(2, False, "W_hy"), (2, True, "W_he"), (1, True, "b_y")])
def test_gradcheck(hidden_size: int, tied: bool, output: str) -> None:
    """Finite differences confirm the gradient of every parameter; the projection is missing if E = H."""
    model = ModelConfig(cell="gru", hidden_size=hidden_size, embedding_size=1, tie_weights=tied)
    errors = gradcheck(model, NumpyBackend(), np.random.default_rng(0))
    assert {name for name in errors if "output" in name} == {f"output.{output}", "output.b_y"}
    assert max(errors.values()) < 1e-6


def first_weights(**options: object) -> dict[str, np.ndarray]:
    """Return the initial weights of a tied network."""
    model = ModelConfig(hidden_size=40, embedding_size=20, tie_weights=True, input_std=0.7, **options)
    return initial_weights(build(model, 90, NumpyBackend()), model, np.random.default_rng(0))


def test_initial_weights() -> None:
    """A row of the table has the length 1 on average, and the first layer's input the deviation `input_std`."""
    weights = first_weights(start_symbol=False)
    assert weights["embedding.table"].shape == (90, 20)
    assert np.std(weights["embedding.table"]) == pytest.approx(20**-0.5, rel=0.05)
    assert np.std(weights["embedding.table"] @ weights["layer0.W_xh"]) == pytest.approx(0.7, rel=0.05)
    assert np.std(weights["output.W_he"]) == pytest.approx(40**-0.5, rel=0.05)


def test_the_start_symbol_is_a_vector_and_characters_are_read_as_without_it() -> None:
    """`b_h` has half of `input_std`; x @ W_xh + b_h and all probabilities are the same with the symbol as without."""
    without, weights = first_weights(start_symbol=False), first_weights(start_symbol=True)
    read = [w["embedding.table"] @ w["layer0.W_xh"] + w["layer0.b_h"] for w in (without, weights)]
    assert np.allclose(*read, rtol=0, atol=1e-12)
    assert np.std(weights["layer0.b_h"]) == pytest.approx(0.35, rel=0.3)
    e = np.random.default_rng(1).standard_normal(20)
    shift = (weights["embedding.table"] - without["embedding.table"]) @ e
    assert np.allclose(shift, shift[0], rtol=0, atol=1e-12)
    assert abs(shift[0]) > 0.01


def test_tied_weights_need_an_embedding() -> None:
    """Tied weights without an embedding are an error that says what to set."""
    with pytest.raises(ConfigError, match=r"needs an embedding: set model.embedding_size, for instance to 128"):
        layout_of(ModelConfig(tie_weights=True), 7)


def test_workers_and_checkpoints(tmp_path: Path) -> None:
    """A tied run has the same weights on one and on two workers, after it was resumed, and when it is loaded."""
    keys = {"model.embedding_size": 4, "model.tie_weights": True, "model.hidden_size": 6, "model.input_dropout": 0.2}
    keys |= {"train.batch_size": 4, "train.seq_length": 5, "train.shards": 2, "train.device": "cpu", "train.steps": 20}
    keys |= {"optimizer.schedule": "constant", "optimizer.warmup": 0.0}
    texts = ["the cat sat on the mat; " * 20, "a dog sat, too. " * 20]
    charrnn.train(texts, settings=keys, threads=1, out=tmp_path / "r")
    charrnn.train(texts, settings=keys | {"train.steps": 9}, out=tmp_path / "s")
    models = [
        charrnn.load(tmp_path / "r", checkpoint=20, device="cpu"),
        charrnn.train(texts, settings=keys, threads=2),
        charrnn.train(texts, settings={"train.steps": 20}, out=tmp_path / "s", resume=True),
    ]
    first, *others = (model.host_weights() for model in models)
    assert set(first) == {"embedding.table", "layer0.W_xh", "layer0.W_hh", "layer0.b_h", "output.W_he", "output.b_y"}
    for weights in others:
        for name, array in weights.items():
            assert np.array_equal(array, first[name]), name
