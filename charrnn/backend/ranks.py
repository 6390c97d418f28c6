"""The ranks of a training: processes, on one machine or on several, which MPI starts and connects.

Every rank computes the shards that it was dealt, and all of them do the same update. The gradients are added in the
order of the shards, whichever ranks computed them, so the number of ranks changes the time of a run, never its bits.
MPI only moves bytes here: it adds nothing.
"""

from __future__ import annotations

import atexit
import os
import platform
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from charrnn.backend.threads import ThreadPool, cores
from charrnn.errors import DivergedError, RanksError

T = TypeVar("T")
HostArray = np.ndarray[Any, np.dtype[Any]]

OPEN_MPI = "OMPI_COMM_WORLD_SIZE"
LAUNCHERS = {
    OPEN_MPI: ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    "PMI_SIZE": ("PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI, `srun --mpi=pmi2`
    "SLURM_STEP_NUM_TASKS": ("PMIX_RANK", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),  # `srun --mpi=pmix`
}
"""Variables that launchers set: the number of ranks -> the rank, its number on its machine, and how many are there."""
TIME_IS_OVER = 1
"""Why a process asks to stop: this, or 1 + the number of a signal."""


class Ranks:
    """The processes of one training. By default this process is the only one, and nothing here needs MPI.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        local_rank: the number of this process among those on its machine.
        local_size: how many are on its machine.
        comm: mpi4py's communicator; None before `start`, and without other processes.
        request: returns why this process asks to stop: 0 if it does not, else see `TIME_IS_OVER`.
        agreed: the largest request of any process, as of the last exchange.
        over: whether all ranks end in the same way, so that this one may leave the others.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        self.comm: Any = None
        self.in_place: Any = None
        self.request: Callable[[], int] = int
        self.agreed, self.over, self.status = 0, False, 2

    @property
    def is_first(self) -> bool:
        """Whether this process owns the run directory and speaks to the user."""
        return self.rank == 0

    @property
    def place(self) -> str:
        """The name of this process for users."""
        return f"rank {self.rank} on {platform.node()}"

    def threads(self, wanted: int) -> int:
        """Return the number of workers of this process; for 0, its part of the cores of its machine."""
        if wanted or self.size == 1:
            return wanted
        bound = cores() < (os.cpu_count() or 1)  # the launcher has bound this process to some cores
        return cores() if bound else max(1, cores() // self.local_size)

    def share(self, count: int, rank: int | None = None) -> range:
        """Return which of `count` shards a rank computes; the shards of the ranks are in the order of the ranks."""
        rank = self.rank if rank is None else rank
        return range(count * rank // self.size, count * (rank + 1) // self.size)

    # -- the start and the end --------------------------------------------------------------------------------------

    @contextmanager
    def together(self) -> Iterator[None]:
        """End all ranks if one of them fails: without this, the others would wait for it for ever.

        Raises `RanksError` if there is no mpi4py, and instead of the error of a rank on those that have none.
        """
        if self.size > 1:
            self.over = True  # without mpi4py
            check_installed(self.size)
            self.over = False
            atexit.register(self.leave)
        try:
            yield
            self.over = True
        except Exception as error:
            self.status = getattr(error, "exit_status", self.status)
            if self.size > 1 and self.comm is None and not self.over:
                self.meet({}, error)
            self.over |= isinstance(error, DivergedError)  # what all ranks compute diverges on all of them
            raise
        except SystemExit as error:  # a second Ctrl-C
            self.status = error.code if isinstance(error.code, int) else self.status
            raise

    def meet(self, facts: Mapping[str, object], failure: Exception | None = None) -> None:
        """Start MPI, and compare what the ranks have prepared. All helper processes must be forked before.

        Args:
            facts: what must be the same on all ranks, by the names that users know.
            failure: the error that has prevented this rank from preparing.

        Raises `RanksError` on all ranks if another one failed, or if they differ.
        """
        if self.size == 1:
            return
        self.start()
        everything = self.gather((self.place, failure and (str(failure) or type(failure).__name__), facts))
        self.over = True
        if failure is not None:  # the caller raises it
            return
        for place, message, _ in everything:
            if message is not None:
                raise RanksError(f"{place}: {message}")
        (first, _, expected), *others = everything
        for place, _, actual in others:
            if differences := differing(expected, actual):
                raise RanksError(f"{place} differs from {first}: {differences}; start all ranks with the same command")
        self.over = False

    def start(self) -> None:
        """Start MPI. Raises `RanksError`, on all ranks, if it does not connect those that the launcher has started."""
        try:
            mpi = connected(self.size)
        except RanksError:
            self.over = True
            raise
        self.comm, self.in_place = mpi.COMM_WORLD, mpi.IN_PLACE

    def leave(self) -> None:
        """Leave MPI at the exit of this process; unless all ranks end, end them."""
        if self.comm is None:
            if not self.over:  # a second Ctrl-C: the others may wait in the start of MPI
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)
            return
        from mpi4py import MPI

        if self.over:
            MPI.Finalize()
            return
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the error is printed: MPI's own lines say nothing more
        self.comm.Abort(self.status)

    # -- messages ---------------------------------------------------------------------------------------------------

    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, in their order, on all of them."""
        return [value] if self.size == 1 else self.comm.allgather(value)

    def from_first(self, value: T) -> T:
        """Return the value of the first rank, on all of them: what depends on the clock must not differ."""
        return value if self.size == 1 else self.comm.bcast(value)

    def agree(self, request: Callable[[], int], steps: int) -> int:
        """Return the largest request of any process to stop.

        Before the first of a process's `steps` the ranks ask one another. After that, the exchange of the gradients
        carries the requests, so that all ranks stop after the same step.
        """
        if self.size == 1:
            return request()
        if steps == 0:
            self.request, self.agreed = request, max(self.gather(request()))
        return self.agreed

    def check_same(self, what: str, digest: Callable[[], str]) -> None:
        """Raise `RanksError` on all ranks if the digests of something that all of them have computed differ."""
        if self.size == 1:
            return
        (first, expected), *others = self.gather((self.place, digest()))
        for place, actual in others:
            if actual != expected:
                self.over = True
                raise RanksError(
                    f"{what} of {place} differ from those of {first}: their processors or libraries round differently; "
                    "use machines of one kind"
                )


class SharedPool(ThreadPool):
    """A thread pool that shares the calls of `map` among the ranks. All of them must call it, and get all results."""

    def __init__(self, pool: ThreadPool, ranks: Ranks) -> None:
        self.pool, self.ranks, self.count = pool, ranks, pool.count

    def map(self, function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
        """Return the results of `function` for the zipped `arguments`, in order."""
        calls, size = list(zip(*arguments, strict=True)), self.ranks.size
        mine = self.pool.map(lambda call: function(*call), calls[self.ranks.rank :: size])
        results: list[Any] = [None] * len(calls)
        for rank, computed in enumerate(self.ranks.gather(mine)):
            results[rank::size] = computed
        return results

    def close(self) -> None:
        self.pool.close()


class Exchange:
    """Adds the gradients of all shards in the order of the shards, wherever they were computed.

    The gradient is divided into as many pieces as the world has ranks. A rank gets its piece of every shard's gradient,
    adds these pieces, and sends their sum to all. For S shards, P parameters and N ranks, a rank sends
    (S / N + 1) · P · (N - 1) / N numbers in a step, in 2 (N - 1) messages, and receives as many.

    A message has the request to stop, the losses of the shards of its sender, and a piece of their gradients.

    Attributes:
        total: (P,) the sum of the gradients.
        messages: how many messages this rank has sent to the others so far.
        bytes: how many bytes these have.
    """

    def __init__(self, ranks: Ranks, shards: int, size: int, dtype: str) -> None:
        self.ranks, everyone = ranks, range(ranks.size)
        others = [other for other in everyone if other != ranks.rank]
        counts = [len(ranks.share(shards, other)) for other in everyone]
        self.pieces = [slice(size * r // ranks.size, size * (r + 1) // ranks.size) for r in everyone]
        lengths = [piece.stop - piece.start for piece in self.pieces]
        self.total, self.mine = np.zeros(size, dtype), self.pieces[ranks.rank]
        self.sent = Messages({other: (counts[ranks.rank], lengths[other]) for other in others}, ranks.size, dtype)
        self.received = Messages({other: (counts[other], lengths[ranks.rank]) for other in others}, ranks.size, dtype)
        self.gathered = (lengths, [piece.start for piece in self.pieces])
        self.messages = self.bytes = 0

    def sum(self, grads: Sequence[HostArray], losses: HostArray) -> tuple[HostArray, HostArray]:
        """Return the sum (P,) of all gradients, and the losses (S,) of all shards.

        `grads` and `losses` are those of the shards of this rank.
        """
        comm, rank, request = self.ranks.comm, self.ranks.rank, self.ranks.request()
        for other, message in self.sent.messages.items():
            message.request[...] = request
            message.losses[...] = losses
            for row, grad in zip(message.rows, grads, strict=True):
                row[...] = grad[self.pieces[other]]
        comm.Alltoallv(self.sent.buffer, self.received.buffer)
        self.count(self.sent.lengths)
        received = self.received.messages
        own = {rank: (losses, [grad[self.mine] for grad in grads])}
        parts = own | {other: (message.losses, list(message.rows)) for other, message in received.items()}
        shards = [parts[other] for other in range(self.ranks.size)]  # in the order of the shards
        first, *rest = (row for _, rows in shards for row in rows)
        mine = self.total[self.mine]
        mine[...] = first
        for row in rest:
            np.add(mine, row, out=mine)
        comm.Allgatherv(self.ranks.in_place, [self.total, self.gathered])
        self.count([len(mine)] * self.ranks.size)
        self.ranks.agreed = max(request, *(int(message.request[0]) for message in received.values()))
        return self.total, np.concatenate([of_rank for of_rank, _ in shards])

    def count(self, lengths: Sequence[int]) -> None:
        """Count what this rank has sent: `lengths` are the numbers for each rank. None are sent to itself."""
        sent = [length for rank, length in enumerate(lengths) if length and rank != self.ranks.rank]
        self.messages += len(sent)
        self.bytes += sum(sent) * self.total.itemsize


class Message:
    """The parts of a message, as views of its memory."""

    def __init__(self, memory: HostArray, shards: int) -> None:
        self.request, self.losses, rows = memory[:1], memory[1 : 1 + shards], memory[1 + shards :]
        self.rows = rows.reshape(shards, -1) if shards else rows.reshape(0, 0)


class Messages:
    """The messages to other ranks, or from them, in one buffer.

    Attributes:
        lengths: how many numbers the messages to, or from, all ranks have; none for the rank itself.
        messages: the messages by rank.
        buffer: what MPI calls a message buffer.
    """

    def __init__(self, shapes: Mapping[int, tuple[int, int]], ranks: int, dtype: str) -> None:
        self.lengths = [0] * ranks
        for rank, (shards, length) in shapes.items():
            self.lengths[rank] = 1 + shards + shards * length
        begins = [sum(self.lengths[:rank]) for rank in range(ranks)]
        memory = np.zeros(sum(self.lengths), dtype)
        self.messages = {
            rank: Message(memory[begins[rank] : begins[rank] + self.lengths[rank]], shards)
            for rank, (shards, _) in shapes.items()
        }
        self.buffer = [memory, (self.lengths, begins)]


def world() -> Ranks:
    """Return the ranks that a launcher has started, by its variables in the environment."""
    for size, (rank, local_rank, local_size) in LAUNCHERS.items():
        count = number(size, 1)
        if count > 1 and rank in os.environ:
            return Ranks(number(rank, 0), count, number(local_rank, 0), number(local_size, 1))
    return Ranks()


def number(name: str, default: int) -> int:
    """Return a whole number from the environment."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def check_installed(size: int) -> None:
    """Raise `RanksError` if `size` ranks were started and mpi4py is not installed."""
    try:
        import mpi4py  # noqa: F401 (only whether it is installed)
    except ImportError:
        message = f"{size} ranks were started, but mpi4py is not installed: pip install 'charrnn-xp[mpi]'"
        raise RanksError(message) from None


def connected(size: int) -> Any:
    """Start MPI and return its module. Raises `RanksError` if it does not connect `size` ranks."""
    import mpi4py

    mpi4py.rc.initialize = mpi4py.rc.finalize = False  # `Ranks.leave` decides how this process ends
    advice = "start them with the mpiexec of the MPI that mpi4py uses"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mpi4py warns of another launcher; the errors below say more
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise RanksError(f"mpi4py finds no MPI library: {str(error).splitlines()[0]}; install mpich") from None
        if OPEN_MPI in os.environ and "MPICH" in MPI.Get_library_version():  # which would abort
            raise RanksError(f"{size} ranks were started by Open MPI, but mpi4py uses MPICH: {advice}")
        MPI.Init_thread(MPI.THREAD_FUNNELED)
    if MPI.COMM_WORLD.size != size:
        raise RanksError(f"{size} ranks were started, but mpi4py connects {MPI.COMM_WORLD.size}: {advice}")
    return MPI


def differing(expected: Mapping[str, object], actual: Mapping[str, object]) -> str:
    """Return how two dictionaries differ, in words; empty if they do not."""
    names = [name for name in {**expected, **actual} if expected.get(name) != actual.get(name)]
    return ", ".join(f"{name} is {actual.get(name)!r}, not {expected.get(name)!r}" for name in names)
