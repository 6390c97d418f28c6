"""Systems side by side: every one at every thread count in a process of its own, in turns."""

from __future__ import annotations

import json
import math
import os
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
"""Seconds that one system works in one round."""
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Nobody takes a whole GPU for itself."""


@contextmanager
def limited(patience: float | None, give_up: Callable[[str], None]) -> Iterator[None]:
    """What takes longer than so many seconds makes `give_up` be called."""
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
    """A system at a thread count, in a process of its own."""

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
        """Start the process, held to the cores it may use; who drives a GPU may use all."""
        threads = str(self.work.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads) | SHARED
        command = [sys.executable, *self.program, self.system, json.dumps(asdict(self.work))]
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
        """Wait until the process is ready, and find how many units fill a slice."""
        self.answer()
        while self.missing is None and (seconds := self.measure()) < SLICE / 2:
            self.units = max(self.units + 1, int(self.units * min(10.0, SLICE / max(seconds, 1e-9))))

    def answer(self) -> dict[str, float]:
        """The process's next line; {} once there is a reason why there are no more, which is kept."""
        assert self.process is not None
        assert self.process.stdout is not None
        with limited(self.patience, self.give_up):
            line = self.process.stdout.readline()
        said = json.loads(line) if line else {"missing": f"ended with status {self.process.wait()}"}
        self.missing = self.missing or said.get("missing")
        return {} if self.missing else said

    def measure(self) -> float:
        """Seconds for `units`; infinitely many where the process ended."""
        assert self.process is not None
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says that it ended
            self.process.stdin.write(f"{self.units}\n")
            self.process.stdin.flush()
        answer = self.answer()
        self.peak_mib = int(answer.get("peak_mib", self.peak_mib))
        return answer.get("seconds", math.inf)

    def round(self) -> None:
        """One slice."""
        if self.missing is None and (seconds := self.measure()) < math.inf:
            self.rates.append(self.units / seconds)

    @property
    def median(self) -> float:
        """Units a second."""
        return statistics.median(self.rates) if self.rates else 0.0

    def give_up(self, reason: str) -> None:
        """Have the process end in the middle of something: who waits for its answer is told so."""
        assert self.process is not None
        self.missing = self.missing or reason
        self.process.kill()

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def take_turns(everyone: list[Contender], rounds: int) -> None:
    """Measure all, one at a time, once everyone is ready."""
    try:
        for contender in everyone:
            contender.start()
        for contender in everyone:
            contender.prepare()
        for _ in range(rounds):
            for contender in everyone:
                contender.round()
    finally:
        for contender in everyone:
            contender.stop()


def compete(systems: Iterable[str], work: Work, threads: Iterable[int], rounds: int) -> dict[str, Contender]:
    """The better thread count of each system, measured in turns."""
    everyone = [Contender(name, replace(work, threads=n)) for name in systems for n in threads]
    take_turns(everyone, rounds)
    best: dict[str, Contender] = {}
    for contender in everyone:
        if contender.system not in best or contender.median > best[contender.system].median:
            best[contender.system] = contender
    return best
