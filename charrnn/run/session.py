"""Prepare the run that a request asks for, and yield its events after they are recorded in the run directory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from charrnn import backend, checkpoint, config
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config
from charrnn.evaluation.baselines import Baselines
from charrnn.model import Network, build
from charrnn.run import logs, recorder
from charrnn.run.baselines import count, split_to_count, with_baselines
from charrnn.run.corpus import read_text
from charrnn.run.finetuning import Source
from charrnn.run.request import Earlier, Request, check_changes, find_earlier, plans_steps, requested
from charrnn.run.resolve import plan_steps, resolve, start
from charrnn.text import Corpus, Vocabulary
from charrnn.training.events import Event
from charrnn.training.loop import Loop
from charrnn.training.state import new_progress, restore, restored_progress
from charrnn.training.step import Trainer


@dataclass(frozen=True)
class Session:
    """A run that is ready to train.

    Attributes:
        config: the resolved configuration: another run with it repeats this run.
        corpus: the text.
        network: the shape of the network and its device.
        notices: lines for the user about what was decided.
        finished: whether all planned steps were done before, or patience had ended the run.
        loop: the training loop.
        out: the run directory, if there is one.
        earlier: what was in `out` before.
        copy_text: whether the text is in no file, so that `out` keeps a copy.
        baselines: of the text, if they were counted before the steps were planned.
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
    baselines: Baselines | None = None
    seconds: float = 0.0

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that this run continues from; None for a new run."""
        return self.earlier.checkpoint

    def events(self) -> Generator[Event, None, None]:
        """Train, and yield each event after it is recorded in the run directory. A finished run has no events."""
        if self.finished:
            if self.out is not None and self.checkpoint is not None:
                meta, marks = self.checkpoint.meta, self.earlier.marks
                recorder.remove_old_of_finished(self.out, self.config.log, meta, marks)
            return
        try:
            with backend.explain_out_of_memory(self.network.backend, resumed=self.checkpoint is not None):
                yield from self.loop.events() if self.out is None else self.recorded(self.out)
        finally:
            self.loop.trainer.close()

    def recorded(self, out: Path) -> Iterator[Event]:
        """Yield the events of the loop and the baselines, after each is recorded in `out`."""
        meta = self.checkpoint.meta if self.checkpoint else None
        text = self.corpus if self.copy_text else None
        with recorder.Recorder(out, self.config, meta, text, self.earlier.marks) as record:
            for event in with_baselines(self.loop, out, self.baselines):
                record.record(event)
                yield event


def prepare(request: Request) -> Session:
    """Read, resolve, and start or restore the run that `request` asks for. Write nothing before the first event.

    Raises `CharrnnError` for anything that does not fit.
    """
    earlier = find_earlier(request)
    saved = earlier.checkpoint
    wanted = requested(request, earlier)
    text = read_text(request, wanted.table, saved, wanted.source)
    complete = config.build(config.merged(wanted.table, text.table))
    choice = device(complete, fallback=request.fallback)
    resolved = resolve(complete, text.corpus, choice.backend)
    changes = check_changes(saved.meta.config, resolved.config) if saved else ()
    planned, seconds, baselines = plans_steps(request, earlier), 0.0, None
    with backend.explain_out_of_memory(choice.backend, resumed=saved is not None):
        network = build(resolved.config.model, len(text.corpus.vocabulary), choice.backend)
        thread_pool = choice.backend.thread_pool(request.threads)
        start_trainer = partial(start, network=network, part=resolved.train, thread_pool=thread_pool)
        if planned:
            if request.out is not None:  # now, so that the plan knows how much time is left
                baselines = count(split_to_count(resolved.config, text.corpus, resolved.validation))
            seconds = request.seconds_left()
            resolved = plan_steps(resolved, start_trainer(resolved.config), seconds)
        trainer = start_trainer(resolved.config)
        copied = initialize(trainer, text.corpus.vocabulary, saved, wanted.source)
    progress = new_progress(len(text.corpus.vocabulary))
    if saved is not None:
        progress = restored_progress(saved.meta, logs.seconds(request.out) if request.out else 0.0)
    elif wanted.source is not None:
        progress.smooth_loss = wanted.source.saved.meta.smooth_loss  # a better estimate than ln V
    should_stop = partial(request.reason_to_stop, planned=planned)
    settings, validation = resolved.config, resolved.validation
    loop = Loop(settings, text.corpus, validation, trainer, progress, saved is not None, should_stop)
    finished = saved is not None and (trainer.done >= settings.train.steps or loop.out_of_patience)
    before = (*earlier.notices, *wanted.notices, choice.reason)
    damaged = () if finished else unread_checkpoints(request.out, saved)
    return Session(
        config=settings,
        corpus=text.corpus,
        network=network,
        notices=(*before, *text.notices, *resolved.notices, *changes, *copied, *damaged),
        finished=finished,
        loop=loop,
        out=request.out,
        earlier=earlier,
        copy_text=text.copied,
        baselines=baselines,
        seconds=seconds,
    )


def initialize(
    trainer: Trainer, vocabulary: Vocabulary, saved: Checkpoint | None, source: Source | None
) -> tuple[str, ...]:
    """Restore the checkpoint of a run that is resumed, or copy the weights of the source. Return lines for the user."""
    notices = []
    if reason := trainer.pool.fallback_reason():
        notices.append(f"the steps run on threads, not processes, which is slower: {reason}")
    if saved is not None:
        restore(trainer, saved)
    elif source is not None:
        source.copy_weights(trainer, vocabulary)
        notices.append(source.notice(vocabulary, trainer.config.model.dtype))
    return tuple(notices)


def device(wanted: Config, *, fallback: bool = True) -> backend.Choice:
    """Return the backend that a configuration asks for: see `backend.choose`."""
    train, limit = wanted.train, config.size(wanted.train.gpu_memory_limit) or 0
    return backend.choose(train.device, fallback=fallback, precision=train.precision, memory=limit)


def unread_checkpoints(out: Path | None, saved: Checkpoint | None) -> tuple[str, ...]:
    """Return a line for each checkpoint after `saved`, which cannot be read and is renamed when training continues."""
    if out is None or saved is None:
        return ()
    paths = checkpoint.quarantine_paths(out, saved.meta.step)
    return tuple(f"{path} is not used: it is kept as {kept.name}" for path, kept in paths)
