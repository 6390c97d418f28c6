"""Samples of networks that know how documents begin, compared with a loop that reads every document from its start."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.namespaces import Case

import charrnn
from charrnn.backend import Backend
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import Network, Views, Workspace, build, forward, prepare
from charrnn.model.bptt import project
from charrnn.sampling import Settings, choose, pieces
from charrnn.text import Vocabulary

LETTERS = Vocabulary("abcd", (1, 1, 1, 1))
COUNT, LENGTH = 3, 60


def network_on(backend: Backend, dtype: str, cell: str) -> tuple[Network, Views]:
    """Return a small random network whose samples are varied."""
    shape = {"cell": cell, "hidden_size": 5, "num_layers": 2, "dtype": dtype}
    network = build(ModelConfig(**shape, start_symbol=True), len(LETTERS), backend)
    weights = np.random.default_rng(4).standard_normal(network.layout.size)
    output = network.layout.views(weights, xp=np)
    output["output.W_hy"][...] *= 0.4
    output["output.b_y"][...] = [0, 0.8, 1.2, 0]  # so that every separator occurs
    return network, network.views(backend.from_host(weights, dtype))


def naive(network: Network, params: Views, documents: str, separator: str, uniforms: np.ndarray) -> str:
    """Return a character for each of `uniforms`, each by a pass over "no character" and the document so far.

    A document ends where the text ends with the separator; the pass then reads "no character" alone.
    """
    written, V = "", len(LETTERS)
    for u in uniforms:
        rest = (documents + written).split(separator)[-1] if separator else documents + written
        ids = np.array([V, *map(LETTERS.characters.index, rest)])
        work = Workspace(network, len(ids), 1)
        prepare(network, params, work)
        hidden = forward(network, params, network.backend.host_indices(ids), None, network.zero_state(1), work)
        logits = project(network, params, hidden[-1:, :], out=network.backend.empty((1, V), network.dtype))
        host = network.backend.to_host(logits).copy()
        if len(separator) == 1 and not documents + written:  # the first document is not empty
            host[0, LETTERS.characters.index(separator)] = -np.inf
        written += LETTERS.decode(choose(host, np.array([u]), Settings()))
    return written


@cache
def naive_samples(dtype: str, cell: str, prompt: str, separator: str) -> list[str]:
    """Return the samples of the naive loop on NumPy."""
    rng, blocks, size = np.random.default_rng(2), [], 1
    while sum(map(len, blocks)) < LENGTH:  # one character, then two, four, ...
        blocks.append(rng.random((size, COUNT)))
        size *= 2
    uniforms = np.concatenate(blocks)[:LENGTH]
    network, params = network_on(NumpyBackend(), dtype, cell)
    return [naive(network, params, prompt, separator, u) for u in uniforms.T]


@pytest.mark.parametrize(
    ("prompt", "separator"), [("", ""), ("", "b"), ("", "bc"), ("", "cc"), ("ab", "b"), ("adb", "cc"), ("b", "b")]
)
def test_the_state_is_reset_after_each_separator(case: Case, cell: str, prompt: str, separator: str) -> None:
    """Three samples of 60 characters, with a prompt or without, are those of the naive loop on NumPy."""
    network, params = network_on(case.make(), case.dtype, cell)
    texts = [""] * COUNT
    made = pieces(
        network,
        params,
        LETTERS,
        prompt=LETTERS.encode(prompt),
        length=LENGTH,
        count=COUNT,
        settings=Settings(),
        stops=(),
        rng=np.random.default_rng(2),
        separator=separator,
    )
    for more in made:
        texts = [text + piece for text, piece in zip(texts, more, strict=True)]
    assert texts == naive_samples(case.dtype, cell, prompt, separator)
    assert not separator or sum(text.count(separator) for text in texts) > 3


@pytest.fixture
def names(tmp_path: Path) -> charrnn.Model:
    """Return a network trained on short documents that begin with x or y and end with a line."""
    (tmp_path / "names.txt").write_text("".join(f"{'xy'[n % 2]}{'abc'[n % 3] * 3}\n" for n in range(300)))
    keys = {"data.document_separator": "\n", "model.hidden_size": 16, "model.dropout": 0.0, "train.device": "cpu"}
    keys |= {"train.batch_size": 4, "train.seq_length": 20, "train.steps": 400, "optimizer.learning_rate": 0.02}
    return charrnn.train(files=[tmp_path / "names.txt"], settings=keys)


def test_a_sample_without_a_prompt_is_one_document(names: charrnn.Model) -> None:
    """It begins as the documents of the training text do, and ends before the separator; a longer one has several."""
    texts = [names.sample(length=50, seed=seed, temperature=0.4) for seed in range(40)]
    assert {text[0] for text in texts} == {"x", "y"}
    assert not any("\n" in text for text in texts)
    assert names.sample(length=50, seed=0, temperature=0.4, keep_stop=True) == texts[0] + "\n"
    several = names.sample(length=50, seed=1, stop="", temperature=0.4).split("\n")
    assert len(several) > 5
    assert {text[0] for text in several[:-1]} == {"x", "y"}
    assert names.sample("x", length=30, seed=1, temperature=0.4).count("\n") > 3


def test_a_mark_does_not_begin_a_sample() -> None:
    """Combining marks and joiners are not drawn as the first character, unless the text has nothing else."""
    text = "a\u0301" * 40 + "\u200d" * 100
    model = charrnn.train(text, settings={"train.steps": 1, "model.hidden_size": 4, "train.device": "cpu"})
    assert {model.sample(length=1, seed=seed) for seed in range(60)} == {"a"}
    assert Vocabulary("\u0301\u0302", (3, 4)).never_first() == ()
    assert Vocabulary("a\u0301\u0302", (0, 3, 4)).never_first() == ()


def test_no_sample_of_one_document_is_empty(tmp_path: Path) -> None:
    """A separator of one character does not begin a document, also with a network that has learned nothing yet."""
    (tmp_path / "names.txt").write_text("ab\nb\na\n" * 40)
    keys = {"data.document_separator": "\n", "model.hidden_size": 4, "train.device": "cpu", "train.steps": 0}
    model = charrnn.train(files=[tmp_path / "names.txt"], settings=keys)
    texts = model.sample(count=64, length=30, seed=1)
    assert "" not in texts
    assert {text[0] for text in texts} == {"a", "b"}
