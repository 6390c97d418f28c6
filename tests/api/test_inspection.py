"""`Model.predict`, `states` and `loss_and_grad` against a textbook loop over characters and complex steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import textbook
from helpers.texts import split_text

import charrnn
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import Config, DataConfig, ModelConfig
from charrnn.model import build
from charrnn.text import Vocabulary

CHARACTERS = "\nabcdef"
STARTS = [False, True]
EMBEDDINGS = [{}, {"E": 4}, {"E": 4, "tied": True}, {"E": 5, "tied": True}]
"""One-hot, an embedding, and tied weights with and without a projection: arguments of the textbook's example."""


def example(
    cell: str, *, start_symbol: bool = False, separator: str = "", E: int = 0, tied: bool = False
) -> tuple[charrnn.Model, SimpleNamespace]:
    """Return the network of the textbook as a model in float64, and its numbers."""
    host, counts = textbook.example(cell, E=E, tied=tied), (5, 0, 1, 2, 3, 4, 1)
    shape = {"cell": cell, "hidden_size": 5, "num_layers": 2, "dtype": "float64", "start_symbol": start_symbol}
    shape |= {"embedding_size": E, "tie_weights": tied}
    config = Config(model=ModelConfig(**shape), data=DataConfig(document_separator=separator))
    network = build(config.model, len(CHARACTERS), NumpyBackend())
    params = network.views(np.zeros(network.layout.size))
    for name, weight in host.weights.items():
        params[name][...] = weight
    return charrnn.Model(network, params, config, Vocabulary(CHARACTERS, counts), 0), host


def zeros(host: SimpleNamespace) -> list[dict[str, np.ndarray]]:
    """Return the zero state of both layers."""
    return [{name: np.zeros(5) for name in host.state} for _ in range(2)]


def read(host: SimpleNamespace, states: list[dict[str, np.ndarray]], ids: Sequence[int | None]) -> np.ndarray:
    """Return the probabilities (V,) after `ids`; `states` become those after them. None is the start symbol."""
    logits = np.zeros(7)
    for i in ids:
        logits = textbook.logits(host, host.weights, states, i, 0)
    exps = np.exp(logits)
    return exps / exps.sum()


def numbers(text: str) -> list[int]:
    """Return the ids of a text."""
    return [CHARACTERS.index(character) for character in text]


@pytest.mark.parametrize("prompt", ["a", "fade", "bad\ncaf", "cab\n", "\n"])
@pytest.mark.parametrize("start_symbol", STARTS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_predict(cell: str, prompt: str, start_symbol: bool, embedding: dict[str, Any]) -> None:
    """The probabilities are those of the last document; after a complete one, those of the start of a document."""
    model, host = example(cell, start_symbol=start_symbol, separator="\n", **embedding)
    last = "" if start_symbol and prompt.endswith("\n") else {"bad\ncaf": "caf"}.get(prompt, prompt)
    right = read(host, zeros(host), [None] * start_symbol + numbers(last))
    made = model.predict(prompt, top=0)
    assert sorted(c for c, _ in made) == sorted(CHARACTERS)
    assert [p for _, p in made] == sorted((p for _, p in made), reverse=True)
    assert dict(made) == pytest.approx(dict(zip(CHARACTERS, right, strict=True)), rel=1e-12)
    assert model.predict(prompt, top=2) == made[:2]


def test_predict_the_first_character() -> None:
    """Without a prompt: the start of a document, or else the frequencies of the training text."""
    model, host = example("lstm", start_symbol=True)
    right = read(host, zeros(host), [None])
    assert dict(model.predict(top=0)) == pytest.approx(dict(zip(CHARACTERS, right, strict=True)), rel=1e-12)
    assert example("lstm")[0].predict(top=3) == [("\n", 5 / 16), ("e", 4 / 16), ("d", 3 / 16)]


@pytest.mark.parametrize("start_symbol", STARTS)
def test_states(cell: str, start_symbol: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The states after each character are those of a loop that resets the state before every document."""
    model, host = example(cell, start_symbol=start_symbol, separator="\n")
    text = "bad\nc\nfade\nabcabc"
    right = []
    for document in split_text(text, "\n"):
        states = zeros(host)
        read(host, states, [None] * start_symbol)
        for i in numbers(document):
            read(host, states, [i])
            right.append(states.copy())
    for rows in (256, 4):
        monkeypatch.setattr("charrnn.evaluation.inspection.ROWS", rows)
        made = model.states(text)
        assert set(made) == set(host.state)
        for name, array in made.items():
            expected = np.array([[layer[name] for layer in states] for states in right])
            np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-15)
    assert {array.shape for array in model.states("").values()} == {(0, 2, 5)}


def weighted_loss(
    host: SimpleNamespace, weights: dict[str, np.ndarray], factors: np.ndarray, bump: tuple[int, int, int] | None = None
) -> complex:
    """Return the weighted loss of stream 0 of the example, with a complex step added to one unit's hidden state."""
    states = [{name: array[layer, 0].astype(complex) for name, array in host.state.items()} for layer in range(2)]
    total = 0j
    for t, (i, target) in enumerate(zip(host.inputs[:, 0], host.targets[:, 0], strict=True)):
        x = weights.get("embedding.table", np.eye(7))[i].astype(complex)
        for layer in range(2):
            states[layer] = textbook.next_state(host.cell, weights, layer, x, states[layer])
            if bump is not None and bump[:2] == (t, layer):
                states[layer]["hidden"][bump[2]] += 1e-30j
            x = states[layer]["hidden"]
        exps = np.exp(textbook.output(weights, x))
        total -= factors[t] * np.log(exps[target] / exps.sum())
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_loss_and_grad(cell: str, weighted: bool, embedding: dict[str, Any]) -> None:
    """Loss and gradients, also by each hidden state, are those of complex steps through the textbook's equations."""
    model, host = example(cell, **embedding)
    T = len(host.inputs)
    factors = np.random.default_rng(3).random(T) * 2 if weighted else np.ones(T)
    state = {name: array[:, 0] for name, array in host.state.items()}
    made = model.loss_and_grad(
        host.inputs[:, 0], host.targets[:, 0], state, weights=factors if weighted else None, hidden_gradient=True
    )
    assert made.loss == pytest.approx(weighted_loss(host, host.weights, factors).real, rel=1e-12)
    assert made.loss == pytest.approx(float(made.nats @ factors), rel=1e-12)
    for name, weight in host.weights.items():
        gradient = np.empty(weight.shape)
        for index in np.ndindex(*weight.shape):
            stepped = host.weights | {name: weight.astype(complex)}
            stepped[name][index] += 1e-30j
            gradient[index] = weighted_loss(host, stepped, factors).imag / 1e-30
        np.testing.assert_allclose(made.grads[name], gradient, rtol=1e-9, atol=1e-12, err_msg=name)
    right = np.empty((T, 2, 5))
    for index in np.ndindex(*right.shape):
        right[index] = weighted_loss(host, host.weights, factors, index).imag / 1e-30
    assert made.dhidden is not None
    np.testing.assert_allclose(made.dhidden, right, rtol=1e-9, atol=1e-12)


def test_two_stretches_are_one() -> None:
    """The state of a stretch continues in the next one; a string means its ids; the start symbol is the id V."""
    model, _ = example("lstm", start_symbol=True)
    whole = model.loss_and_grad([7, *numbers("fade")], "fadec")
    first = model.loss_and_grad([7, *numbers("f")], "fa")
    second = model.loss_and_grad("ade", "dec", first.state)
    assert whole.loss == pytest.approx(first.loss + second.loss, rel=1e-12)
    assert whole.nats.tolist() == pytest.approx(model.score("fadec").tolist(), rel=1e-9)
    assert second.dhidden is None
    assert math.isfinite(whole.loss)
    states = model.states("fade")
    assert all(np.allclose(whole.state[name], array[-1]) for name, array in states.items())


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("same length of at least 1, not 2 and 1", ("ab", "a")),
        ("same length of at least 1, not 0 and 0", ("", "")),
        ("inputs has characters that the network never saw: 'X'", ("X", "a")),
        ("inputs must be a string, or ids from 0 to 6", ([7], [0])),
        ("targets must be a string, or ids from 0 to 6", ([0], [-1])),
        ("inputs must be a string, or ids", ([0.5], [0])),
        (r"inputs must be finite numbers of shape \(any\)", (None, [0])),
        ("state must be a dict with the keys hidden, cell_state", ("a", "b", {"hidden": np.zeros((2, 5))})),
        (
            r"state hidden must be finite numbers of shape \(2, 5\)",
            ("a", "b", dict.fromkeys(["hidden", "cell_state"], 0)),
        ),
    ],
)
def test_wrong_stretches(words: str, arguments: tuple[object, ...]) -> None:
    """Arguments that do not fit are a `CharrnnError`."""
    with pytest.raises(charrnn.CharrnnError, match=words):
        example("lstm")[0].loss_and_grad(*arguments)


def test_wrong_weights_and_overflow() -> None:
    """Weights of another length, and a network that overflows, are a `CharrnnError`."""
    model, _ = example("lstm")
    with pytest.raises(charrnn.CharrnnError, match=r"weights must be finite numbers of shape \(2\)"):
        model.loss_and_grad("ab", "bc", weights=[1])
    model.params["output.W_hy"][...] = 1e308
    model.params["layer1.b_h"][...] = 100  # all units are near tanh(1)
    for call in (lambda: model.predict("ab"), lambda: model.loss_and_grad("ab", "bc")):
        with pytest.raises(charrnn.CharrnnError, match="the network overflows"):
            call()
