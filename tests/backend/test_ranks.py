"""Ranks without MPI: who they are, what they compute, and the sums that they exchange."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.processes import words
from helpers.ranks import on_threads
from hypothesis import given
from hypothesis import strategies as st

from charrnn.backend import Exchange, Ranks, SharedPool, ThreadPool, world
from charrnn.backend.ranks import LAUNCHERS
from charrnn.errors import ConfigError, RanksError
from charrnn.run.request import Request


@given(size=st.integers(2, 5), shards=st.integers(1, 7), length=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_sum_is_that_of_one_process(size: int, shards: int, length: int, seed: int) -> None:
    """All ranks get the bits of a sum in the order of the shards, all losses, and the largest request to stop."""
    draw = np.random.default_rng(seed)
    grads = (draw.standard_normal((shards, length)) * 10.0 ** draw.integers(-6, 6, (shards, 1))).astype("float32")
    losses, requests = draw.standard_normal(shards).astype("float32"), draw.integers(0, 20, size).tolist()
    expected = grads[0].copy()
    for grad in grads[1:]:
        expected = expected + grad

    def exchange(ranks: Ranks) -> tuple[Any, Any, int, int, int]:
        ranks.request, mine = lambda: requests[ranks.rank], ranks.share(shards)
        exchange = Exchange(ranks, shards, length, "float32")
        total, every = exchange.sum([grads[shard] for shard in mine], losses[mine.start : mine.stop])
        return total.copy(), every, ranks.agreed, exchange.messages, exchange.bytes

    results = on_threads(size, exchange)
    for total, every, agreed, messages, _ in results:
        assert total.tobytes() == expected.tobytes()
        assert every.tolist() == losses.tolist()
        assert agreed == max(requests)
        assert messages <= 2 * (size - 1)  # an empty piece is not sent
    if length % size == 0:  # as in the cost model; a message also has the request and the losses
        numbers = sum(sent for *_, sent in results) // 4 - (size + shards) * (size - 1)
        assert numbers == size * (shards / size + 1) * length * (size - 1) / size


@given(size=st.integers(1, 9), count=st.integers(0, 20))
def test_every_shard_has_one_rank(size: int, count: int) -> None:
    """The shards are dealt in their order, and no rank gets two more than another."""
    shares = [Ranks(rank, size).share(count) for rank in range(size)]
    assert [shard for share in shares for shard in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_ranks_share_the_calls_of_a_map() -> None:
    """All ranks get all results in their order, and a call is made once."""
    calls = list[int]()

    def squares(ranks: Ranks) -> list[int]:
        return SharedPool(ThreadPool(1), ranks).map(lambda n: calls.append(n) or n * n, range(5))

    assert on_threads(3, squares) == [[0, 1, 4, 9, 16]] * 3
    assert sorted(calls) == [0, 1, 2, 3, 4]


def test_other_parameters_on_a_rank_are_an_error_on_all() -> None:
    """The line names both ranks with their machines, and all ranks know that all end."""

    def check(ranks: Ranks) -> tuple[str, bool]:
        with pytest.raises(RanksError) as error:
            ranks.check_same("the parameters", lambda: "other" if ranks.rank == 2 else "same")
        return str(error.value), ranks.over

    here = platform.node()
    line = f"the parameters of rank 2 on {here} differ from those of rank 0 on {here}: their processors or libraries"
    for message, over in on_threads(3, check):
        assert message.startswith(line)
        assert over


VARIABLES = {name for size, rest in LAUNCHERS.items() for name in (size, *rest)}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ("", (0, 1, 0, 1)),
        ("PMI_SIZE=1 PMI_RANK=0", (0, 1, 0, 1)),
        ("PMI_SIZE=6 PMI_RANK=4 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=3", (4, 6, 1, 3)),
        ("OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_LOCAL_RANK=1", (1, 2, 1, 1)),
        ("SLURM_STEP_NUM_TASKS=4 PMIX_RANK=3 SLURM_LOCALID=1 SLURM_NTASKS_PER_NODE=2", (3, 4, 1, 2)),
        ("SLURM_STEP_NUM_TASKS=4", (0, 1, 0, 1)),  # a batch script, which srun has not started
    ],
)
def test_the_launcher_says_who_a_process_is(
    monkeypatch: pytest.MonkeyPatch, variables: str, expected: tuple[int, ...]
) -> None:
    """Rank, size, and both on this machine come from the environment, before MPI is imported."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for word in variables.split():
        monkeypatch.setenv(*word.split("="))
    ranks = world()
    assert (ranks.rank, ranks.size, ranks.local_rank, ranks.local_size) == expected


def test_ranks_without_mpi4py_are_one_line(place: Path) -> None:
    """The first rank says what is missing, the others nothing, and no run begins."""
    lines = with_mpi4py("raise ImportError", place, "PMI_SIZE", "PMI_RANK")
    assert lines == ["charrnn: 2 ranks were started, but mpi4py is not installed: pip install 'charrnn-xp[mpi]'"]


def test_ranks_of_another_launcher_are_one_line(place: Path) -> None:
    """MPICH, which would abort a process that Open MPI has started, is not started."""
    module = """
from types import SimpleNamespace
rc, MPI = SimpleNamespace(), SimpleNamespace(Get_library_version=lambda: "MPICH Version: 5.0.2")
"""
    lines = with_mpi4py(module, place, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
    assert lines == [
        "charrnn: 2 ranks were started by Open MPI, but mpi4py uses MPICH: "
        "start them with the mpiexec of the MPI that mpi4py uses"
    ]


def with_mpi4py(module: str, place: Path, size: str, rank_name: str) -> list[str]:
    """Return the lines of both of two ranks with another module mpi4py, which must not begin a run."""
    (place / "mpi4py.py").write_text(module)
    lines = []
    for rank in (0, 1):
        variables = {size: "2", rank_name: str(rank), "PYTHONPATH": os.pathsep.join([str(place), *sys.path])}
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *words(train_steps=1), "--out=r"],
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, "")
        lines += done.stderr.splitlines()
    assert not (place / "r").exists()
    return lines


def test_ranks_do_not_read_standard_input() -> None:
    """A launcher passes standard input to one rank only."""
    with pytest.raises(ConfigError, match="only one rank can read standard input: save the text as a file"):
        Request(files=("-",), ranks=Ranks(0, 2))
