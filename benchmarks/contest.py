"""Measure systems in turns: each in one process for every number of threads."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Timer

from systems import Work

WORKER = str(Path(__file__).with_name("worker.py"))
SLICE = 0.4
"""Seconds of work of one system in one round."""
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
"""What starts the ranks of a system that runs on as many ranks as it has threads; None on a machine without MPI."""
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Environment variables that keep a system from allocating a whole GPU."""


@contextmanager
def limited(patience: float | None, give_up: Callable[[str], None]) -> Iterator[None]:
    """Call `give_up` if the block takes longer than `patience` seconds."""
    if patience is None:
        yield
        return
    timer = Timer(patience, give_up, (f"no answer within {patience:.0f} s",))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass
class Contender:
    """A system with a number of threads, measured in its own process."""

    system: str
    work: Work
    process: subprocess.Popen[str] | None = None
    missing: str | None = None
    units: int = 1
    rates: list[float] = field(default_factory=list)
    peak_mib: int = 0
    program: tuple[str, ...] = (WORKER,)
    patience: float | None = None

    def start(self) -> None:
        """Start the process on as many cores as it has threads, or on all cores for a GPU."""
        threads = str(self.work.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads) | SHARED
        launcher = [MPIEXEC, "-n", threads] if MPIEXEC and self.system == "charrnn, ranks" else []
        command = [*launcher, sys.executable, *self.program, self.system, json.dumps(asdict(self.work))]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        if hasattr(os, "sched_setaffinity") and self.work.device == "cpu":
            os.sched_setaffinity(self.process.pid, sorted(os.sched_getaffinity(0))[: self.work.threads])

    def prepare(self) -> None:
        """Wait until the process is ready, and find how many units take `SLICE` seconds."""
        self.answer()
        while self.missing is None and (seconds := self.measure()) < SLICE / 2:
            self.units = max(self.units + 1, int(self.units * min(10.0, SLICE / max(seconds, 1e-9))))

    def answer(self) -> dict[str, float]:
        """Return the next answer of the process, or {} if it ended or gave up; `missing` is then the reason."""
        assert self.process is not None
        assert self.process.stdout is not None
        with limited(self.patience, self.give_up):
            line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"missing": f"ended with status {self.process.wait()}"}
        self.missing = self.missing or answer.get("missing")
        return {} if self.missing else answer

    def measure(self) -> float:
        """Return the seconds for `units`, or infinity if the process ended."""
        assert self.process is not None
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # `answer` reports that the process ended
            self.process.stdin.write(f"{self.units}\n")
            self.process.stdin.flush()
        answer = self.answer()
        self.peak_mib = int(answer.get("peak_mib", self.peak_mib))
        return answer.get("seconds", math.inf)

    def round(self) -> None:
        """Measure one slice of work."""
        if self.missing is None and (seconds := self.measure()) < math.inf:
            self.rates.append(self.units / seconds)

    @property
    def median(self) -> float:
        """Return the median of the rates, in units a second."""
        return statistics.median(self.rates) if self.rates else 0.0

    def give_up(self, reason: str) -> None:
        """Kill the process, which also ends the wait for its answer. `reason` becomes `missing`."""
        assert self.process is not None
        self.missing = self.missing or reason
        self.process.kill()

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def take_turns(contenders: list[Contender], rounds: int) -> None:
    """Measure all contenders in turns, after all of them are ready."""
    try:
        for contender in contenders:
            contender.start()
        for contender in contenders:
            contender.prepare()
        for _ in range(rounds):
            for contender in contenders:
                contender.round()
    finally:
        for contender in contenders:
            contender.stop()


def compete(systems: Iterable[str], work: Work, threads: Iterable[int], rounds: int) -> dict[str, Contender]:
    """Measure all systems in turns, and return each with its faster number of threads."""
    contenders = [Contender(name, replace(work, threads=n)) for name in systems for n in threads]
    take_turns(contenders, rounds)
    best: dict[str, Contender] = {}
    for contender in contenders:
        if contender.system not in best or contender.median > best[contender.system].median:
            best[contender.system] = contender
    return best
