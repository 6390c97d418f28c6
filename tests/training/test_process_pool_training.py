"""Training with worker processes: the same bits as in one, whatever else the process does."""

from __future__ import annotations

import multiprocessing
import threading

import array_api_compat.numpy
import numpy as np
import pytest
from helpers.processes import PATIENCE
from helpers.trainers import poison_gradients

from charrnn import config, text
from charrnn.backend import Backend, ThreadPool, process_pool
from charrnn.backend.numpy import NumpyBackend
from charrnn.model import build
from charrnn.run.request import Request
from charrnn.run.resolve import start
from charrnn.run.session import prepare
from charrnn.training.step import Trainer

pytestmark = pytest.mark.skipif(not process_pool.CAN_FORK, reason="this system cannot fork")


def trainer(threads: int, backend: Backend | None = None) -> Trainer:
    """A small trainer of three shards, at step 0."""
    settings = config.build(
        {"model": {"hidden_size": 8}, "train": {"batch_size": 6, "seq_length": 5, "shards": 3, "seed": 1}}
    )
    corpus = text.from_text("the quick brown fox jumps over the lazy dog; " * 20)
    network = build(settings.model, len(corpus.vocabulary), backend or NumpyBackend())
    return start(settings, network, corpus.part(0, len(corpus.ids)), ThreadPool(threads))


def step_both(alone: Trainer, crowd: Trainer) -> None:
    """A step of each; from the first on every worker of the second is on its way, or ready."""
    alone.step()
    crowd.step()
    assert crowd.pool.workers is not None
    if crowd.done == 1:
        assert all(worker.ready or worker.channel.pipe.poll(PATIENCE) for worker in crowd.pool.workers)


def test_training_with_workers_has_the_same_bits() -> None:
    """Parameters, states and losses are those of one process, also when a worker is killed on the way."""
    alone, crowd = trainer(1), trainer(3)
    for step in range(30):
        step_both(alone, crowd)
        if step == 1:
            assert [worker.ready for worker in crowd.pool.workers] == [True, True]
        if step == 20:
            crowd.pool.workers[0].process.kill()
    assert [worker.lost for worker in crowd.pool.workers or ()] == [True, False]
    crowd.close()
    assert np.array_equal(alone.vector, crowd.vector)
    assert np.array_equal(alone.state()["hidden"], crowd.state()["hidden"])
    assert alone.drain() == crowd.drain()


def test_a_bad_gradient_of_a_worker_is_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two skipped steps, and the three that shut the guard, are those of one process."""
    poison_gradients(monkeypatch, lambda done: done in (4, 9) or done >= 15)
    alone, crowd = trainer(1), trainer(3)
    for _ in range(20):
        step_both(alone, crowd)
    assert [(worker.ready, worker.lost) for worker in crowd.pool.workers or ()] == [(True, False)] * 2
    crowd.close()
    assert (float(crowd.guard.scale), int(crowd.guard.bad)) == (0.5**5, 3)
    assert np.array_equal(alone.vector, crowd.vector)
    assert np.array_equal(alone.state()["hidden"], crowd.state()["hidden"])
    assert repr(alone.drain()) == repr(crowd.drain())


def test_two_trainings_in_two_threads_do_not_disturb_each_other() -> None:
    """Each ends with the parameters that it has alone."""
    alone, subjects = trainer(1), [trainer(2), trainer(2)]

    def train(subject: Trainer) -> None:
        for _ in range(30):
            subject.step()

    train(alone)
    threads = [threading.Thread(target=train, args=(subject,)) for subject in subjects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for subject in subjects:
        assert np.array_equal(subject.vector, alone.vector)
        subject.close()


def test_nothing_is_forked_where_memory_is_not_shared() -> None:
    """A backend whose arrays a worker would have copies of trains in one process, by threads."""
    subject = trainer(3, Backend(array_api_compat.numpy, None, name="plain", label="plain"))
    subject.step()
    assert subject.pool.workers == []
    subject.close()


def test_planning_leaves_no_worker_behind() -> None:
    """The trainer by which `--minutes` measures the rate is thrown away, with its workers."""
    options = {"train": {"batch_size": 4, "seq_length": 5, "shards": 2}, "model": {"hidden_size": 4}}
    session = prepare(Request(text="abcdef " * 50, options=options, threads=2, minutes=0.02))
    assert multiprocessing.active_children() == []
    session.loop.trainer.close()
