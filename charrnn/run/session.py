"""Prepare the run that a request asks for, and yield its events after they are recorded in the run directory."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from charrnn import backend, checkpoint, config
from charrnn.backend import Ranks
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config
from charrnn.evaluation.baselines import Baselines
from charrnn.model import Network, build
from charrnn.run import automatic, environment, logs, recorder
from charrnn.run.baselines import count, split_to_count, with_baselines
from charrnn.run.corpus import read_text
from charrnn.run.finetuning import Source
from charrnn.run.request import Earlier, Request, check_changes, find_earlier, plans_steps, requested
from charrnn.run.resolve import plan_steps, resolve, start, step_seconds
from charrnn.run.testing import with_test
from charrnn.text import Corpus, Vocabulary
from charrnn.training.events import Event
from charrnn.training.loop import Loop
from charrnn.training.state import new_progress, restore, restored_progress
from charrnn.training.step import Trainer

LEAST_MEASURED = 10.0
"""Seconds of training for which the speed of the machine is measured before a network is chosen."""
PATHS = {"data.files", "data.val_files", "data.test_files", "train.init_from", "train.device"}
"""Keys that may differ among the ranks of a run. Texts and weights are compared by their hashes."""


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
        copies: the texts of which `out` keeps copies, by the names of these.
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
    copies: Mapping[str, Corpus]
    baselines: Baselines | None = None
    seconds: float = 0.0

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that this run continues from; None for a new run."""
        return self.earlier.checkpoint

    def events(self) -> Generator[Event]:
        """Train, and yield each event after it is recorded in the run directory. A finished run has no events.

        Raises `DeviceError` if the device fails; the run is then safe at its last checkpoint.
        """
        owner = self.loop.trainer.ranks.is_first
        if self.finished:
            if owner and self.out is not None and self.checkpoint is not None:
                meta, marks = self.checkpoint.meta, self.earlier.marks
                recorder.remove_old_of_finished(self.out, self.config.log, meta, marks)
            return
        try:
            owned = self.out if owner else None
            events = self.recorded(owned) if owned else with_test(self.loop, self.loop.events(), self.out)
            device, resumed = self.network.backend, self.checkpoint is not None
            yield from backend.computed(device, events, memory_advice=memory_advice(resumed), saved=self.saved)
        finally:
            self.loop.trainer.close()

    def saved(self) -> str:
        """Return the end of an error message: from which step the run can continue."""
        step = max(checkpoint.steps(self.out), default=0) if self.out is not None else 0
        return f"; the run is saved up to step {step:,}: continue with --resume" if step else ""

    def recorded(self, out: Path) -> Generator[Event]:
        """Yield the events of the loop and the baselines, after each is recorded in `out`."""
        meta = self.checkpoint.meta if self.checkpoint else None
        described = environment.describe(self.network.backend, meta.step if meta else 0)
        ranks = self.loop.trainer.ranks.size
        described |= {"ranks": ranks} if ranks > 1 else {}
        with recorder.Recorder(out, self.config, meta, self.copies, self.earlier.marks, described) as record:
            for event in with_test(self.loop, with_baselines(self.loop, out, self.baselines), out):
                record.record(event)
                yield event


def prepare(request: Request) -> Session:
    """Read, resolve, and start or restore the run that `request` asks for. Write nothing before the first event.

    Raises `CharrnnError` for anything that does not fit.
    """
    ranks = request.ranks
    earlier = find_earlier(request)
    saved = earlier.checkpoint
    wanted = requested(request, earlier)
    text = read_text(request, wanted.table, saved, wanted.source)
    complete = config.build(config.merged(wanted.table, text.table))
    choice = device(complete, fallback=request.fallback, ranks=ranks)
    chosen = None
    if request.automatic and not earlier.table and wanted.source is None:
        chosen = choose_network(request, complete, text.corpus, choice.backend, wanted.table)
        complete = config.build(config.merged(chosen.table, text.table))
    with backend.computing(choice.backend):
        eval_every_is_set = "eval_every" in wanted.table.get("log", {})
        resolved = resolve(complete, text.corpus, choice.backend, eval_every_is_set=eval_every_is_set)
    changes = check_changes(saved.meta.config, resolved.config) if saved else ()
    if saved is not None and request.out is not None:
        changes += environment.changed_kernels(environment.read(request.out), choice.backend.facts())
    planned, seconds, baselines = plans_steps(request, earlier), 0.0, None
    computing = partial(backend.computing, choice.backend, memory_advice=memory_advice(saved is not None))
    with computing():
        network = build(resolved.config.model, len(text.corpus.vocabulary), choice.backend)
        thread_pool = choice.backend.thread_pool(ranks.threads(request.threads))
        start_trainer = partial(
            start,
            network=network,
            part=resolved.train,
            thread_pool=thread_pool,
            ranks=ranks,
            profile=request.profile,
        )
        early = list[Trainer]()
        if ranks.size > 1:  # all processes are started before MPI: the workers, and git
            early = [start_trainer(resolved.config) for _ in range(1 + planned)]
            for trainer in early:
                trainer.fork()
            environment.commit()
    ranks.meet(what_ranks_share(request, resolved.config, text.corpus, saved))
    with computing():
        if planned:
            if request.out is not None and ranks.is_first:  # now, so that the plan knows how much time is left
                split = resolved.train, resolved.validation
                baselines = count(split_to_count(resolved.config, text.corpus.vocabulary, *split))
            seconds = ranks.from_first(request.seconds_left())
            steps, line = plan_steps(resolved, early.pop() if early else start_trainer(resolved.config), seconds)
            lines: tuple[str, ...] = (line,)
            if chosen is None:
                complete = replace(complete, train=replace(complete.train, steps=steps))
            else:
                if chosen.is_enough and chosen.steps < steps:
                    steps, seconds, lines = chosen.steps, 0.0, ()  # `chosen` says why
                chosen = chosen.for_steps(steps)
                complete = config.build(config.merged(chosen.table, text.table))
            resolved = resolve(complete, text.corpus, choice.backend, eval_every_is_set=eval_every_is_set)
            resolved = replace(resolved, notices=(*resolved.notices, *lines))
        trainer = early.pop() if early else start_trainer(resolved.config)
        trainer.config = resolved.config
        copied = initialize(trainer, text.corpus.vocabulary, saved, wanted.source)
    progress = new_progress(len(text.corpus.vocabulary))
    if saved is not None:
        progress = restored_progress(saved.meta, logs.seconds(request.out) if request.out else 0.0)
    elif wanted.source is not None:
        progress.smooth_loss = wanted.source.saved.meta.smooth_loss  # a better estimate than ln V
    should_stop = partial(request.reason_to_stop, planned=planned)
    settings, parts = resolved.config, (resolved.train, resolved.validation, resolved.train_stretch)
    loop = Loop(settings, text.corpus, *parts, trainer, progress, saved is not None, should_stop)
    finished = saved is not None and (trainer.done >= settings.train.steps or loop.out_of_patience)
    before = (*earlier.notices, *wanted.notices, choice.reason, *(chosen.notices(request.minutes) if chosen else ()))
    damaged = () if finished else unread_checkpoints(request.out, saved)
    return Session(
        config=settings,
        corpus=text.corpus,
        network=network,
        notices=(*before, *text.notices, *resolved.notices, *shares(trainer), *changes, *copied, *damaged),
        finished=finished,
        loop=loop,
        out=request.out,
        earlier=earlier,
        copies=text.copies,
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


def choose_network(
    request: Request, complete: Config, corpus: Corpus, device: backend.Backend, fixed: config.Table
) -> automatic.Choice:
    """Return the network for this text, with the settings of the user. Its speed is measured if there is a time."""
    train, validation = corpus.split(complete.data.val_fraction)
    evaluated = 0 if validation is None else min(len(validation.ids), complete.log.eval_chars or len(validation.ids))
    about = automatic.Text(len(train.ids), evaluated, len(corpus.vocabulary))
    if request.minutes is None or "steps" in fixed.get("train", {}):
        return automatic.choose(about, automatic.ASSUMED_SECONDS, fixed)
    several = request.ranks.size > 1  # they fork all their processes before MPI starts, so none may compute already
    seconds = request.minutes * 60 if several else request.seconds_left()
    training = automatic.training_seconds(seconds)
    if several or seconds < LEAST_MEASURED:
        return automatic.choose(about, training, fixed)

    def measure(wanted: Config) -> float:
        """Return the seconds of a training step."""
        with backend.computing(device):
            resolved = resolve(wanted, corpus, device)
            network = build(resolved.config.model, len(corpus.vocabulary), device)
            return step_seconds(start(resolved.config, network, resolved.train, device.thread_pool(request.threads)))

    return automatic.for_this_machine(about, training, fixed, measure)


def what_ranks_share(request: Request, settings: Config, corpus: Corpus, saved: Checkpoint | None) -> dict[str, object]:
    """Return what must be the same on all ranks, by the names that users know. Paths of texts may differ."""
    keys = {
        f"{section}.{key}": value for section, table in config.table(settings).items() for key, value in table.items()
    }
    held_out = {name: text and text.sha256[:12] for name, text in corpus.held_out.items()}
    return {
        "the version of charrnn": sys.modules["charrnn"].__version__,
        "the text": f"{len(corpus.ids):,} characters with hash {corpus.sha256[:12]}",
        **held_out,
        "the checkpoint": saved and f"step {saved.meta.step} with hash {saved.digest[:12]}",
        **{name: value for name, value in keys.items() if name not in PATHS},
        "the kind of device": settings.train.device.partition(":")[0],  # a rank whose GPU fails falls back to the CPU
        "--minutes": request.minutes,
        "--stop-after": request.stop_after,
        "--out": request.out and request.out.name,
        "--profile": request.profile,
    }


def shares(trainer: Trainer) -> tuple[str, ...]:
    """Return lines for the user about the ranks of a run: how many shards every rank computes."""
    ranks, total = trainer.ranks, trainer.config.train.shards
    if ranks.size == 1:
        return ()
    counts = [len(ranks.share(total, rank)) for rank in range(ranks.size)]
    lines = [f"ranks: {ranks.size}, with {' + '.join(map(str, counts))} of train.shards = {total}"]
    if 0 in counts:
        lines.append(
            f"{counts.count(0)} of {ranks.size} ranks only wait, because there are {total} shards: "
            f"start {total} ranks, or set train.shards = {ranks.size}"
        )
    return tuple(lines)


def memory_advice(resumed: bool) -> str:
    """Return what to do if the memory is exhausted. A resumed run keeps its sizes: it can only continue elsewhere."""
    return "" if resumed else "lower train.batch_size or model.hidden_size"


def device(wanted: Config, *, fallback: bool = True, ranks: Ranks | None = None) -> backend.Choice:
    """Return the backend that a configuration asks for: see `backend.choose`. The ranks of a machine share its GPUs."""
    train, limit = wanted.train, config.size(wanted.train.gpu_memory_limit) or 0
    name = train.device
    if ranks is not None and ranks.size > 1 and name != "cpu":
        name = backend.gpu_of(ranks.local_rank) or name
    return backend.choose(name, fallback=fallback, precision=train.precision, memory=limit, kernels=train.kernels)


def unread_checkpoints(out: Path | None, saved: Checkpoint | None) -> tuple[str, ...]:
    """Return a line for each checkpoint after `saved`, which cannot be read and is renamed when training continues."""
    if out is None or saved is None:
        return ()
    paths = checkpoint.quarantine_paths(out, saved.meta.step)
    return tuple(f"{path} is not used: it is kept as {kept.name}" for path, kept in paths)
