"""From a request to the events of a run, each of them recorded in the run directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from charrnn import backend, checkpoint, config
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config
from charrnn.model import Network, build
from charrnn.run import finetuning, logs, recorder
from charrnn.run.baselines import counting_seconds, with_baselines
from charrnn.run.corpus import read_text
from charrnn.run.request import Earlier, Request, check_changes, find_earlier, plans_steps, requested_table
from charrnn.run.resolve import plan_steps, resolve, start
from charrnn.text import Corpus
from charrnn.training.events import Event
from charrnn.training.loop import Loop
from charrnn.training.state import new_progress, restore, restored_progress


@dataclass(frozen=True)
class Session:
    """A run that is ready to train.

    Attributes:
        config: resolved: another run with it repeats this run.
        corpus: the text.
        network: the shape and device.
        notices: lines for the user about what was decided.
        finished: whether all planned steps were done before, or patience had ended the run.
        loop: trains.
        out: the run directory, if there is one.
        earlier: what was in `out` before.
        copy_text: whether the text is in no file, so that `out` keeps a copy.
        seconds: the time that the steps were planned for; 0 if they were not planned.
    """

    config: Config
    corpus: Corpus
    network: Network
    notices: tuple[str, ...]
    finished: bool
    loop: Loop
    out: Path | None
    earlier: Earlier
    copy_text: bool
    seconds: float = 0.0

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint from which this run goes on."""
        return self.earlier.checkpoint

    def events(self) -> Iterator[Event]:
        """Train, and yield each event after it is recorded in the run directory. A finished run has no events."""
        if self.finished:
            if self.out is not None and self.checkpoint is not None:
                meta, marks = self.checkpoint.meta, self.earlier.marks
                recorder.remove_old_of_finished(self.out, self.config.log, meta, marks)
            return
        try:
            with backend.explain_out_of_memory(self.network.backend, resumed=self.checkpoint is not None):
                yield from with_baselines(self.loop, None) if self.out is None else self.recorded(self.out)
        finally:
            self.loop.trainer.close()

    def recorded(self, out: Path) -> Iterator[Event]:
        """Yield the events of the loop and the baselines, after each is recorded in `out`."""
        meta = self.checkpoint.meta if self.checkpoint else None
        text = self.corpus if self.copy_text else None
        with recorder.Recorder(out, self.config, meta, text, self.earlier.marks) as record:
            for event in with_baselines(self.loop, out):
                record.record(event)
                yield event


def prepare(request: Request) -> Session:
    """Read, resolve, and start or restore the run that `request` asks for. Write nothing before the first event.

    Raises `CharrnnError` for anything that does not fit.
    """
    earlier = find_earlier(request)
    saved = earlier.checkpoint
    table, request_notices = requested_table(request, earlier)
    source = finetuning.find_source(table, request.out) if saved is None else None
    table = source.complete(table) if source else table
    text = read_text(request, table, saved)
    corpus = source.widen(text.corpus, table) if source else text.corpus
    wanted = config.build(config.merged(table, text.table))
    choice = device(wanted, fallback=request.fallback)
    resolved = resolve(wanted, corpus, choice.backend)
    settings, V = resolved.config, len(corpus.vocabulary)
    change_notices = check_changes(saved.meta.config, settings) if saved else ()
    network = build(settings.model, V, choice.backend)
    thread_pool = choice.backend.thread_pool(request.threads)
    begin = partial(start, network=network, part=resolved.train, thread_pool=thread_pool)
    seconds_before = logs.seconds(request.out) if request.out else 0.0
    progress = restored_progress(saved.meta, seconds_before) if saved else new_progress(V)
    planned, seconds, start_notices = plans_steps(request, earlier), 0.0, []
    with backend.explain_out_of_memory(choice.backend, resumed=saved is not None):
        if planned and request.minutes is not None:
            seconds = request.minutes * 60 - (time.monotonic() - request.began)
            left = seconds - counting_seconds(settings, corpus, resolved.validation)
            steps, notice = plan_steps(settings, begin(settings), resolved.validation, left)
            settings = replace(settings, train=replace(settings.train, steps=steps))
            start_notices.append(notice)
        trainer = begin(settings)
        if reason := trainer.pool.fallback_reason():
            start_notices.append(f"the steps run on threads, not processes, which is slower: {reason}")
        if saved is not None:
            restore(trainer, saved)
        elif source is not None:
            source.copy_weights(trainer, corpus.vocabulary)
            start_notices.append(source.notice(corpus.vocabulary, settings.model.dtype))
            progress.smooth_loss = source.saved.meta.smooth_loss  # what to expect of it, rather than ln V
    should_stop = partial(request.reason_to_stop, planned=planned)
    loop = Loop(settings, corpus, resolved.validation, trainer, progress, saved is not None, should_stop)
    finished = saved is not None and (trainer.done >= settings.train.steps or loop.out_of_patience)
    notices = (
        *earlier.notices,
        *request_notices,
        *(source.notices if source else ()),
        choice.reason,
        *text.notices,
        *resolved.notices,
        *change_notices,
        *start_notices,
        *(() if finished else unread_checkpoints(request.out, saved)),
    )
    return Session(settings, corpus, network, notices, finished, loop, request.out, earlier, text.copied, seconds)


def device(wanted: Config, *, fallback: bool = True) -> backend.Choice:
    """Return the backend that a configuration asks for: see `backend.choose`."""
    train, limit = wanted.train, config.size(wanted.train.gpu_memory_limit) or 0
    return backend.choose(train.device, fallback=fallback, precision=train.precision, memory=limit)


def unread_checkpoints(out: Path | None, saved: Checkpoint | None) -> list[str]:
    """Return a line for each checkpoint after `saved`, which cannot be read and is renamed when training goes on."""
    if out is None or saved is None:
        return []
    paths = checkpoint.quarantine_paths(out, saved.meta.step)
    return [f"{path} is not used: it is kept as {kept.name}" for path, kept in paths]
