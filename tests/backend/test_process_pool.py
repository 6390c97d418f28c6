"""`ForkPool`: processes that share the parts of a job, and every way in which one of them can fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.processes import PATIENCE

from charrnn.backend import ForkPool, ThreadPool, process_pool
from charrnn.backend.process_pool import Part, shared_zeros
from charrnn.run.request import Request
from charrnn.run.session import prepare

pytestmark = pytest.mark.skipif(not process_pool.CAN_FORK, reason="this system cannot fork")

Make = Callable[[Part, int, int], ForkPool]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make pools whose workers are ready for `function`, and close them."""
    made: list[ForkPool] = []

    def ready(function: Part, parts: int, count: int) -> ForkPool:
        made.append(ForkPool(parts, ThreadPool(count)))
        made[-1].workers = made[-1].start(function)
        assert all(worker.channel.pipe.poll(PATIENCE) for worker in made[-1].workers)
        return made[-1]

    yield ready
    for pool in made:
        pool.close()
        pool.thread_pool.close()


def test_parts_are_computed_by_as_many_processes(make: Make) -> None:
    """Three processes compute five parts, each once a job: two workers and this process, part by part in turn."""
    done, who = shared_zeros((5,), "float64"), shared_zeros((5,), "int64")

    def function(part: int, job: int) -> None:
        done[part] += 10.0**job
        who[part] = os.getpid()

    pool = make(function, 5, 3)
    for job in range(3):
        pool.run(function, job)
    assert done.tolist() == [111.0] * 5
    assert who[0] == who[3] == os.getpid()
    assert who[1] == who[4] != who[2]
    assert len(set(who.tolist())) == 3


def test_a_worker_that_is_not_ready_is_not_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process computes the parts of a worker that is not ready. A pool of one process has no workers."""
    who = shared_zeros((2,), "int64")

    def function(part: int, job: int) -> None:
        who[part] = os.getpid()

    for count in (1, 2):
        pool = make(function, 2, count)
        assert len(pool.workers or ()) == count - 1
        for worker in pool.workers or ():
            monkeypatch.setattr(worker.channel.pipe, "poll", lambda: False)
        pool.run(function, 0)
        assert who.tolist() == [os.getpid()] * 2
        assert pool.ready == (count == 1)


@pytest.mark.parametrize("end", [lambda: os._exit(1), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_parts_of_a_failed_worker_are_computed_here(
    make: Make, end: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    """If a worker exits, is killed or raises inside a part, this process computes its parts, then and afterwards."""
    here, done = os.getpid(), shared_zeros((3, 2), "int64")

    def function(part: int, job: int) -> None:
        if os.getpid() != here and job == 1:
            end()
        done[job, part] = os.getpid()

    pool = make(function, 2, 2)
    for job in range(3):
        pool.run(function, job)
    assert done[0, 1] not in (0, here)
    assert done[1:].tolist() == [[here, here]] * 2
    assert capfd.readouterr().err == ""


def test_a_worker_that_never_becomes_ready_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that exits before its first message is marked as lost, and this process computes its parts."""
    monkeypatch.setattr(process_pool, "worker_loop", lambda *_: os._exit(1))
    who = shared_zeros((2,), "int64")

    def function(part: int, job: int) -> None:
        who[part] = os.getpid()

    pool = ForkPool(2, ThreadPool(2))
    assert not pool.ready
    pool.workers = pool.start(function)
    assert pool.workers[0].channel.pipe.poll(PATIENCE)  # the pipe is at its end
    for job in range(2):
        pool.run(function, job)
        assert who.tolist() == [os.getpid()] * 2
        assert pool.workers[0].lost
        assert pool.ready
        assert not pool.workers[0].process.is_alive()
    pool.thread_pool.close()


def test_a_worker_holds_no_files_and_ignores_signals(make: Make, tmp_path: Path) -> None:
    """A file that is open here is closed in the worker, and Ctrl-C, which reaches every process, does not end it."""
    held, who = shared_zeros((2,), "int64"), shared_zeros((2,), "int64")

    def function(part: int, job: int) -> None:
        held[part] = len([fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2])  # noqa: PTH208
        who[part] = os.getpid()

    with (tmp_path / "lock").open("w"):
        pool = make(function, 2, 2)
        pool.run(function, 0)
        os.kill(int(who[1]), signal.SIGINT)
        os.kill(int(who[1]), signal.SIGHUP)
        pool.run(function, 1)
        assert held[1] == 2  # its pipe, and the list that it reads
        assert who[1] != os.getpid()


def test_workers_exit_when_their_parent_is_killed() -> None:
    """After SIGKILL of the parent no process holds its standard output, so reading that ends."""
    program = """
import os, signal
from charrnn.backend import ForkPool, ThreadPool
pool = ForkPool(4, ThreadPool(4))
pool.run(lambda part, job: None, 0)
assert all(worker.ready or worker.channel.pipe.poll(60) for worker in pool.workers)
print(len(pool.workers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGKILL, "3\n", "")


def multiply(started: threading.Event, stop: threading.Event) -> None:
    """Keep BLAS busy."""
    a = np.ones((600, 600))
    while not stop.is_set():
        a @ a
        started.set()


def test_nothing_is_forked_while_another_thread_is_active() -> None:
    """BLAS would wait in the fork for a thread that multiplies: threads compute the parts until that thread ends."""
    started, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=multiply, args=(started, stop))
    thread.start()
    done = np.zeros(2)
    pool = ForkPool(2, ThreadPool(2))

    def function(part: int, job: int) -> None:
        done[part] = job

    try:
        assert started.wait(PATIENCE)
        assert pool.fallback_reason() == "another thread is active in this process (a notebook?)"
        pool.run(function, 5)
        assert pool.workers == []
        assert done.tolist() == [5, 5]
    finally:
        stop.set()
        thread.join()
    assert pool.fallback_reason() == ""
    assert len(pool.start(function)) == 1
    pool.close()
    pool.thread_pool.close()


def test_a_run_reports_that_it_uses_threads() -> None:
    """A run with two shards and an active thread has a notice; with one shard, one thread or no such thread, none."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)

    def notices(shards: int, threads: int) -> list[str]:
        train = {"batch_size": 4, "seq_length": 5, "steps": 1, "shards": shards, "device": "cpu"}
        request = Request(text="abcdef " * 50, options={"train": train, "model": {"hidden_size": 4}}, threads=threads)
        session = prepare(request)
        session.loop.trainer.close()
        return [line for line in session.notices if "threads" in line]

    assert notices(2, 2) == []
    thread.start()
    try:
        assert notices(1, 2) == notices(2, 1) == []
        assert notices(2, 2) == [
            "the steps run on threads, not processes, which is slower: "
            "another thread is active in this process (a notebook?)"
        ]
    finally:
        stop.set()
        thread.join()


def test_a_daemon_does_not_fork(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon process cannot start processes: the pool says so and uses threads."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    pool = make(lambda *_: None, 2, 2)
    assert pool.fallback_reason() == "this process is a daemon, which cannot start processes"
    assert pool.workers == []


def test_an_error_in_a_part_leaves_no_answer_behind(make: Make) -> None:
    """After an interruption of this process the same job is computed anew, not answered by the interrupted one."""
    here, done, again, end = os.getpid(), shared_zeros((2,), "int64"), *(shared_zeros((1,), "int64") for _ in range(2))

    def function(part: int, job: int) -> None:
        if os.getpid() == here and not again[0]:
            raise KeyboardInterrupt
        while os.getpid() != here and again[0] and not end[0]:
            pass  # a worker that is asked again is late: only an old answer could come in time
        done[part] = 10 * job + again[0]

    pool = make(function, 2, 2)
    with pytest.raises(KeyboardInterrupt):
        pool.run(function, 1)
    again[0] = 1
    pool.run(function, 1)
    assert done.tolist() == [11, 11]
    end[0] = 1


def test_a_fork_of_this_process_does_not_kill_its_workers(make: Make) -> None:
    """Closing a pool in a forked child leaves the workers of the parent alive."""
    who = shared_zeros((2,), "int64")

    def function(part: int, job: int) -> None:
        who[part] = os.getpid()

    pool = make(function, 2, 2)
    child = multiprocessing.get_context("fork").Process(target=pool.close)
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    pool.run(function, 0)
    assert who[1] not in (0, os.getpid())


@pytest.mark.parametrize("system", ["refuses", "cannot"])
def test_without_workers_threads_compute_the_parts(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """If the system refuses to fork, or cannot, threads of this process compute the parts."""

    def refuse(*args: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(process_pool, "Worker", refuse)
    monkeypatch.setattr(process_pool, "CAN_FORK", system == "refuses")
    done = np.zeros(3)
    pool = ForkPool(3, ThreadPool(2))
    pool.run(lambda part, job: done.__setitem__(part, job), 7)
    pool.thread_pool.close()
    assert done.tolist() == [7, 7, 7]


def test_a_pool_does_not_keep_its_function(make: Make) -> None:
    """The function of a pool usually belongs to the owner of the pool; a reference would make a cycle."""

    class Owner:
        """Something whose method is the function."""

        def function(self, part: int, job: int) -> None:
            """Compute nothing."""

    owner = Owner()
    alive, pool = weakref.ref(owner), make(owner.function, 2, 2)
    pool.run(owner.function, 0)
    del owner
    assert alive() is None
