"""Which shards, threads and device are fastest for a configuration here: real steps of each, in turns, and medians.

Everything that is compared starts from the same weights and trains on the same text. Nothing outlives its slice of
time: no helper process, no thread, no workspace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from charrnn import backend, config, model, seeds, text
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
"""Rounds for which the time is meant to suffice."""
LONGEST = 0.4
"""Seconds of a slice at most: short ones, in many rounds, spread whatever else the machine does over everyone."""


@dataclass(frozen=True)
class Candidate:
    """A way to compute the steps: on which device, in how many shards, by how many threads."""

    device: str
    shards: int
    threads: int


@dataclass(frozen=True)
class Slice:
    """What a candidate did in one slice of time: steps per second; `elapsed` seconds since the first slice began."""

    candidate: Candidate
    rate: float
    elapsed: float


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        table: the configuration as it was said.
        settings: the same, resolved: the shape that is measured.
        corpus: the text; `part` is what is trained on.
        backends: those that can compute, by name.
        missing: of each CUDA device that cannot: why.
        candidates: what is compared.
        current: which of them the configuration is now.
        seconds: for how long to measure, about.
        notices: lines for the user about what was decided.
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


def plan(request: Request, seconds: float) -> Plan:
    """Read the text and find out what there is to compare; files, preset, options and fallback of `request` count.

    `train.device = "cpu"` keeps GPUs out. Raises `CharrnnError` for whatever does not fit.
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
    resolved = resolve(wanted, corpus, choice.backend)
    settings, part = resolved.config, resolved.train
    reason = [choice.reason] if choice.fell_back else []
    gpus = backend.gpus() if wanted.train.device != "cpu" else {}
    usable = [name for name, trouble in gpus.items() if trouble is None]
    shards, cores = settings.train.shards, backend.cores()
    on_gpus = {name: Candidate(name, 1, 1) for name in usable}
    return Plan(
        table,
        settings,
        corpus,
        part,
        {name: device(replace(wanted, train=replace(wanted.train, device=name))).backend for name in ("cpu", *usable)},
        {name: trouble for name, trouble in gpus.items() if trouble is not None},
        (*on_cpu(cores, settings.train.batch_size, shards), *on_gpus.values()),
        on_gpus.get(choice.backend.name, Candidate("cpu", shards, min(shards, cores))),
        seconds,
        (*(source.notices if source else ()), *reason, *resolved.notices),
    )


def on_cpu(cores: int, batch_size: int, configured: int) -> tuple[Candidate, ...]:
    """Shards 1, 2, 4, ... up to the cores or streams, and those configured, each by 1, 2, 4, ... threads."""
    shards = sorted({*doubling(min(cores, batch_size)), configured})
    return tuple(Candidate("cpu", n, threads) for n in shards for threads in doubling(min(n, cores)))


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... and `most`, ascending."""
    return sorted({most, *(2**n for n in range(most.bit_length()))})


Measure = Callable[[Candidate, float], float]


def slices(
    candidates: tuple[Candidate, ...], seconds: float, measure: Measure, clock: Callable[[], float] = time.monotonic
) -> Iterator[Slice]:
    """Measure every candidate in turn, round after round, as long as another round fits into `seconds`; once at least.

    Every other round goes backwards, so that nobody always follows the same one. `measure` gives the steps per second
    of a candidate over about the seconds it is given.
    """
    began = clock()
    each = min(LONGEST, seconds / (ROUNDS * len(candidates)))
    for number in count():
        started = clock()
        for candidate in reversed(candidates) if number % 2 else candidates:
            rate = measure(candidate, each)
            yield Slice(candidate, rate, clock() - began)
        if 2 * clock() - started > began + seconds:
            return


class Bench:
    """Measures candidates of a plan: `bench(candidate, seconds)` is the steps per second of a trainer made for it."""

    def __init__(self, plan: Plan) -> None:
        settings, train = plan.settings, plan.settings.train
        self.settings = settings
        self.streams = text.streams(plan.part, train.batch_size, train.seq_length)
        self.networks = {
            name: model.build(settings.model, len(plan.corpus.vocabulary), backend)
            for name, backend in plan.backends.items()
        }
        self.weights = model.initial_weights(self.networks["cpu"], settings.model, seeds.stream(train.seed, "weights"))

    def __call__(self, candidate: Candidate, seconds: float) -> float:
        """Steps per second, in memory and processes that are then given back, whatever happens."""
        network, train = self.networks[candidate.device], replace(self.settings.train, shards=candidate.shards)
        network.backend.use()
        trainer = Trainer(replace(self.settings, train=train), network, self.streams, ThreadPool(candidate.threads))
        try:
            for name, weights in self.weights.items():
                trainer.params[name][...] = network.backend.from_host(weights, network.dtype)
            warm_up(trainer)
            return pace(trainer, seconds)
        finally:
            trainer.close()
