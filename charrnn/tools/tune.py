"""Measure which number of shards and threads, and which device, train a configuration fastest on this machine.

Every candidate trains real steps on the same text, from the same weights, in short slices of time that take turns.
The rate of a candidate is the median of its slices. A candidate's processes, threads and workspaces are released at
the end of each slice.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from charrnn import backend, config, files, model, seeds, text
from charrnn.backend import Backend, ThreadPool
from charrnn.config import Config, Table
from charrnn.errors import ConfigError
from charrnn.run import finetuning
from charrnn.run.corpus import read_text
from charrnn.run.request import Request
from charrnn.run.resolve import pace, resolve, warm_up
from charrnn.run.session import device
from charrnn.text import Corpus, Part
from charrnn.training.step import Trainer

ROUNDS = 5
"""Number of rounds that the measuring time is divided into."""
LONGEST_SLICE = 0.4
"""Most seconds of a slice. Short slices in many rounds spread the disturbance by other programs over all candidates."""
TOLERANCE = 0.03
"""Candidates up to this fraction slower than the fastest count as equal: medians differ by as much between runs."""
ROUNDING_NOTE = (
    "another number of shards, or another device, rounds differently, so losses differ slightly; "
    "the number of threads changes only the speed"
)


@dataclass(frozen=True)
class Candidate:
    """One way to compute the training steps: the device, `train.shards`, and the number of threads."""

    device: str
    shards: int
    threads: int


@dataclass(frozen=True)
class Slice:
    """One measurement of a candidate.

    Attributes:
        candidate: what was measured.
        rate: steps per second.
        elapsed: seconds from the start of the first slice to the end of this one.
    """

    candidate: Candidate
    rate: float
    elapsed: float


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        table: the configuration as the user wrote it.
        settings: the resolved configuration, with the batch and sequence sizes that are measured.
        corpus: the text.
        part: the part of the text that is trained on.
        backends: device name -> backend, of every device that can compute.
        missing: device name -> reason, of every CUDA device that cannot compute.
        candidates: what is compared.
        current: the candidate that the configuration describes now.
        seconds: how long to measure, approximately.
        notices: lines for the user about decisions that were made.
    """

    table: Table
    settings: Config
    corpus: Corpus
    part: Part
    backends: dict[str, Backend]
    missing: dict[str, str]
    candidates: tuple[Candidate, ...]
    current: Candidate
    seconds: float
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """The result of one candidate.

    Attributes:
        device: the device.
        shards: `train.shards`.
        threads: `--threads`.
        steps_per_second: the median over its slices.
        chars_per_second: the same in characters.
        relative: the rate divided by that of the current configuration.
        current: whether this is the configuration as it is.
        equal: whether the rate is within `TOLERANCE` of the fastest.
        best: whether this is the recommended candidate, which is one of the equal ones.
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
class Result:
    """The rows in the order of the plan's candidates, and the recommended candidate."""

    plan: Plan
    rows: tuple[Row, ...]
    best: Candidate

    @property
    def recommendation(self) -> str:
        """One line for the user: the settings that are fastest, and by how much."""
        plan, best = self.plan, self.best
        parts = [f"train.device = {best.device}"] if best.device != plan.current.device else []
        if best.device == "cpu":
            parts.append(f"train.shards = {best.shards} with --threads {best.threads}")
        if best == plan.current:
            current = ", ".join(parts) or f"train.device = {best.device}"
            return f"best: the configuration as it is, {current}: nothing is more than {TOLERANCE:.0%} faster"
        relative = next(row.relative for row in self.rows if row.best)
        return f"best: {', '.join(parts)}: {relative:.2f}x the configuration as it is"

    @property
    def changes(self) -> Table:
        """The keys to set. `train.device` is among them only if a GPU was measured."""
        keys: dict[str, Any] = {"shards": self.best.shards} if self.best.device == "cpu" else {}
        if len(self.plan.backends) > 1:
            keys["device"] = self.best.device
        return {"train": keys}

    def as_json(self) -> dict[str, Any]:
        """Return everything that the command prints, as JSON values."""
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
            "recommendation": self.recommendation,
            "note": ROUNDING_NOTE,
        }


def plan(request: Request, seconds: float) -> Plan:
    """Read the text and list the candidates to compare.

    Args:
        request: its files or text, preset, options and fallback are used. `train.device = "cpu"` excludes GPUs.
        seconds: how long to measure, approximately.

    Raises `CharrnnError` for options, a configuration or a text that cannot be used.
    """
    if not 0 < seconds < 1e6:
        raise ConfigError(f"--seconds must be above 0 and below a million, not {seconds}")
    table = config.merged(finetuning.reset_hash(request.preset), finetuning.reset_hash(request.options))
    source = finetuning.find_source(table, None)
    table = source.complete(table) if source else table
    corpus = read_text(request, table).corpus
    corpus = source.widen(corpus, table) if source else corpus
    wanted = config.build(table)
    choice = device(wanted, fallback=request.fallback)
    with backend.computing(choice.backend):
        resolved = resolve(wanted, corpus, choice.backend)
    settings, part = resolved.config, resolved.train
    reason = [choice.reason] if choice.fell_back else []
    gpus = backend.gpus() if wanted.train.device != "cpu" else {}
    usable = [name for name, problem in gpus.items() if problem is None]
    shards, cores = settings.train.shards, backend.cores()
    gpu_candidates = {name: Candidate(name, 1, 1) for name in usable}
    return Plan(
        table,
        settings,
        corpus,
        part,
        {name: device(replace(wanted, train=replace(wanted.train, device=name))).backend for name in ("cpu", *usable)},
        {name: problem for name, problem in gpus.items() if problem is not None},
        (*cpu_candidates(cores, settings.train.batch_size, shards), *gpu_candidates.values()),
        gpu_candidates.get(choice.backend.name, Candidate("cpu", shards, min(shards, cores))),
        seconds,
        (*(source.notices if source else ()), *reason, *resolved.notices),
    )


def cpu_candidates(cores: int, batch_size: int, configured: int) -> tuple[Candidate, ...]:
    """Return every number of shards (powers of two, and `configured`) with every number of threads up to it."""
    shards = sorted({*powers_of_two(min(cores, batch_size)), configured})
    return tuple(Candidate("cpu", n, threads) for n in shards for threads in powers_of_two(min(n, cores)))


def powers_of_two(maximum: int) -> list[int]:
    """Return 1, 2, 4, ... up to `maximum`, and `maximum` itself."""
    return sorted({maximum, *(2**n for n in range(maximum.bit_length()))})


Measure = Callable[[Candidate, float], float]


def measure_in_turns(
    candidates: tuple[Candidate, ...], seconds: float, measure: Measure, clock: Callable[[], float] = time.monotonic
) -> Iterator[Slice]:
    """Measure all candidates round after round, at least one round, while another round fits into `seconds`.

    Every second round goes backwards, so that no candidate always follows the same one.
    `measure(candidate, seconds)` returns steps per second.
    """
    start = clock()
    slice_seconds = min(LONGEST_SLICE, seconds / (ROUNDS * len(candidates)))
    for number in count():
        round_start = clock()
        for candidate in reversed(candidates) if number % 2 else candidates:
            rate = measure(candidate, slice_seconds)
            yield Slice(candidate, rate, clock() - start)
        now = clock()
        if now + (now - round_start) > start + seconds:
            return


class Bench:
    """Measures the candidates of a plan: `bench(candidate, seconds)` returns steps per second of a new trainer."""

    def __init__(self, plan: Plan) -> None:
        settings, train = plan.settings, plan.settings.train
        self.settings = settings
        self.streams = text.streams(plan.part, train.batch_size, train.seq_length)
        self.networks = {
            name: model.build(settings.model, len(plan.corpus.vocabulary), where)
            for name, where in plan.backends.items()
        }
        self.weights = model.initial_weights(self.networks["cpu"], settings.model, seeds.stream(train.seed, "weights"))

    def __call__(self, candidate: Candidate, seconds: float) -> float:
        """Return steps per second; memory and processes are released afterwards, also when interrupted."""
        network, train = self.networks[candidate.device], replace(self.settings.train, shards=candidate.shards)
        settings = replace(self.settings, train=train)
        with backend.computing(network.backend, memory_advice="lower train.batch_size or model.hidden_size"):
            trainer = Trainer(settings, network, self.streams, ThreadPool(candidate.threads))
            try:
                for name, weights in self.weights.items():
                    trainer.params[name][...] = network.backend.from_host(weights, network.dtype)
                warm_up(trainer)
                return pace(trainer, seconds)
            finally:
                trainer.close()


def summarize(plan: Plan, slices: Iterable[Slice]) -> Result:
    """Return the median rate of every candidate and which one is best. Every candidate needs at least one slice."""
    measured: dict[Candidate, list[float]] = {candidate: [] for candidate in plan.candidates}
    for measurement in slices:
        measured[measurement.candidate].append(measurement.rate)
    rates = {candidate: median(values) for candidate, values in measured.items()}
    winner, train = best_of(rates, plan.current), plan.settings.train
    rows = tuple(
        Row(
            **asdict(candidate),
            steps_per_second=rate,
            chars_per_second=rate * train.batch_size * train.seq_length,
            relative=rate / rates[plan.current],
            current=candidate == plan.current,
            equal=rate >= lowest_equal_rate(rates),
            best=candidate == winner,
        )
        for candidate, rate in rates.items()
    )
    return Result(plan, rows, winner)


def best_of(rates: dict[Candidate, float], current: Candidate) -> Candidate:
    """Return `current` if its rate equals the fastest; else, of the equal ones, that with fewest shards and threads."""
    equal = {candidate: rate for candidate, rate in rates.items() if rate >= lowest_equal_rate(rates)}
    if current in equal:
        return current
    return min(equal, key=lambda candidate: (candidate.shards, candidate.threads, -equal[candidate]))


def lowest_equal_rate(rates: dict[Candidate, float]) -> float:
    """Return the lowest rate that counts as equal to the fastest."""
    return max(rates.values()) * (1 - TOLERANCE)


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Raise `ConfigError` if a configuration cannot be written to `path`, or if a file would be replaced unasked."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigError(f"cannot write {path}: there is no directory {path.parent}") from None
        return
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ConfigError(f"cannot write {path}: it is not a regular file; choose another name")
    if not overwrite:
        raise ConfigError(f"{path} already exists: add --overwrite to replace it, or choose another name")


def write_configuration(path: Path, result: Result, *, overwrite: bool) -> None:
    """Write the whole configuration, with the recommended changes, to `path`.

    The file appears complete or not at all. Raises `ConfigError` where it cannot be written.
    """
    check_writable(path, overwrite=overwrite)
    content = config.dump(config.build(config.merged(result.plan.table, result.changes)))
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    try:
        mode = target.stat().st_mode if target.exists() else None
        files.write_atomically(target, content.encode())
        if mode is not None:
            target.chmod(mode)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
