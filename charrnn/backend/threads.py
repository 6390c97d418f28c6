"""Cores: worker threads over shards, and BLAS kept on one thread while they work.

A step's parts are cut by configuration, never by the number of threads, so any number of threads gives the same bits.
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
"""How the names of worker threads begin."""


class _OneThread:
    """Holds BLAS to one thread while anyone in the process wants it so; the last to leave gives the limits back.

    The limit is the process's: threadpoolctl lets only one thread at a time set it and ignores others, but whoever
    leaves last here is often another than who came first. The guard takes the place of that rule.
    """

    def __init__(self) -> None:
        self.guard, self.wanted = threading.Lock(), 0
        self.before: list[int] = []

    def __enter__(self) -> None:
        with self.guard:
            if self.wanted == 0:
                self.before = [library.num_threads for library in blas_libraries()]
                limit([1] * len(self.before))
            self.wanted += 1

    def __exit__(self, *error: object) -> None:
        with self.guard:
            self.wanted -= 1
            if self.wanted == 0:
                limit(self.before)


def limit(counts: list[int]) -> None:
    """Set the threads of each BLAS library, whichever thread asks."""
    for library, count in zip(blas_libraries(), counts, strict=True):
        clear = getattr(library, "clear_controlling_thread", None)  # threadpoolctl 3.8
        if clear is not None:
            clear(force=True)
        library.set_num_threads(count)
        if clear is not None:
            clear(force=True)


one_thread = _OneThread()
"""`with one_thread:` keeps BLAS on one thread. Never hold it across a `yield` to someone else's code."""


class ThreadPool:
    """Up to `count` threads that map a function over parts in order. With one thread nothing is started.

    BLAS is held to one thread meanwhile: it is the parts that use the cores.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count or cores()
        self.pool = ThreadPoolExecutor(self.count, THREAD_NAME) if self.count > 1 else None

    def map(self, function: Callable[..., T], *parts: Iterable[Any]) -> list[T]:
        """The results of `function` over the zipped `parts`, in order."""
        calls = list(zip(*parts, strict=True))
        with one_thread:
            if self.pool is None or len(calls) == 1:
                return [function(*call) for call in calls]
            return list(self.pool.map(lambda call: function(*call), calls))

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """The bytes of this machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def blas() -> str:
    """The BLAS of NumPy in words: library, version, kernel."""
    found = [pool for pool in controller().info() if pool["user_api"] == "blas"]
    return ", ".join(f"{b['internal_api']} {b['version']} ({b.get('architecture')})" for b in found) or "BLAS unknown"


@cache
def blas_libraries() -> tuple[Any, ...]:
    """What sets the threads of each BLAS in this process."""
    return tuple(controller().select(user_api="blas").lib_controllers)


@cache
def blas_kernel() -> str:
    """The processor for which NumPy's OpenBLAS computes, in its own words; empty for another BLAS."""
    found = (pool for pool in controller().info() if pool["internal_api"] == "openblas")
    return next((str(pool.get("architecture", "")) for pool in found), "")


@cache
def controller() -> ThreadpoolController:
    """One controller for the process: making one takes 700 µs, using it 6 µs."""
    return ThreadpoolController()
