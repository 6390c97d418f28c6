"""A run from request to events: what was asked for, resolved, started or resumed, and recorded on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from charrnn import backend, checkpoint, config, text
from charrnn.checkpoint import Checkpoint, Marks
from charrnn.config import Config, Table
from charrnn.errors import ConfigError
from charrnn.model import Network, build
from charrnn.text import Corpus
from charrnn.training import beside, finetuning, logs, memory, record, runs
from charrnn.training.corpus import documents, read_corpus, recorded_files
from charrnn.training.events import Event
from charrnn.training.loop import Loop
from charrnn.training.progress import progress_of
from charrnn.training.resolve import plan_steps, resolved, restored, start

FREE_TO_CHANGE = {
    *("train.steps", "train.patience", "train.device", "train.gpu_memory_limit"),
    *("data.files", "data.encoding"),
}
"""What a resumed run may do differently. The text itself is compared by its hash."""


@dataclass(frozen=True)
class Request:
    """What a user asks of `train`.

    Attributes:
        files: names of texts, `-` for standard input; empty: those of the configuration, else the embedded corpus.
        text: the text itself, in place of files.
        preset: the table of a configuration file.
        options: the table of everything said besides; it lies on top.
        out: the run directory; None: nothing is written.
        resume: go on with the run in `out`.
        overwrite: replace it.
        fallback: whether a CUDA device that cannot be used gives way to the CPU.
        threads: workers; 0: one for each core.
        minutes: after which training ends, from `began`.
        stop_after: save and stop after so many steps of this process.
        began: `time.monotonic()` at the start of the command.
        interrupted: asked after each step: whether to save and stop.
    """

    files: tuple[str, ...] = ()
    text: str | None = None
    preset: Table = field(default_factory=dict)
    options: Table = field(default_factory=dict)
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    fallback: bool = True
    threads: int = 0
    minutes: float | None = None
    stop_after: int | None = None
    began: float = field(default_factory=time.monotonic)
    interrupted: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        if self.text is not None and self.files:
            raise ConfigError("text and files exclude each other")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise ConfigError(f"--minutes must be above 0 and below a million, not {self.minutes}")
        if self.stop_after is not None and self.stop_after < 1:
            raise ConfigError(f"--stop-after must be at least 1, not {self.stop_after}")
        if self.threads < 0:
            raise ConfigError(f"--threads must be 1 or more, or 0 for one a core, not {self.threads}")
        if self.resume and self.overwrite:
            raise ConfigError("--resume and --overwrite exclude each other")
        if self.out is not None:
            text.check_name(str(self.out.absolute()))
        if self.resume and self.out is None:
            raise ConfigError("--resume needs the run directory: add --out DIR")


@dataclass(frozen=True)
class Session:
    """A run that is ready to go on.

    Attributes:
        config: resolved: a rerun with it repeats the run.
        corpus: the text.
        network: the shape and device.
        notices: lines for the user about what was decided.
        finished: whether the planned steps were done before, or the patience was at its end.
        loop: what trains.
        out: the run directory, if there is one.
        checkpoint: what was resumed, if anything.
        loose: whether the text is in no file and has to be kept in the run directory.
        within: makes a context in which exhausted memory is an error that says what would fit.
        seen: the checkpoints that were in `out` before.
        seconds: which the steps were planned to take; 0 where nobody planned them.
    """

    config: Config
    corpus: Corpus
    network: Network
    notices: tuple[str, ...]
    finished: bool
    loop: Loop
    out: Path | None
    checkpoint: Checkpoint | None
    loose: bool
    within: Callable[[], AbstractContextManager[None]]
    seen: Marks = field(default_factory=list)
    seconds: float = 0.0

    def events(self) -> Iterator[Event]:
        """Train; each event is recorded in the run directory before it is yielded. A finished run has none."""
        if self.finished:
            if self.out is not None and self.checkpoint is not None:
                record.finish(self.out, self.config.log, self.checkpoint.meta, self.seen)
            return
        try:
            with self.within():
                yield from self.loop.events() if self.out is None else self.recorded(self.out)
        finally:
            self.loop.trainer.close()

    def recorded(self, out: Path) -> Iterator[Event]:
        """The loop's events, and those from beside it."""
        meta = self.checkpoint.meta if self.checkpoint else None
        with record.Recorder(out, self.config, meta, self.corpus if self.loose else None, self.seen) as recorder:
            for event in beside.events(self.loop):
                recorder.record(event)
                yield event


def prepare(request: Request) -> Session:
    """Read, resolve, and start or restore what `request` asks for; nothing is written before the first event.

    Raises `CharrnnError` for whatever does not fit.
    """
    if not request.resume:  # before anyone is told to overwrite it
        finetuning.apart(config.merged(request.preset, request.options), request.out)
    if request.out is not None:
        runs.check(request.out, overwrite=request.overwrite, resume=request.resume)
    seen = checkpoint.marks(request.out) if request.out else []
    found = checkpoint.last(request.out, resumed=True) if request.resume and request.out else None
    saved = found[1] if found else None
    notices = list(found[2]) if found else [f"no checkpoint in {request.out} yet: starting"] * request.resume
    table = said(request, saved, notices)
    check_resumed(request, table)
    source = finetuning.source(table, request.out, notices) if saved is None else None
    table = source.shaped(table) if source else table
    recorded = "files" not in config.merged(request.preset, request.options).get("data", {})
    corpus = read_corpus(request.text, request.files, request.out, table, saved, recorded=recorded)
    corpus = source.widened(corpus, table) if source else corpus
    files, loose = recorded_files(request.text, request.files, request.out, table)
    if request.out is not None:
        runs.apart(request.out, files)
    data = {"files": files} | ({"encoding": "utf-8"} if loose else {})
    wanted = config.build(config.merged(table, {"data": data}))
    choice = device(wanted, fallback=request.fallback)
    notices.append(choice.reason)
    notices += documents(corpus, wanted.data.document_separator)
    settings, train, validation = resolved(wanted, corpus, choice.backend, notices)
    if saved is not None:
        check_unchanged(saved.meta.config, settings)
    network = build(settings.model, len(corpus.vocabulary), choice.backend)
    workers = choice.backend.workers(request.threads)
    progress = progress_of(saved, len(corpus.vocabulary), logs.seconds(request.out) if request.out else 0.0)
    free, known, left = choice.backend.free_bytes(), len(corpus.vocabulary), 0.0
    plans = planned(request)
    within = partial(memory.within, choice.backend, settings, known, free=free, resumed=saved is not None)
    with within():
        trainer = start(settings, network, train, workers)
        if saved is not None:
            restored(trainer, saved)
        elif source is not None:
            source.give(trainer, corpus.vocabulary)
            notices.append(source.notice(corpus.vocabulary, settings.model.dtype))
            progress.smooth_loss = source.saved.meta.smooth_loss  # what to expect of it, rather than ln V
        if saved is None and plans:
            assert request.minutes is not None
            left = request.minutes * 60 - (time.monotonic() - request.began)
            settings = plan_steps(settings, start(settings, network, train, workers), validation, left, notices)
            trainer.config = settings
    loop = Loop(settings, corpus, validation, trainer, progress, saved is not None, stopper(request, plans))
    finished = saved is not None and (trainer.done >= settings.train.steps or loop.out_of_patience)
    if saved is not None and request.out is not None and not finished:
        kept = checkpoint.aside(request.out, saved.meta.step)
        notices += [f"{path} is not used: it is kept as {name.name}" for path, name in kept]
    lines, out = tuple(notices), request.out
    return Session(settings, corpus, network, lines, finished, loop, out, saved, loose, within, seen, left)


def device(wanted: Config, *, fallback: bool = True) -> backend.Choice:
    """The backend that a configuration asks for: see `backend.choose`."""
    train, limit = wanted.train, config.size(wanted.train.gpu_memory_limit) or 0
    return backend.choose(train.device, fallback=fallback, precision=train.precision, memory=limit)


def said(request: Request, saved: Checkpoint | None, notices: list[str]) -> Table:
    """Everything said about the run: when it was started, in the preset, and besides."""
    preset, options = request.preset, request.options
    if saved is None:
        layers = finetuning.unpinned(preset), finetuning.unpinned(options)
    else:
        notices += finetuning.passed_over(config.merged(preset, options), saved.meta.config)
        layers = finetuning.without(config.merged({"train": {}}, preset)), finetuning.without(options)
        # The planned total was decided at the start, perhaps from --minutes; only --steps changes it.
        layers[0]["train"].pop("steps", None)
    return config.merged(recorded_table(request, saved), *layers)


def check_resumed(request: Request, table: Table) -> None:
    """Raise `ConfigError` where what is to be resumed is not there, and no text says that it should be started."""
    named = request.files or request.text is not None or table.get("data", {}).get("files")
    if request.resume and request.out is not None and not request.out.exists() and not named:
        raise ConfigError(f"there is no run {request.out} to resume: name a text to start one there")


def planned(request: Request) -> bool:
    """Whether the planned total comes from `minutes`: nobody says it, and no start of this run has written it down."""
    begun = request.resume and request.out is not None and runs.started(request.out)
    return request.minutes is not None and not begun and "steps" not in request.options.get("train", {})


def recorded_table(request: Request, saved: Checkpoint | None) -> Table:
    """What the run in `out` was started with: from its checkpoint, or its config.toml if it has none yet."""
    if saved is not None:
        return config.table(saved.meta.config)
    if request.resume and request.out and runs.started(request.out):
        return config.read(str(request.out / record.CONFIG))
    return {}


def check_unchanged(recorded: Config, wanted: Config) -> None:
    """Raise `ConfigError` naming every key in which a resumed run would differ."""
    before, after = config.table(recorded), config.table(wanted)
    changes = [
        f"{section}.{key} (the run has {before[section][key]!r}, not {value!r})"
        for section, values in after.items()
        for key, value in values.items()
        if value != before[section][key] and f"{section}.{key}" not in FREE_TO_CHANGE
    ]
    if changes:
        raise ConfigError("--resume cannot change " + ", ".join(changes) + ": leave it out, or start a new run")


def stopper(request: Request, plans: bool) -> Callable[[int], str | None]:
    """Why to stop after so many steps of this process, or None; `plans`: whether they were planned from `minutes`."""

    def reason(steps: int) -> str | None:
        if request.interrupted():
            return "interrupted"
        if request.stop_after is not None and steps >= request.stop_after:
            return "stop_after"
        if request.minutes is not None and time.monotonic() - request.began >= request.minutes * 60:
            return "minutes" if plans else "time"
        return None

    return reason
