"""A pool of forked processes that share the parts of a training step through shared memory.

Threads of one process take turns at the interpreter lock, and each turn wakes another core. Where an operation takes
microseconds, two threads over two shards are 1.3 to 1.8 times as fast as one thread; two processes are 1.9 times.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from charrnn.backend.threads import THREAD_NAME, ThreadPool, cores, one_thread

CAN_FORK = sys.platform == "linux"
"""Other systems have no fork, or have libraries that fail after a fork: threads compute the parts on them."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if CAN_FORK else ()

SPIN = 500e-6
"""Seconds for which a process polls for a message before it sleeps. Waking up takes about 50 µs, twice a step."""

READY = 2**63
"""The first message of a worker; jobs have smaller numbers."""

Part = Callable[[int, int], object]
"""`function(part, job)` computes one part of a job."""


def shared_zeros(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Return zeros in memory that forked processes share with this one. Raises `MemoryError` if there is too little."""
    count = int(np.prod(shape))
    try:
        memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    except OSError as error:
        raise MemoryError(error.strerror) from None
    return np.frombuffer(memory, dtype, count).reshape(shape)


class Channel:
    """One end of a two-way channel between two processes, which carries whole numbers.

    A number goes through a pipe: a pipe orders memory, and its reader notices when the other process has exited. A
    counter in shared memory tells the reader earlier that a number is coming, so that it does not have to sleep.
    """

    def __init__(self, pipe: Any, sent: np.ndarray[Any, Any], received: np.ndarray[Any, Any], spin: float) -> None:
        self.pipe, self.sent, self.received, self.spin = pipe, sent, received, spin

    def send(self, number: int) -> None:
        """Send a number. Raises `OSError` if the other process has exited."""
        self.pipe.send_bytes(number.to_bytes(8, "little"))
        self.sent[0] += 1

    def receive(self) -> int:
        """Wait for a number and return it. Raises `EOFError` or `OSError` if the other process has exited."""
        received, until = self.received, time.perf_counter() + self.spin
        while received[0] == received[1] and time.perf_counter() < until:
            pass
        number = int.from_bytes(self.pipe.recv_bytes(), "little")
        received[1] += 1
        return number


def channel(spin: float) -> tuple[Channel, Channel]:
    """Return both ends of a new channel, whose readers poll for `spin` seconds before they sleep."""
    one, other = multiprocessing.Pipe()
    forward, backward = shared_zeros((2, 2), "int64")
    return Channel(one, forward, backward, spin), Channel(other, backward, forward, spin)


class Worker:
    """A forked process that computes its parts of each job that it is sent.

    Attributes:
        parts: the parts that this worker computes.
        channel: this process's end of the channel to the worker.
        process: the worker itself.
        ready: whether the worker has reported that it can receive jobs.
        lost: whether the worker failed, exited or was closed. A lost worker gets no more jobs.
    """

    def __init__(self, function: Part, parts: Sequence[int], spin: float = SPIN) -> None:
        context: Any = multiprocessing.get_context("fork")
        self.parts, self.parent = parts, os.getpid()
        self.channel, child = channel(spin)
        self.process = context.Process(target=worker_loop, args=(child, function, parts), daemon=True)
        with signals_blocked(), warnings.catch_warnings():
            # Python and JAX warn that another thread may hold a lock, which the child could never acquire: see
            # `fork_obstacle`. A child that waits for such a lock never becomes ready, so no job is sent to it.
            warnings.simplefilter("ignore")
            self.process.start()
        child.pipe.close()
        self.ready = self.lost = False

    def send(self, job: int) -> bool:
        """Send a job if the worker is ready; return whether it was sent."""
        try:
            if self.lost or not (self.ready or self.channel.pipe.poll()):
                return False
            if not self.ready:
                self.ready = self.channel.receive() == READY
            self.channel.send(job)
        except (OSError, EOFError):
            self.close()
        return not self.lost

    def wait(self, job: int) -> bool:
        """Wait for the end of a job that was sent; return whether the worker completed it."""
        try:
            if self.channel.receive() != job:
                self.close()
        except (OSError, EOFError):
            self.close()
        return not self.lost

    def close(self) -> None:
        """Kill the process. A fork of the process that started the worker only closes its copy of the channel."""
        self.lost = True
        self.channel.pipe.close()
        if os.getpid() == self.parent:
            self.process.kill()
            self.process.join()


class ForkPool:
    """Computes the parts 0 to `parts` - 1 of each job with as many processes as `thread_pool` has threads.

    This process computes some of the parts and forked workers the others. Where a worker is not ready, has failed or
    could not be forked, this process computes its parts too. The result does not depend on which process does it.

    Args:
        parts: the number of parts of a job.
        thread_pool: gives the number of processes; its threads compute the parts if no worker is ready.
        shares: whether everything that the function writes is in memory from `shared_zeros`; if not, no process is
            forked.
    """

    def __init__(self, parts: int, thread_pool: ThreadPool, *, shares: bool = True) -> None:
        self.parts, self.thread_pool, self.shares = parts, thread_pool, shares
        self.workers: list[Worker] | None = None

    @property
    def count(self) -> int:
        """The number of processes that the pool would use, this one included."""
        return min(self.thread_pool.count, self.parts) if self.shares and CAN_FORK else 1

    def fallback_reason(self) -> str:
        """Return why threads would compute parts that processes could compute; empty if processes will."""
        return fork_obstacle() if self.count > 1 else ""

    def start(self, function: Part) -> list[Worker]:
        """Fork the workers if that is safe, and return them. If the system allows fewer processes, there are fewer."""
        spin = SPIN if cores() >= self.thread_pool.count else 0.0
        workers: list[Worker] = []
        if self.count > 1 and not fork_obstacle():
            with suppress(OSError):
                for n in range(1, self.count):  # a loop, because an error must keep the workers made before it
                    workers += [Worker(function, range(n, self.parts, self.count), spin)]
        return workers

    def fork(self, function: Part) -> None:
        """Start the workers before the first job, for instance before MPI starts, which forbids a fork."""
        self.workers = self.start(function)

    def run(self, function: Part, job: int) -> None:
        """Compute every part of a job.

        The workers are forked at the first job: they keep its `function`, and see the memory of this process as it was
        then, except for memory from `shared_zeros`. The pool does not keep the function, which may own the pool.
        """
        if self.workers is None:
            self.fork(function)
            assert self.workers is not None
        busy = [worker for worker in self.workers if worker.send(job)]
        if not busy and self.parts > 1:
            self.thread_pool.map(function, range(self.parts), [job] * self.parts)
            return
        elsewhere = {part for worker in busy for part in worker.parts}
        try:
            with one_thread:
                for part in range(self.parts):
                    if part not in elsewhere:
                        function(part, job)
                for worker in busy:
                    for part in () if worker.wait(job) else worker.parts:
                        function(part, job)
        except BaseException:  # an answer that stays in the pipe would later pass for the answer to another job
            for worker in busy:
                worker.close()
            raise

    @property
    def ready(self) -> bool:
        """Whether the workers were started and each of them is ready or lost."""
        return self.workers is not None and all(worker.ready or worker.lost for worker in self.workers)

    def close(self) -> None:
        """Kill the workers. The next job would start new ones."""
        for worker in self.workers or ():
            worker.close()
        self.workers = None


def fork_obstacle() -> str:
    """Return why this process must not fork; empty if it may.

    OpenBLAS waits in a fork for its own threads, and waits forever if another Python thread is using them. A lock that
    another thread holds, for example that of standard input, would never be released in the child.
    """
    if multiprocessing.current_process().daemon:
        return "this process is a daemon, which cannot start processes"
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    # Threads of a `ThreadPool` are idle between steps, and tqdm's monitor only sleeps.
    if all(thread.name.startswith(THREAD_NAME) or type(thread).__name__ == "TMonitor" for thread in others):
        return ""
    return "another thread is active in this process (a notebook?)"


def worker_loop(channel: Channel, function: Part, parts: Sequence[int]) -> None:
    """Compute jobs in a worker until the channel closes, which happens when the parent process exits or closes it."""
    try:
        for number in SIGNALS:  # the parent decides when to stop
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # A worker must not hold its parent's files open: neither the lock of a run directory nor another worker's pipe.
        for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 (only names are needed)
            if descriptor > 2 and descriptor != channel.pipe.fileno():
                with suppress(OSError):
                    os.close(descriptor)
        with one_thread:
            np.dot(np.ones((8, 8)), np.ones((8, 8)))
            channel.send(READY)
            while True:
                job = channel.receive()
                for part in parts:
                    function(part, job)
                channel.send(job)
    finally:  # exit without a traceback: after any error the parent computes the parts itself
        os._exit(0)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Delay signals, so that a child that is being forked does not run its parent's signal handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
