"""Threads, shards and BLAS in a training step: results do not depend on the number of threads; limits are restored."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import threadpoolctl
from helpers.networks import close
from helpers.trainers import TINY, three_documents, trainer

from charrnn import config
from charrnn.backend import one_thread


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits(text: str, threads: int, cell: str) -> None:
    """Parameters and losses have the same bits at any number of threads."""
    settings = config.build(config.merged(TINY, {"train": {"shards": 3, "batch_size": 8}, "model": {"cell": cell}}))
    one, many = (trainer(settings, three_documents(text), threads=n) for n in (1, threads))
    for _ in range(12):
        one.step()
        many.step()
    many.close()
    assert np.array_equal(one.vector, many.vector)
    assert one.drain() == many.drain()


def test_shards_change_only_rounding(text: str) -> None:
    """One, two and three shards of uneven width compute the same gradient."""
    vectors = []
    for shards in (1, 2, 3):
        settings = config.build(
            config.merged(TINY, {"train": {"shards": shards, "batch_size": 7}, "model": {"dtype": "float64"}})
        )
        subject = trainer(settings, three_documents(text))
        for _ in range(10):
            subject.step()
        vectors.append(subject.vector.copy())
    assert close(vectors[1], vectors[0], 1e-10)
    assert close(vectors[2], vectors[0], 1e-10)


def limits(kind: str | None = None) -> list[int]:
    """Return how many threads each pool of this process may have, of one kind or of all."""
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if kind in (None, pool["user_api"])]


def test_limits_are_restored_after_a_step(text: str) -> None:
    """BLAS has its previous number of threads after a step."""
    before = limits()
    subject = trainer(config.build(TINY), three_documents(text), threads=2)
    subject.step()
    subject.close()
    assert limits() == before


def test_the_last_of_two_users_restores_the_limits() -> None:
    """The last user to exit restores the limits, on any thread and in any order."""
    entered, left, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with one_thread:
            entered.set()
            left.wait(60)
            seen.append(limits("blas"))

    with threadpoolctl.threadpool_limits(3, user_api="blas"):  # more than one, even on a machine with one core
        before = limits("blas")
        thread = threading.Thread(target=other)
        with one_thread:
            thread.start()
            entered.wait(60)
        left.set()
        thread.join()
        assert seen == [[1] * len(before)]
        assert limits("blas") == before == [3] * len(before)
        thread = threading.Thread(
            target=lambda: seen.append((one_thread.__enter__(), limits("blas"), one_thread.__exit__()))
        )
        thread.start()
        thread.join()
        assert seen[1][1] == [1] * len(before)
        assert limits("blas") == before
