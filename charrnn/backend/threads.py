"""Threads that compute shards, and a limit of one thread for BLAS while they do.

The configuration decides the shards of a step, so any number of threads gives the same bits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
THREAD_NAME = "charrnn"
"""The prefix of the names of a `ThreadPool`'s threads."""


class _OneThread:
    """A context that limits BLAS to one thread. The last of several users to exit restores the limits from before.

    The limit belongs to the process. threadpoolctl lets only the thread that set it change it back, but here the last
    user to exit is often on another thread than the first, so a lock and a count replace that rule.
    """

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.before: list[int] = []

    def __enter__(self) -> None:
        with self.lock:
            if self.users == 0:
                self.before = [library.num_threads for library in blas_libraries()]
                set_blas_threads([1] * len(self.before))
            self.users += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                set_blas_threads(self.before)


def set_blas_threads(counts: list[int]) -> None:
    """Set the number of threads of each BLAS library, on any thread."""
    for library, count in zip(blas_libraries(), counts, strict=True):
        clear = getattr(library, "clear_controlling_thread", None)  # threadpoolctl 3.8
        if clear is not None:
            clear(force=True)
        library.set_num_threads(count)
        if clear is not None:
            clear(force=True)


one_thread = _OneThread()
"""`with one_thread:` limits BLAS to one thread. Never keep it across a `yield` to a caller's code."""


class ThreadPool:
    """`count` threads (0: one on each core) that map a function over parts. A pool of one thread starts none.

    BLAS is limited to one thread meanwhile, because the threads of the pool use the cores already.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count or cores()
        self.executor = ThreadPoolExecutor(self.count, THREAD_NAME) if self.count > 1 else None

    def map(self, function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
        """Return the results of `function` for the zipped `arguments`, in order."""
        calls = list(zip(*arguments, strict=True))
        with one_thread:
            if self.executor is None or len(calls) == 1:
                return [function(*call) for call in calls]
            return list(self.executor.map(lambda call: function(*call), calls))

    def close(self) -> None:
        if self.executor is not None:
            self.executor.shutdown()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_ram() -> int | None:
    """Return the bytes of this machine's memory; None on a system that does not report them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def blas() -> str:
    """Describe NumPy's BLAS: library, version, kernel."""
    pools = [pool for pool in controller().info() if pool["user_api"] == "blas"]
    return ", ".join(f"{b['internal_api']} {b['version']} ({b.get('architecture')})" for b in pools) or "BLAS unknown"


@cache
def blas_libraries() -> tuple[Any, ...]:
    """Return a controller of the threads of each BLAS library in this process."""
    return tuple(controller().select(user_api="blas").lib_controllers)


@cache
def blas_kernel() -> str:
    """Return OpenBLAS's name of the processor that it has chosen kernels for; empty for another BLAS."""
    pools = (pool for pool in controller().info() if pool["internal_api"] == "openblas")
    return next((str(pool.get("architecture", "")) for pool in pools), "")


@cache
def controller() -> ThreadpoolController:
    """Return the process's only controller: making one takes 700 µs, using it 6 µs."""
    return ThreadpoolController()
