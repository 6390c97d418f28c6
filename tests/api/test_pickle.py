"""A model can be pickled, copied and sent to another process, and remains the same model."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import charrnn

TEXT = "the quick brown fox jumps over the lazy dog; " * 20
SETTINGS = {
    **{"model.cell": "lstm", "model.hidden_size": 8, "model.num_layers": 2, "optimizer.average": 0.9},
    **{"train.batch_size": 4, "train.seq_length": 5, "train.steps": 20, "train.device": "cpu"},
}


@pytest.fixture(scope="module")
def model() -> charrnn.Model:
    """A trained model; tests must not change it."""
    return charrnn.train(TEXT, settings=SETTINGS)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_the_same_model(
    model: charrnn.Model, duplicate: Callable[[charrnn.Model], charrnn.Model], tmp_path: Path
) -> None:
    """A copy samples, evaluates, learns while it is evaluated, and is saved exactly as the original."""
    model.sample("the ", length=1)  # makes a table of all code points, which is not to be pickled
    assert len(pickle.dumps(model)) < 100_000
    other = duplicate(model)
    assert other.sample("the ", length=40, seed=1) == model.sample("the ", length=40, seed=1)
    for options in ({}, {"dynamic": True}, {"window": 10}):
        assert other.evaluate(**options) == model.evaluate(**options), options
    assert np.array_equal(other.score(TEXT[:50]), model.score(TEXT[:50]))
    for name, subject in (("one", model), ("other", other)):
        subject.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert (other.config, other.vocabulary, other.notices) == (model.config, model.vocabulary, model.notices)


def test_a_copy_has_one_vector_of_its_own(model: charrnn.Model) -> None:
    """The weights of a copy are views of one vector, and changing them does not change the original."""
    other = copy.deepcopy(model)
    vectors = {id(weights.base) for weights in other.params.values()}
    assert len(vectors) == 1
    before = model.params["output.W_hy"].copy()
    other.params["output.W_hy"][...] += 1
    assert np.array_equal(model.params["output.W_hy"], before)
    assert not np.array_equal(other.params["output.W_hy"], before)


def test_another_process_can_use_a_model(model: charrnn.Model) -> None:
    """A new interpreter receives the model, and samples and evaluates as this one does."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        sample = executor.submit(model.sample, "the ", length=40, seed=1)
        loss = executor.submit(model.evaluate, dynamic=True)
        assert sample.result() == model.sample("the ", length=40, seed=1)
        assert loss.result() == model.evaluate(dynamic=True)
