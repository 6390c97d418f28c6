"""The training loop: a generator of events. It never prints, writes a file or decides what to do about an event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from charrnn import seeds
from charrnn.backend import one_thread
from charrnn.checkpoint import Checkpoint, Meta, named
from charrnn.config import Config
from charrnn.errors import DivergedError, OverflowingError
from charrnn.evaluation import protocols
from charrnn.optim.guard import LIMIT
from charrnn.sampling import Settings, pieces
from charrnn.text import Corpus, Part
from charrnn.training.events import Ended, Evaluated, Event, Guarded, Moment, Sampled, Snapshot, Trained
from charrnn.training.progress import Progress
from charrnn.training.step import Measured, Trainer

DONE = ("steps", "minutes", "patience")
"""The reasons to end that a run is done for; others interrupt it."""


@dataclass
class Loop:
    """One run on its way.

    Attributes:
        config: resolved.
        corpus: of which `validation` is the held-out part.
        trainer: the device's side.
        resumed: whether a checkpoint was restored, so that whatever belongs to its step has been done.
        progress: the host's side.
        should_stop: asked after every step, with the steps done by this process; the reason to stop, or None.
    """

    config: Config
    corpus: Corpus
    validation: Part | None
    trainer: Trainer
    progress: Progress
    resumed: bool = False
    should_stop: Callable[[int], str | None] = lambda _: None
    began: float = field(default_factory=time.monotonic)
    last_train: Measured | None = None

    def events(self) -> Iterator[Event]:
        """Train up to the planned total, or until `should_stop` gives a reason."""
        log, trainer, before = self.config.log, self.trainer, self.trainer.done
        reason, logged = self.should_stop(0), before
        if not self.resumed:
            if reason is None and log.eval_every:
                yield from self.evaluated(counts=True)
            if reason is None and log.sample_every:
                yield self.sampled()
            if reason is None or reason in DONE:  # an interrupted start has nothing to save: it is made again
                yield self.snapshot()
        started, spent = time.perf_counter(), 0.0
        while reason is None and trainer.done < self.config.train.steps:
            reason = self.burst(before)
            yield from self.drained()
            if self.progress.bad >= LIMIT:
                reason = "diverged"
                yield self.snapshot()
                break
            step = trainer.done
            spent += time.perf_counter() - started
            if due(step, log.every):
                if self.last_train is not None and self.last_train.step == step:
                    yield self.trained(self.last_train, (step - logged) / spent)
                logged, spent = step, 0.0
            reason = yield from self.look("steps" if step >= self.config.train.steps else reason)
            started = time.perf_counter()
        yield Ended(self.moment(trainer.done), reason or "steps")

    @property
    def out_of_patience(self) -> bool:
        """Whether the last evaluations found nothing better for as long as the configuration allows."""
        return 0 < self.config.train.patience <= self.progress.stale

    def burst(self, before: int) -> str | None:
        """Train until something is due; the reason to stop, if there is one by then.

        `before` are the steps of earlier processes.
        """
        trainer, reason = self.trainer, None
        with one_thread:
            while reason is None:
                trainer.step()
                reason = self.should_stop(trainer.done - before)
                if trainer.full or trainer.done == self.config.train.steps:
                    break
                if any(due(trainer.done, n) for n in self.intervals):
                    break
        return reason

    @property
    def intervals(self) -> tuple[int, ...]:
        """Every interval of the log, in steps."""
        log = self.config.log
        return log.every, log.eval_every, log.sample_every, log.checkpoint_every

    def moment(self, step: int) -> Moment:
        """Now, at `step`."""
        chars = step * self.config.train.seq_length * self.config.train.batch_size
        return Moment(step, chars, round(self.progress.seconds + time.monotonic() - self.began, 3))

    def drained(self) -> Iterator[Guarded]:
        """Read what the last steps measured: average the losses, report bad steps, stop the count at the limit."""
        progress, smoothing = self.progress, self.config.log.smoothing
        for measured in self.trainer.drain():
            if math.isfinite(measured.loss + measured.grad_norm):
                progress.bad, self.last_train = 0, measured
                progress.smooth_loss = smoothing * progress.smooth_loss + (1 - smoothing) * measured.loss
                continue
            progress.bad += 1
            progress.scale = float(np.array(progress.scale / 2, self.trainer.network.dtype))  # as the device has it
            rate = progress.scale * self.trainer.learning_rate(measured.step)
            yield Guarded(self.moment(measured.step), measured.loss, measured.grad_norm, progress.bad, rate)
            if progress.bad == LIMIT:  # the device has been shut since this step
                self.trainer.done = self.trainer.drained = measured.step
                return

    def trained(self, measured: Measured, steps_per_second: float) -> Trained:
        """The event of a step that counted."""
        train = self.config.train
        return Trained(
            self.moment(measured.step),
            loss=measured.loss,
            smooth_loss=self.progress.smooth_loss,
            grad_norm=measured.grad_norm,
            learning_rate=self.progress.scale * self.trainer.learning_rate(self.trainer.done - 1),
            chars_per_second=round(steps_per_second * train.seq_length * train.batch_size, 1),
            device=self.trainer.network.backend.name,
        )

    def look(self, reason: str | None) -> Generator[Event, None, str | None]:
        """Do what is due, and what a run that ends here for `reason` still needs; return the reason to stop, if any.

        All of it comes before the step's one checkpoint: what a resumed run finds there is done.
        """
        log, step, best = self.config.log, self.trainer.done, False
        if due(step, log.eval_every):
            best = yield from self.evaluated(counts=True)
            if self.out_of_patience and reason not in DONE:
                reason = "patience"
        done = reason in DONE
        if done and log.eval_every and not due(step, log.eval_every):
            best = yield from self.evaluated(counts=False)
        if due(step, log.sample_every) or (done and log.sample_every):
            yield self.sampled()
        if reason is not None or best or due(step, log.checkpoint_every):
            yield self.snapshot()
        return reason

    def evaluated(self, *, counts: bool) -> Generator[Event, None, bool]:
        """Evaluate, where something is held out; whether it is the best so far.

        The additional one at the end of a run (`counts` is false) does not affect patience and plateau.
        """
        step, trainer, optimizer = self.trainer.done, self.trainer, self.config.optimizer
        if self.validation is None:
            return False
        params = trainer.network.views(trainer.average)
        result = protocols.streams(trainer.network, params, self.validation, trainer.thread_pool, trainer.state())
        # The untrained network is evaluated, for comparison, but is nobody's best.
        trained = step > 0 or self.config.train.init_from != ""
        best = self.progress.improved(step, result.nats_per_char, trained=trained, counts=counts)
        if optimizer.schedule == "plateau" and counts and self.progress.overdue(optimizer.decay_patience):
            trainer.decays += 1
        if math.isfinite(result.nats_per_char):
            yield Evaluated(self.moment(step), result.nats_per_char, result.bits_per_char, best)
        return best

    def sampled(self) -> Sampled:
        """A sample from the network as it is, from a stream of its own: training is not disturbed."""
        made = pieces(
            self.trainer.network,
            self.trainer.network.views(self.trainer.average),
            self.corpus.vocabulary,
            prompt=self.corpus.ids[:0],
            length=self.config.log.sample_length,
            count=1,
            settings=Settings(),
            stop="",
            rng=seeds.stream(self.config.train.seed, "training samples", self.trainer.done),
        )
        text = ""
        with suppress(OverflowingError):  # a rate that is too high; the guard has the last word
            for (more,) in made:
                text += more
        event = Sampled(self.moment(self.trainer.done), text)
        self.progress.samples_size += len(event.entry)
        return event

    def snapshot(self) -> Snapshot:
        """The checkpoint of this step. Waits for the device."""  # sync
        trainer, host = self.trainer, self.trainer.network.backend.to_host
        layout = trainer.network.layout
        tensors = named("parameters", layout, host(trainer.vector))
        for slot, memory in trainer.slots.items():
            tensors |= named(f"optimizer/{slot}", layout, host(memory))
        if self.config.optimizer.average:
            tensors |= named("average", layout, host(trainer.average))
        tensors |= {f"state/{name}": host(array) for name, array in trainer.state().items()}
        tensors |= {"guard/scale": host(trainer.guard.scale), "guard/bad": host(trainer.guard.bad)}
        for name, tensor in tensors.items():  # nothing could go on from such a file
            if not np.isfinite(tensor).all():
                remedy = "lower optimizer.learning_rate, or clip gradients (optimizer.clip_norm)"
                raise DivergedError(f"{name} overflows at step {trainer.done}: {remedy}")
        meta = Meta(
            step=trainer.done,
            chunk=trainer.streams.chunk(trainer.done)[0],
            config=self.config,
            vocabulary=self.corpus.vocabulary,
            corpus=self.corpus.name,
            sha256=self.corpus.sha256,
            smooth_loss=self.progress.smooth_loss,
            best=self.progress.best,
            samples_size=self.progress.samples_size,
            stale=self.progress.stale,
            drops=trainer.decays,
        )
        return Snapshot(self.moment(trainer.done), Checkpoint(meta, tensors))


def due(step: int, interval: int) -> bool:
    """Whether something that happens every `interval` steps (0: never) happens at `step`."""
    return interval > 0 and step % interval == 0
