"""A run from request to events: resolved, started or resumed, and recorded on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from charrnn import backend, checkpoint, config
from charrnn.checkpoint import Checkpoint, Marks
from charrnn.config import Config, Table
from charrnn.model import Network, build
from charrnn.run import directory, finetuning, logs, recorder
from charrnn.run.baselines import counting_seconds, with_baselines
from charrnn.run.corpus import documents, read_corpus, recorded_files
from charrnn.run.request import Request, check_resumed, check_unchanged, plans_steps, requested, stopper
from charrnn.run.resolve import plan_steps, resolved, start
from charrnn.text import Corpus
from charrnn.training.events import Event
from charrnn.training.loop import Loop
from charrnn.training.state import new_progress, restore, restored_progress


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
    seen: Marks = field(default_factory=list)
    seconds: float = 0.0

    def events(self) -> Iterator[Event]:
        """Train; each event is recorded in the run directory before it is yielded. A finished run has none."""
        if self.finished:
            if self.out is not None and self.checkpoint is not None:
                recorder.finish(self.out, self.config.log, self.checkpoint.meta, self.seen)
            return
        try:
            with backend.explain_out_of_memory(self.network.backend, resumed=self.checkpoint is not None):
                yield from with_baselines(self.loop, None) if self.out is None else self.recorded(self.out)
        finally:
            self.loop.trainer.close()

    def recorded(self, out: Path) -> Iterator[Event]:
        """Yield the events of the loop and the run's baselines, each after it is recorded in `out`."""
        meta = self.checkpoint.meta if self.checkpoint else None
        with recorder.Recorder(out, self.config, meta, self.corpus if self.loose else None, self.seen) as record:
            for event in with_baselines(self.loop, out):
                record.record(event)
                yield event


def prepare(request: Request) -> Session:
    """Read, resolve, and start or restore what `request` asks for; nothing is written before the first event.

    Raises `CharrnnError` for whatever does not fit.
    """
    out = request.out
    if not request.resume:  # before anyone is told to overwrite it
        finetuning.apart(config.merged(request.preset, request.options), out)
    if out is not None:
        directory.check(out, overwrite=request.overwrite, resume=request.resume)
    seen = checkpoint.marks(out) if out else []
    found = checkpoint.last(out, resumed=True) if request.resume and out else None
    saved = found[1] if found else None
    notices = list(found[2]) if found else []
    if request.resume and not found:
        notices.append(f"no checkpoint in {out} yet: starting")
    table = requested(request, saved, notices)
    check_resumed(request, table)
    source = finetuning.source(table, out, notices) if saved is None else None
    table = source.shaped(table) if source else table
    corpus, data, loose = text_of(request, table, source, saved)
    wanted = config.build(config.merged(table, {"data": data}))
    choice = device(wanted, fallback=request.fallback)
    notices += [choice.reason, *documents(corpus, wanted.data.document_separator)]
    settings, train, validation = resolved(wanted, corpus, choice.backend, notices)
    if saved is not None:
        check_unchanged(saved.meta.config, settings)
    known = len(corpus.vocabulary)
    network = build(settings.model, known, choice.backend)
    seconds = logs.seconds(out) if out else 0.0
    progress = restored_progress(saved.meta, seconds) if saved else new_progress(known)
    plans, left = plans_steps(request), 0.0
    with backend.explain_out_of_memory(choice.backend, resumed=saved is not None):
        begin = partial(start, network=network, part=train, thread_pool=choice.backend.thread_pool(request.threads))
        trainer = begin(settings)
        if reason := trainer.pool.fallback_reason():
            notices.append(f"the steps run on threads, not processes, which is slower: {reason}")
        if saved is not None:
            restore(trainer, saved)
        elif source is not None:
            source.give(trainer, corpus.vocabulary)
            notices.append(source.notice(corpus.vocabulary, settings.model.dtype))
            progress.smooth_loss = source.saved.meta.smooth_loss  # what to expect of it, rather than ln V
        if saved is None and plans and request.minutes is not None:
            left = request.minutes * 60 - (time.monotonic() - request.began)
            left -= counting_seconds(settings, corpus, validation)
            settings = plan_steps(settings, begin(settings), validation, left, notices)
            trainer.config = settings
    loop = Loop(settings, corpus, validation, trainer, progress, saved is not None, stopper(request, plans))
    finished = saved is not None and (trainer.done >= settings.train.steps or loop.out_of_patience)
    if saved is not None and out is not None and not finished:
        kept = checkpoint.quarantine_paths(out, saved.meta.step)
        notices += [f"{path} is not used: it is kept as {name.name}" for path, name in kept]
    return Session(settings, corpus, network, tuple(notices), finished, loop, out, saved, loose, seen, left)


def text_of(
    request: Request, table: Table, source: finetuning.Source | None, saved: Checkpoint | None
) -> tuple[Corpus, dict[str, Any], bool]:
    """The text to learn, what the configuration says of it, and whether it is in no file."""
    recorded = "files" not in config.merged(request.preset, request.options).get("data", {})
    corpus = read_corpus(request.text, request.files, request.out, table, saved, recorded=recorded)
    corpus = source.widened(corpus, table) if source else corpus
    files, loose = recorded_files(request.text, request.files, request.out, table)
    if request.out is not None:
        directory.apart(request.out, files)
    return corpus, {"files": files} | ({"encoding": "utf-8"} if loose else {}), loose


def device(wanted: Config, *, fallback: bool = True) -> backend.Choice:
    """The backend that a configuration asks for: see `backend.choose`."""
    train, limit = wanted.train, config.size(wanted.train.gpu_memory_limit) or 0
    return backend.choose(train.device, fallback=fallback, precision=train.precision, memory=limit)
