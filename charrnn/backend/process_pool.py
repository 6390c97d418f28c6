"""Processes that share the parts of a step: forked helpers beside this one, with shared memory between them.

Threads of one process take turns at the interpreter, and wake one another for it: where an operation takes
microseconds, two threads over two shards are 1.3 to 1.8 times as fast as one, two processes 1.9 times.
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
"""Elsewhere there is no fork, or the system's libraries do not survive one: threads do the work there."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if CAN_FORK else ()

SPIN = 500e-6
"""Seconds for which a process watches for its partner before it sleeps: waking up takes some 50 µs, twice a step."""

READY = 2**63
"""What a helper says first; no order is so large."""

Part = Callable[[int, int], object]


def shared_zeros(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Zeros that a forked process shares with this one: what either writes, both see. Raises `MemoryError`."""
    count = int(np.prod(shape))
    try:
        memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    except OSError as error:
        raise MemoryError(error.strerror) from None
    return np.frombuffer(memory, dtype, count).reshape(shape)


class Line:
    """One end of a line between two processes: whole numbers, and a hint in shared memory that one is on its way.

    The number itself goes through a pipe, whose end is seen if the other process ends, and which orders memory.
    """

    def __init__(self, pipe: Any, sent: np.ndarray[Any, Any], received: np.ndarray[Any, Any], spin: float) -> None:
        self.pipe, self.sent, self.received, self.spin = pipe, sent, received, spin

    def send(self, number: int) -> None:
        """Raises `OSError` if the other process has ended."""
        self.pipe.send_bytes(number.to_bytes(8, "little"))
        self.sent[0] += 1

    def receive(self) -> int:
        """Wait for a number. Raises `EOFError` or `OSError` if the other process has ended."""
        received, until = self.received, time.perf_counter() + self.spin
        while received[0] == received[1] and time.perf_counter() < until:
            pass
        number = int.from_bytes(self.pipe.recv_bytes(), "little")
        received[1] += 1
        return number


def line(spin: float) -> tuple[Line, Line]:
    """Both ends of a line, whose readers watch for `spin` seconds before they sleep."""
    one, other = multiprocessing.Pipe()
    there, back = shared_zeros((2, 2), "int64")
    return Line(one, there, back, spin), Line(other, back, there, spin)


class Helper:
    """A forked process that does its parts of an order whenever one comes, and knows everything this process knew."""

    def __init__(self, function: Part, parts: Sequence[int], spin: float = SPIN) -> None:
        context: Any = multiprocessing.get_context("fork")
        self.parts, self.parent = parts, os.getpid()
        self.line, theirs = line(spin)
        self.process = context.Process(target=serve, args=(theirs, function, parts), daemon=True)
        with signals_blocked(), warnings.catch_warnings():
            # Python and JAX warn that a lock may be held by a thread that the child does not have: see `alone`. A child
            # that waits for one never says that it is ready, and is never relied on.
            warnings.simplefilter("ignore")
            self.process.start()
        theirs.pipe.close()
        self.ready = self.lost = False

    def told(self, order: int) -> bool:
        """Whether the helper is ready and has been told to do its parts."""
        try:
            if self.lost or not (self.ready or self.line.pipe.poll()):
                return False
            if not self.ready:
                self.ready = self.line.receive() == READY
            self.line.send(order)
        except (OSError, EOFError):
            self.close()
        return not self.lost

    def did(self, order: int) -> bool:
        """Wait for it; whether it did its parts. A helper that died or failed did not, and is not asked again."""
        try:
            if self.line.receive() != order:
                self.close()
        except (OSError, EOFError):
            self.close()
        return not self.lost

    def close(self) -> None:
        """End the process. In a fork of this process, to which the helper does not belong, only forget it."""
        self.lost = True
        self.line.pipe.close()
        if os.getpid() == self.parent:
            self.process.kill()
            self.process.join()


class ForkPool:
    """Does the parts 0 to `parts` - 1 of one order after another with as many processes as there are workers.

    Args:
        function: `function(part, order)` does a part. Whatever both this process and a helper write or read of it lies
            in memory from `shared_zeros`; everything else the helper has as it was at the first order.
        parts: how many. Who does one changes nothing in its result.
        workers: how many processes; their threads do the work where there are no helpers, or none is ready yet.
        shares: whether all that `function` shares lies in such memory; if not, threads do the work.
    """

    def __init__(self, function: Part, parts: int, thread_pool: ThreadPool, *, shares: bool = True) -> None:
        self.function, self.parts, self.thread_pool, self.shares = function, parts, thread_pool, shares
        self.helpers: list[Helper] | None = None

    def start(self) -> list[Helper]:
        """Fork the helpers, where that is safe. A system that allows no more processes gets by with fewer."""
        count, spin = min(self.thread_pool.count, self.parts), SPIN if cores() >= self.thread_pool.count else 0.0
        helpers: list[Helper] = []
        if self.shares and CAN_FORK and alone():
            with suppress(OSError):
                for n in range(1, count):  # one by one: what was made before an error stays
                    helpers += [Helper(self.function, range(n, self.parts, count), spin)]
        return helpers

    def run(self, order: int) -> None:
        """Do every part of `order`. What no helper does, or fails to do, is done here."""
        if self.helpers is None:
            self.helpers = self.start()
        told = [helper for helper in self.helpers if helper.told(order)]
        if not told and self.parts > 1:
            self.thread_pool.map(self.function, range(self.parts), [order] * self.parts)
            return
        away = {part for helper in told for part in helper.parts}
        try:
            with one_thread:
                for part in range(self.parts):
                    if part not in away:
                        self.function(part, order)
                for helper in told:
                    for part in () if helper.did(order) else helper.parts:
                        self.function(part, order)
        except BaseException:  # an answer that nobody takes would be taken for that to a later order
            for helper in told:
                helper.close()
            raise

    @property
    def ready(self) -> bool:
        """Whether the helpers were started, and none is still to come."""
        return self.helpers is not None and all(helper.ready or helper.lost for helper in self.helpers)

    def close(self) -> None:
        """End the helpers; the next order would start others."""
        for helper in self.helpers or ():
            helper.close()
        self.helpers = None


def alone() -> bool:
    """Whether this process may fork: nobody else's thread is at work in it.

    BLAS waits in a fork for its own threads, for ever if another thread is using them; and what another thread holds,
    standard input for one, a child could never have.
    """
    if multiprocessing.current_process().daemon:  # may have no children
        return False
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    return all(thread.name.startswith(THREAD_NAME) or type(thread).__name__ == "TMonitor" for thread in others)


def serve(line: Line, function: Part, parts: Sequence[int]) -> None:
    """A helper's life: until the line closes, which it does however the other process ends."""
    try:
        for number in SIGNALS:  # the other process decides when to stop
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # Nothing else that was open is the helper's to hold: no lock on a run directory, no other helper's pipe.
        for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 (names alone)
            if descriptor > 2 and descriptor != line.pipe.fileno():
                with suppress(OSError):
                    os.close(descriptor)
        with one_thread:
            np.dot(np.ones((8, 8)), np.ones((8, 8)))
            line.send(READY)
            while True:
                order = line.receive()
                for part in parts:
                    function(part, order)
                line.send(order)
    finally:  # no traceback: whatever happened, the other process does the parts itself
        os._exit(0)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Signals wait meanwhile, so that a child that is being forked does not answer one in its parent's name."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
