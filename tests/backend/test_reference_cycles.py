"""No training is part of a reference cycle: its memory is freed at once, without the cycle collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.namespaces import fake_gpu
from helpers.trainers import one_layer_config, three_documents, trainer

import charrnn
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.step import Trainer

TEXT = "the quick brown fox jumps over the lazy dog; " * 20
OPTIONS = {
    "model": {"cell": "lstm", "hidden_size": 8, "dropout": 0.2, "recurrent_dropout": 0.2},
    "train": {"batch_size": 4, "seq_length": 5, "steps": 2, "device": "cpu"},
    "optimizer": {"average": 0.9},
    "log": {"eval_every": 1, "sample_every": 1, "sample_length": 10},
}
SETTINGS = {f"{section}.{key}": value for section, table in OPTIONS.items() for key, value in table.items()}


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[object]]]:
    """Switch the cycle collector off, and collect weak references to each trainer, its parameters and its gradient."""
    references: list[weakref.ref[object]] = []
    original = Trainer.__init__

    def init(self: Trainer, *arguments: object) -> None:
        original(self, *arguments)
        references.extend(map(weakref.ref, (self, self.vector, self.shards[0].grad)))

    monkeypatch.setattr(Trainer, "__init__", init)
    gc.collect()
    gc.disable()
    yield references
    gc.enable()


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_deleted_model_frees_its_training(
    alive: list[weakref.ref[object]], tmp_path: Path, shards: int, recorded: bool
) -> None:
    """After training, sampling and every kind of evaluation, deleting the model frees trainer and arrays."""
    settings = SETTINGS | {"train.shards": shards}
    model = charrnn.train(TEXT, settings=settings, out=tmp_path / "run" if recorded else None, threads=2)
    model.sample(length=5, seed=1)
    model.evaluate()
    model.evaluate(dynamic=True)
    alive.append(weakref.ref(model))
    assert len(alive) == 4
    del model
    assert [reference() for reference in alive] == [None] * 4


def test_an_interrupted_training_is_freed(alive: list[weakref.ref[object]]) -> None:
    """A run whose events are read only to the first step is freed, too."""
    session = prepare(Request(text=TEXT, options=OPTIONS | {"train": OPTIONS["train"] | {"shards": 2}}, threads=2))
    assert next(event for event in session.events() if event.at.step == 1)
    del session
    assert [reference() for reference in alive] == [None] * 3


def test_kernels_are_freed_with_their_backend(alive: list[weakref.ref[object]], cell: str) -> None:
    """On a GPU the compiled kernels, which own device memory, belong to the backend and are freed with it."""
    backend = fake_gpu()
    subject = trainer(one_layer_config(cell, 3), three_documents(TEXT * 2), backend)
    subject.step()
    (kernel,) = backend.recurrences[cell].kernels.values()
    assert backend.kernels.compiled
    alive += map(weakref.ref, (backend, backend.kernels, backend.recurrences[cell], kernel))
    del backend, subject, kernel
    assert [reference() for reference in alive] == [None] * 7
