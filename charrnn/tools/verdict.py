"""What was measured as a table, which of it is best, in words and as changes to a configuration that can be written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from charrnn import backend, checkpoint, config
from charrnn.config import Table
from charrnn.errors import ConfigError
from charrnn.tools.tune import Candidate, Plan, Slice

EQUAL = 0.03
"""Candidates slower than the fastest by at most this part of its rate are as good: medians stray so far."""
ROUNDING = (
    "other shards, or another device, round differently: the same mathematics, slightly other numbers; "
    "threads change nothing but the time"
)


@dataclass(frozen=True)
class Row:
    """A candidate's rate, the median of its slices, and that relative to the configuration as it is.

    `equal`: near enough to the fastest to be called equal; the `best` is one of these.
    """

    device: str
    shards: int
    threads: int
    steps_per_second: float
    chars_per_second: float
    relative: float
    current: bool
    equal: bool
    best: bool


@dataclass(frozen=True)
class Verdict:
    """The table, in the plan's order, and the best in it."""

    plan: Plan
    rows: tuple[Row, ...]
    best: Candidate

    @property
    def words(self) -> str:
        """What to do, in one line."""
        plan, best = self.plan, self.best
        said = [f"train.device = {best.device}"] if best.device != plan.current.device else []
        if best.device == "cpu":
            said.append(f"train.shards = {best.shards} with --threads {best.threads}")
        if best == plan.current:
            way = ", ".join(said) or f"train.device = {best.device}"
            return f"best: the configuration as it is, {way}: nothing is more than {EQUAL:.0%} faster"
        relative = next(row.relative for row in self.rows if row.best)
        return f"best: {', '.join(said)}: {relative:.2f}x the configuration as it is"

    @property
    def changes(self) -> Table:
        """The keys that make a configuration the best one. Where no GPU was measured the device stays open."""
        gpus, best = len(self.plan.backends) > 1, self.best
        keys: dict[str, Any] = {"shards": best.shards} if best.device == "cpu" else {}
        return {"train": keys | ({"device": best.device} if gpus else {})}

    def as_json(self) -> dict[str, Any]:
        """Everything that is printed, for programs."""
        plan, train = self.plan, self.plan.settings.train
        return {
            "corpus": plan.corpus.name,
            "vocabulary": len(plan.corpus.vocabulary),
            "batch_size": train.batch_size,
            "seq_length": train.seq_length,
            "model": asdict(plan.settings.model),
            "cores": backend.cores(),
            "blas": backend.blas(),
            "rows": [asdict(row) for row in self.rows],
            "missing": plan.missing,
            "best": asdict(self.best),
            "words": self.words,
            "note": ROUNDING,
        }


def verdict(plan: Plan, slices: Iterable[Slice]) -> Verdict:
    """Medians, and which candidate is best; every candidate has a slice at least."""
    found: dict[Candidate, list[float]] = {candidate: [] for candidate in plan.candidates}
    for each in slices:
        found[each.candidate].append(each.rate)
    rates = {candidate: median(measured) for candidate, measured in found.items()}
    winner, train = best(rates, plan.current), plan.settings.train
    rows = tuple(
        Row(
            **asdict(candidate),
            steps_per_second=rate,
            chars_per_second=rate * train.batch_size * train.seq_length,
            relative=rate / rates[plan.current],
            current=candidate == plan.current,
            equal=rate >= floor(rates),
            best=candidate == winner,
        )
        for candidate, rate in rates.items()
    )
    return Verdict(plan, rows, winner)


def best(rates: dict[Candidate, float], current: Candidate) -> Candidate:
    """The fastest; among equals the current one, else that with the fewest shards, then threads."""
    equal = {candidate: rate for candidate, rate in rates.items() if rate >= floor(rates)}
    if current in equal:
        return current
    return min(equal, key=lambda candidate: (candidate.shards, candidate.threads, -equal[candidate]))


def floor(rates: dict[Candidate, float]) -> float:
    """The rate from which on a candidate is as good as the fastest."""
    return max(rates.values()) * (1 - EQUAL)


@dataclass(frozen=True)
class Target:
    """The file that a verdict is written to.

    Attributes:
        path: where. The configuration itself: its keys are changed in place, its comments stay.
        source: the file of the configuration, if it is one.
        overwrite: whether another file may be replaced.
    """

    path: Path
    source: Path | None = None
    overwrite: bool = False

    @property
    def in_place(self) -> bool:
        """Whether it is the configuration itself."""
        return self.source is not None and self.path.exists() and self.path.samefile(self.source)

    def check(self) -> None:
        """Raise `ConfigError` for what could not be written: it should be known before anything is measured."""
        if self.in_place:
            config.edited(self.path.read_bytes(), {"train": {"shards": 1, "device": "cpu"}}, str(self.path))
        elif self.path.is_dir() or not self.path.parent.is_dir():
            raise ConfigError(f"cannot write {self.path}: it is a directory, or there is none to put it into")
        elif self.path.exists() and not self.path.is_file():  # a device or a pipe, which a file would replace
            raise ConfigError(f"cannot write {self.path}: it is not a file; name another --write")
        elif self.path.exists() and not self.overwrite:
            raise ConfigError(f"{self.path} already exists: add --overwrite to replace it, or name another --write")

    def write(self, verdict: Verdict) -> None:
        """Write the configuration with what is best: whole or not at all."""
        path = Path(os.path.realpath(self.path))  # a link stays one
        if self.in_place:
            content = config.edited(path.read_bytes(), verdict.changes, str(self.path))
        else:
            content = config.dump(config.build(config.merged(verdict.plan.table, verdict.changes))).encode()
        mode = path.stat().st_mode if path.exists() else None
        checkpoint.write_atomically(path, content)
        if mode is not None:
            path.chmod(mode)
