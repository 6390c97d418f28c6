"""Training with worker processes gives the same bits as training in one process."""

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
    """Return a small trainer with three shards, at step 0."""
    settings = config.build(
        {"model": {"hidden_size": 8}, "train": {"batch_size": 6, "seq_length": 5, "shards": 3, "seed": 1}}
    )
    corpus = text.from_text("the quick brown fox jumps over the lazy dog; " * 20)
    network = build(settings.model, len(corpus.vocabulary), backend or NumpyBackend())
    return start(settings, network, corpus.part(0, len(corpus.ids)), ThreadPool(threads))


def step_both(single: Trainer, parallel: Trainer) -> None:
    """Make a step of each trainer; after the first one, wait until every worker of the second is ready."""
    single.step()
    parallel.step()
    assert parallel.pool.workers is not None
    if parallel.done == 1:
        assert all(worker.ready or worker.channel.pipe.poll(PATIENCE) for worker in parallel.pool.workers)


def test_training_with_workers_has_the_same_bits() -> None:
    """Parameters, states and losses are those of one process, also if a worker is killed between two steps."""
    single, parallel = trainer(1), trainer(3)
    for step in range(30):
        step_both(single, parallel)
        if step == 1:
            assert [worker.ready for worker in parallel.pool.workers] == [True, True]
        if step == 20:
            parallel.pool.workers[0].process.kill()
    assert [worker.lost for worker in parallel.pool.workers or ()] == [True, False]
    parallel.close()
    assert np.array_equal(single.vector, parallel.vector)
    assert np.array_equal(single.state()["hidden"], parallel.state()["hidden"])
    assert single.drain() == parallel.drain()


def test_a_bad_gradient_of_a_worker_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two skipped steps, and three in a row that stop the guard, give the bits of one process."""
    poison_gradients(monkeypatch, lambda done: done in (4, 9) or done >= 15)
    single, parallel = trainer(1), trainer(3)
    for _ in range(20):
        step_both(single, parallel)
    assert [(worker.ready, worker.lost) for worker in parallel.pool.workers or ()] == [(True, False)] * 2
    parallel.close()
    assert (float(parallel.guard.scale), int(parallel.guard.bad)) == (0.5**5, 3)
    assert np.array_equal(single.vector, parallel.vector)
    assert np.array_equal(single.state()["hidden"], parallel.state()["hidden"])
    assert repr(single.drain()) == repr(parallel.drain())


def test_two_trainings_in_two_threads_do_not_disturb_each_other() -> None:
    """Each of two trainings in two threads ends with the parameters of a training that runs alone."""
    single, subjects = trainer(1), [trainer(2), trainer(2)]

    def train(subject: Trainer) -> None:
        for _ in range(30):
            subject.step()

    train(single)
    threads = [threading.Thread(target=train, args=(subject,)) for subject in subjects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for subject in subjects:
        assert np.array_equal(subject.vector, single.vector)
        subject.close()


def test_a_backend_without_shared_memory_forks_no_worker() -> None:
    """A backend whose arrays are not shared with a forked process trains in one process, with threads."""
    subject = trainer(3, Backend(array_api_compat.numpy, None, name="plain", label="plain"))
    subject.step()
    assert subject.pool.workers == []
    subject.close()


def test_planning_leaves_no_worker_behind() -> None:
    """The trainer with which `--minutes` measures the speed is closed, and so are its workers."""
    options = {"train": {"batch_size": 4, "seq_length": 5, "shards": 2}, "model": {"hidden_size": 4}}
    session = prepare(Request(text="abcdef " * 50, options=options, threads=2, minutes=0.02))
    assert multiprocessing.active_children() == []
    session.loop.trainer.close()
