"""The pool: processes that share the parts of a step, and whatever can happen to them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.processes import PATIENCE

from charrnn.backend import ForkPool, ThreadPool
from charrnn.backend import process_pool as crews
from charrnn.backend.process_pool import shared_zeros

pytestmark = pytest.mark.skipif(not crews.CAN_FORK, reason="no helpers on this system")


@pytest.fixture
def make() -> Iterator[Callable[..., ForkPool]]:
    """Makes crews whose helpers are ready, and ends them."""
    made: list[ForkPool] = []

    def ready(function: crews.Part, parts: int, count: int) -> ForkPool:
        made.append(ForkPool(function, parts, ThreadPool(count)))
        made[-1].helpers = made[-1].start()
        assert all(helper.line.pipe.poll(PATIENCE) for helper in made[-1].helpers)
        return made[-1]

    yield ready
    for pool in made:
        pool.close()
        pool.thread_pool.close()


def test_parts_are_done_by_as_many_processes(make: Callable[..., ForkPool]) -> None:
    """Five parts on three workers: every part is done once an order, two helpers and this process take turns."""
    done, who = shared_zeros((5,), "float64"), shared_zeros((5,), "int64")

    def function(part: int, order: int) -> None:
        done[part] += 10.0**order
        who[part] = os.getpid()

    pool = make(function, 5, 3)
    for order in range(3):
        pool.run(order)
    assert done.tolist() == [111.0] * 5
    assert who[0] == who[3] == os.getpid()
    assert who[1] == who[4] != who[2]
    assert len(set(who.tolist())) == 3


def test_nobody_waits_for_helpers_that_are_not_ready(
    make: Callable[..., ForkPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order is done here while a helper is not ready, and one worker has no helpers."""
    who = shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        who[part] = os.getpid()

    for count in (1, 2):
        pool = make(function, 2, count)
        assert len(pool.helpers or ()) == count - 1
        for helper in pool.helpers or ():
            monkeypatch.setattr(helper.line.pipe, "poll", lambda: False)
        pool.run(0)
        assert who.tolist() == [os.getpid()] * 2
        assert pool.ready == (count == 1)


@pytest.mark.parametrize("end", [lambda: os._exit(1), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_what_a_helper_fails_to_do_is_done_here(
    make: Callable[..., ForkPool], end: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    """A helper that exits, is killed or raises in the middle of a part loses nothing, and is not asked again."""
    here, done = os.getpid(), shared_zeros((3, 2), "int64")

    def function(part: int, order: int) -> None:
        if os.getpid() != here and order == 1:
            end()
        done[order, part] = os.getpid()

    pool = make(function, 2, 2)
    for order in range(3):
        pool.run(order)
    assert done[0, 1] not in (0, here)
    assert done[1:].tolist() == [[here, here]] * 2
    assert capfd.readouterr().err == ""


def test_a_helper_that_never_becomes_ready_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends before it has said anything is noticed, given up, and its parts are done here."""
    monkeypatch.setattr(crews, "serve", lambda *_: os._exit(1))
    who = shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        who[part] = os.getpid()

    pool = ForkPool(function, 2, ThreadPool(2))
    assert not pool.ready
    pool.helpers = pool.start()
    assert pool.helpers[0].line.pipe.poll(PATIENCE)  # its end
    for order in range(2):
        pool.run(order)
        assert who.tolist() == [os.getpid()] * 2
        assert pool.helpers[0].lost
        assert pool.ready
        assert not pool.helpers[0].process.is_alive()
    pool.thread_pool.close()


def test_a_helper_holds_nothing_and_leaves_signals_to_its_parent(make: Callable[..., ForkPool], tmp_path: Path) -> None:
    """No file that was open here is open there, and Ctrl-C, which reaches every process, does not end it."""
    held, who = shared_zeros((2,), "int64"), shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        held[part] = len([fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2])  # noqa: PTH208
        who[part] = os.getpid()

    with (tmp_path / "lock").open("w"):
        pool = make(function, 2, 2)
        pool.run(0)
        os.kill(int(who[1]), signal.SIGINT)
        os.kill(int(who[1]), signal.SIGHUP)
        pool.run(1)
        assert held[1] == 2  # its pipe, and the list that it is reading
        assert who[1] != os.getpid()


def test_helpers_end_with_their_parent_however_it_ends() -> None:
    """After SIGKILL nobody holds the standard output any more: it ends."""
    program = """
import os, signal
from charrnn.backend import ForkPool, ThreadPool
pool = ForkPool(lambda part, order: None, 4, ThreadPool(4))
pool.run(0)
assert all(helper.ready or helper.line.pipe.poll(60) for helper in pool.helpers)
print(len(pool.helpers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGKILL, "3\n", "")


def test_nothing_is_forked_beside_a_thread_at_work() -> None:
    """BLAS would wait in the fork for a thread that multiplies; so threads do the parts, until it has ended."""
    working, end = threading.Event(), threading.Event()

    def work() -> None:
        matrix = np.ones((400, 400))
        while not end.is_set():
            matrix.dot(matrix)
            working.set()

    thread = threading.Thread(target=work)
    thread.start()
    done = np.zeros(2)
    pool = ForkPool(lambda part, order: done.__setitem__(part, order), 2, ThreadPool(2))
    try:
        assert working.wait(PATIENCE)
        pool.run(5)
        assert pool.helpers == []
        assert done.tolist() == [5, 5]
    finally:
        end.set()
        thread.join()
    assert len(pool.start()) == 1
    pool.close()
    pool.thread_pool.close()


def test_an_error_in_a_part_leaves_no_answer_behind(make: Callable[..., ForkPool]) -> None:
    """After an interruption of this process's own part the same order is done anew, not answered from before."""
    here, done, again, end = os.getpid(), shared_zeros((2,), "int64"), *(shared_zeros((1,), "int64") for _ in range(2))

    def function(part: int, order: int) -> None:
        if os.getpid() == here and not again[0]:
            raise KeyboardInterrupt
        while os.getpid() != here and again[0] and not end[0]:
            pass  # a helper that is asked again is late: only an old answer could come in time
        done[part] = 10 * order + again[0]

    pool = make(function, 2, 2)
    with pytest.raises(KeyboardInterrupt):
        pool.run(1)
    again[0] = 1
    pool.run(1)
    assert done.tolist() == [11, 11]
    end[0] = 1


def test_a_fork_of_this_process_leaves_its_helpers_alone(make: Callable[..., ForkPool]) -> None:
    """Closing a pool in a child that someone forked does not end the helpers of its parent."""
    who = shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        who[part] = os.getpid()

    pool = make(function, 2, 2)
    child = multiprocessing.get_context("fork").Process(target=pool.close)
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    pool.run(0)
    assert who[1] not in (0, os.getpid())


@pytest.mark.parametrize("system", ["refuses", "cannot"])
def test_without_helpers_threads_do_the_parts(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """Where the system refuses to fork, or has no such thing, threads of this process do the parts."""

    def refuse(*args: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(crews, "Helper", refuse)
    monkeypatch.setattr(crews, "CAN_FORK", system == "refuses")
    done = np.zeros(3)
    pool = ForkPool(lambda part, order: done.__setitem__(part, order), 3, ThreadPool(2))
    pool.run(7)
    pool.thread_pool.close()
    assert done.tolist() == [7, 7, 7]
