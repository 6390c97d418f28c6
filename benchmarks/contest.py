"""Systems side by side: every one at every thread count in a process of its own, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from systems import Work

SLICE = 0.4
"""Seconds that one system works in one round."""


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

    def start(self) -> None:
        """Start the process, held to the cores it may use, and find how many units fill a slice."""
        threads = str(self.work.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        command = [
            sys.executable,
            str(Path(__file__).with_name("worker.py")),
            self.system,
            json.dumps(asdict(self.work)),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.process.pid, sorted(os.sched_getaffinity(0))[: self.work.threads])
        self.missing = self.answer().get("missing")
        while self.missing is None and (seconds := self.measure()) < SLICE / 2:
            self.units = max(self.units + 1, int(self.units * min(10.0, SLICE / max(seconds, 1e-9))))

    def answer(self) -> dict[str, float | str]:
        """The process's next line."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": f"ended with status {self.process.wait()}"}

    def measure(self) -> float:
        """Seconds for `units`."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.units}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.peak_mib = int(answer["peak_mib"])
        return float(answer["seconds"])

    def round(self) -> None:
        """One slice."""
        if self.missing is None:
            self.rates.append(self.units / self.measure())

    @property
    def median(self) -> float:
        """Units a second."""
        return statistics.median(self.rates) if self.rates else 0.0

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def compete(systems: Iterable[str], work: Work, threads: Iterable[int], rounds: int) -> dict[str, Contender]:
    """The better thread count of each system, measured in turns."""
    everyone = [Contender(name, replace(work, threads=n)) for name in systems for n in threads]
    try:
        for contender in everyone:
            contender.start()
        for _ in range(rounds):
            for contender in everyone:
                contender.round()
    finally:
        for contender in everyone:
            contender.stop()
    best: dict[str, Contender] = {}
    for contender in everyone:
        if contender.system not in best or contender.median > best[contender.system].median:
            best[contender.system] = contender
    return best
