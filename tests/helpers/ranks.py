"""Ranks: real ones, which `mpiexec` starts, and threads that exchange messages as ranks do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from charrnn.backend import Ranks

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
RANK = ("PMI_RANK=", "OMPI_COMM_WORLD_RANK=")
"""How a variable begins in which MPICH and Open MPI tell a process its rank."""


def call(ranks: int, *words: str) -> list[str]:
    """Return the command that runs `charrnn WORDS...` on so many ranks; 0: as a process without MPI."""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("needs mpiexec, for instance of the wheel mpich")
    return [*([MPIEXEC, "-n", str(ranks)] if ranks else []), sys.executable, "-m", "charrnn", *words]


def on_ranks(ranks: int, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `charrnn WORDS...` on so many ranks to the end, which must have this status."""
    done = subprocess.run(call(ranks, *words), capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done


def started_on_ranks(ranks: int, *words: str) -> subprocess.Popen[str]:
    """Start `charrnn WORDS...` on so many ranks with a pipe for its output."""
    return subprocess.Popen(call(ranks, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rank_processes(launcher: int) -> dict[int, int]:
    """Return rank -> process of the ranks that a launcher has started so far."""
    result = dict[int, int]()
    for pid in descendants(launcher):
        variables = read(f"/proc/{pid}/environ").split("\0")
        rank = next((int(v.partition("=")[2]) for v in variables if v.startswith(RANK)), None)
        if rank is not None and "charrnn" in read(f"/proc/{pid}/cmdline").split("\0"):
            result.setdefault(rank, pid)  # a rank is older than its worker processes
    return result


def descendants(pid: int) -> list[int]:
    """Return the processes that a process and its children have started, parents before their children."""
    children = list(map(int, read(f"/proc/{pid}/task/{pid}/children").split()))
    return children + [grandchild for child in children for grandchild in descendants(child)]


def read(path: str) -> str:
    """Return the content of a file of /proc; nothing if its process has ended."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


class Communicator:
    """What the ranks use of mpi4py's communicator, among threads of this process."""

    def __init__(self, rank: int, size: int, barrier: Barrier, table: dict[int, Any]) -> None:
        self.rank, self.size, self.barrier, self.table = rank, size, barrier, table

    def Barrier(self) -> None:  # noqa: N802 (MPI's name)
        self.barrier.wait(10)

    def allgather(self, value: Any) -> list[Any]:
        self.table[self.rank] = value
        self.barrier.wait(10)
        values = [self.table[rank] for rank in range(self.size)]
        self.barrier.wait(10)
        return values

    def Alltoallv(self, sent: Any, received: Any) -> None:  # noqa: N802
        buffer, (lengths, begins) = received
        for rank, (data, (counts, displacements)) in enumerate(self.allgather(sent)):
            count, begin = counts[self.rank], displacements[self.rank]
            assert count == lengths[rank]
            buffer[begins[rank] : begins[rank] + count] = data[begin : begin + count]
        self.barrier.wait(10)

    def Allgatherv(self, in_place: Any, received: Any) -> None:  # noqa: ARG002, N802
        buffer, (lengths, begins) = received
        own = buffer[begins[self.rank] :][: lengths[self.rank]].copy()
        for piece, length, begin in zip(self.allgather(own), lengths, begins, strict=True):
            buffer[begin : begin + length] = piece


def on_threads(size: int, function: Any) -> list[Any]:
    """Return the results of `function(ranks)` for all ranks, which run on threads."""
    barrier, table = Barrier(size), dict[int, Any]()

    def run(rank: int) -> Any:
        ranks = Ranks(rank, size)
        ranks.comm = Communicator(rank, size, barrier, table)
        return function(ranks)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))
