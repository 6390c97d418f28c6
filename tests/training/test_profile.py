"""What `train --profile` measures."""

from __future__ import annotations

from itertools import count

import pytest
from helpers.ranks import on_threads
from helpers.trainers import TINY, one_document

from charrnn import config
from charrnn.backend import Ranks, ThreadPool
from charrnn.backend.numpy import NumpyBackend
from charrnn.model import build
from charrnn.run.resolve import start
from charrnn.training.profile import MeanStep, mean_step

SETTINGS = config.build(config.merged(TINY, {"train": {"shards": 3}, "model": {"dtype": "float32"}}))


def profiled(ranks: Ranks, text: str, steps: int) -> tuple[MeanStep | None, int]:
    """Return what a rank measures in some steps, and how many parameters its network has."""
    corpus = one_document(text)
    network = build(SETTINGS.model, len(corpus.vocabulary), NumpyBackend())
    trainer = start(SETTINGS, network, corpus.part(0, len(corpus.ids)), ThreadPool(1), ranks, profile=True)
    for _ in range(steps):
        trainer.step()
    return mean_step(trainer), network.layout.size


def test_parts_are_the_mean_of_the_steps(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that counts its readings, a part takes a second, because nothing else reads the clock within it."""
    clock = count()
    monkeypatch.setattr("charrnn.training.profile.time.perf_counter", lambda: float(next(clock)))
    mean, _ = profiled(Ranks(), text, 4)
    parts = ("masks", "forward and backward", "sum of the shards", "update")
    assert mean == MeanStep(4, dict.fromkeys(parts, 1.0), None)
    assert next(clock) == 4 * len(parts) * 2


def test_ranks_count_what_they_send(text: str) -> None:
    """All ranks report the same mean: the cost model, and a request and losses in every message of gradients."""
    (first, P), (second, _) = on_threads(2, lambda ranks: profiled(ranks, text, 5))
    assert first == second
    assert first is not None
    assert first.sent is not None
    assert list(first.seconds)[2:4] == ["waiting for other ranks", "exchange of gradients"]
    assert (first.sent.shards, first.sent.parameters, first.sent.ranks) == (3, P, 2)
    assert first.sent.expected == (3 / 2 + 1) * P / 2 * 4
    assert first.sent.bytes == first.sent.expected + (1 + 3 / 2) * 4
    assert first.sent.messages == 2


def test_nothing_is_reported_without_a_step(text: str) -> None:
    """Without steps, a trainer has no mean."""
    assert profiled(Ranks(), text, 0)[0] is None
