"""Sampled texts against a plain loop, and stop strings."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import build
from charrnn.sampling import Settings, pieces
from charrnn.sampling.generate import Stopper
from charrnn.text import Vocabulary


@given(st.text("ab", max_size=40), st.text("ab", max_size=5), st.lists(st.integers(1, 7), max_size=40))
@example("aab", "ab", [1, 1, 1])
@example("abab", "abb", [4])
def test_the_stopper_equals_split(text: str, stop: str, cuts: list[int]) -> None:
    """For any pieces of a text the stopper returns the text before the stop string, without delay."""
    expected = text.split(stop)[0] if stop else text
    stopper, out, fed = Stopper((stop,) if stop else ()), "", 0
    for size in [*cuts, len(text)]:
        out += stopper.feed(text[fed : fed + size])
        fed = min(len(text), fed + size)
        assert expected.startswith(out)
        assert len(out) > min(fed, len(expected)) - max(1, len(stop))
        assert stopper.done == bool(stop and stop in text[:fed])
    assert out + stopper.rest() == expected


@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(1, 7), max_size=30),
    st.booleans(),
)
@example("aabba", ["abb", "b"], [3, 1, 1], False)
@example("abb", ["b", "ab"], [1, 1, 1], False)
def test_the_first_of_several_stops_ends_the_text(text: str, stops: list[str], cuts: list[int], keep: bool) -> None:
    """The stop string that is complete first ends the text, before it or after it, for any pieces of the text."""
    expected = text
    for end in range(len(text) + 1):  # read one character after the other
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            expected = text[:end] if keep else text[: end - max(map(len, complete))]
            break
    stopper, out, fed = Stopper(tuple(stops), keep), "", 0
    for size in [*cuts, len(text)]:
        out += stopper.feed(text[fed : fed + size])
        fed += size
    assert out + stopper.rest() == expected


@pytest.fixture(scope="module")
def net() -> SimpleNamespace:
    """Return a random two-layer network in float64, and its weights by name."""
    backend, rng = NumpyBackend(), np.random.default_rng(2)
    vocabulary = Vocabulary(" abcdef", (5, 0, 1, 2, 3, 4, 1))
    network = build(
        ModelConfig(hidden_size=6, num_layers=2, dtype="float64", start_symbol=False), len(vocabulary), backend
    )
    params = network.views(rng.standard_normal(network.layout.size) * 1.2)
    params["output.b_y"][...] = 0
    return SimpleNamespace(network=network, params=params, vocabulary=vocabulary)


def texts(net: SimpleNamespace, prompt: str = "", *, rng: Any = 0, count: int = 3, **options: Any) -> list[str]:
    """Return the whole texts of `pieces`; `rng` may be a seed."""
    settings = Settings(options.pop("temperature", 1.0))
    options = {"length": 30, "prompt": net.vocabulary.encode(prompt)} | options
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    parts_of_all = pieces(net.network, net.params, net.vocabulary, count=count, settings=settings, rng=rng, **options)
    return ["".join(parts) for parts in zip(*parts_of_all, strict=True)] or [""] * count


def greedy(net: SimpleNamespace, prompt: str, length: int) -> str:
    """Return the likeliest continuation, computed one character and one layer at a time."""
    h, text = [np.zeros(6), np.zeros(6)], prompt
    for n in range(len(prompt) + length - 1):
        x = net.params["layer0.W_xh"][net.vocabulary.characters.index(text[n])]
        for layer in range(2):
            h[layer] = np.tanh(x + h[layer] @ net.params[f"layer{layer}.W_hh"] + net.params[f"layer{layer}.b_h"])
            x = h[layer] @ net.params["layer1.W_xh"]
        if n + 1 == len(text):
            logits = h[1] @ net.params["output.W_hy"] + net.params["output.b_y"]
            text += net.vocabulary.characters[int(np.argmax(logits))]
    return text[len(prompt) :]


@pytest.mark.parametrize("prompt", ["a", "fade", ("bad cafe " * 29)[:258]])
def test_the_text_continues_the_prompt(net: SimpleNamespace, prompt: str) -> None:
    """At temperature 0 the text is the plain loop's continuation of the prompt, without the prompt."""
    assert texts(net, prompt, temperature=0.0) == [greedy(net, prompt, 30)] * 3
    assert len(set(greedy(net, prompt, 30))) > 2


@pytest.mark.parametrize("prompt", ["", "abc"])
@pytest.mark.parametrize("length", [0, 1, 2, 17])
def test_texts_have_the_requested_length(net: SimpleNamespace, prompt: str, length: int) -> None:
    """Each text has the requested length, and a longer text of the same seed begins with it."""
    short, longer = texts(net, prompt, length=length), texts(net, prompt, length=20)
    assert [len(text) for text in short] == [length] * 3
    assert short == [text[:length] for text in longer]
    assert len(set(longer)) == 3


def test_the_first_character_follows_the_frequencies(net: SimpleNamespace) -> None:
    """Without a prompt the first character is drawn by the counts of the corpus; one with count 0 is never drawn."""
    sixteenths = SimpleNamespace(random=lambda n: np.arange(n) / n)
    assert "".join(texts(net, rng=sixteenths, count=16, length=1)) == "     bccdddeeeef"


def test_a_stop_string_ends_each_text(net: SimpleNamespace) -> None:
    """With a stop string each text ends before the string, and is otherwise the same."""
    free = texts(net, "a", count=6, length=60, rng=3)
    stop = free[0][20:22]
    expected = [text.split(stop)[0] for text in free]
    assert texts(net, "a", count=6, length=60, rng=3, stops=(stop,)) == expected
    assert len(set(map(len, expected))) > 2


def test_the_seed_determines_the_texts(net: SimpleNamespace) -> None:
    """The same seed gives the same texts, and another seed gives other texts."""
    assert texts(net, rng=5) == texts(net, rng=5)
    assert texts(net, rng=5) != texts(net, rng=6)


def test_any_number_of_workers_samples_the_same(net: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several groups of streams sample the texts of a single group, on one core and on three."""
    results, threads = [texts(net, "abc", count=11, rng=4)], threading.active_count()
    module = sys.modules["charrnn.sampling.generate"]
    monkeypatch.setattr(module, "GROUP", 3)
    for count in (1, 3):
        monkeypatch.setattr(module, "cores", lambda: count)  # noqa: B023 (called inside this iteration)
        results.append(texts(net, "abc", count=11, rng=4))
    assert results[0] == results[1] == results[2]
    assert threading.active_count() == threads


def test_pieces_grow_from_one_character(net: SimpleNamespace) -> None:
    """The first piece is one character, and the next ones are longer; those of a large network stay short."""
    stream = lambda: pieces(  # noqa: E731
        net.network,
        net.params,
        net.vocabulary,
        prompt=net.vocabulary.encode("ab"),
        length=200,
        count=1,
        settings=Settings(),
        rng=np.random.default_rng(0),
    )
    assert [len(piece) for (piece,) in stream()] == [1, 2, 4, 8, 16, 32, 64, 64, 9, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["charrnn.sampling.generate"], "WORK", 3 * net.network.layout.size)
        assert [len(piece) for (piece,) in stream()][:5] == [1, 2, 3, 3, 3]
