"""The training loop: a generator of events. It never prints, writes a file or decides what to do about an event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from charrnn import seeds
from charrnn.backend import one_thread
from charrnn.checkpoint import Checkpoint, Meta, named
from charrnn.config import Config
from charrnn.errors import DivergedError
from charrnn.sampling import Settings, pieces
from charrnn.text import Corpus, Part
from charrnn.training import evaluation
from charrnn.training.events import Ended, Evaluated, Event, Guarded, Moment, Sampled, Snapshot, Trained
from charrnn.training.guard import LIMIT
from charrnn.training.progress import Progress
from charrnn.training.step import Measured, Trainer


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
            looks = reason is None
            yield from self.look(
                evaluate=looks and log.eval_every > 0, sample=looks and log.sample_every > 0, save=True
            )
        started, spent = time.perf_counter(), 0.0
        while reason is None and trainer.done < self.config.train.steps:
            reason = self.burst(before)
            step = trainer.done
            yield from self.drained()
            if self.progress.bad >= LIMIT:
                reason = "diverged"
                break
            spent += time.perf_counter() - started
            if due(step, log.every):
                if self.last_train is not None and self.last_train.step == step:
                    yield self.trained(self.last_train, (step - logged) / spent)
                logged, spent = step, 0.0
            yield from self.look(
                evaluate=due(step, log.eval_every),
                sample=due(step, log.sample_every),
                save=due(step, log.checkpoint_every),
            )
            if reason is None and due(step, log.eval_every) and self.out_of_patience:
                reason = "patience"
            started = time.perf_counter()
        if reason != "diverged" and trainer.done >= self.config.train.steps:
            reason = "steps"
        if reason in ("steps", "minutes", "patience"):
            yield from self.last_look()
        elif reason == "diverged" or not due(trainer.done, log.checkpoint_every):
            yield self.snapshot()
        yield Ended(self.moment(trainer.done), str(reason))

    @property
    def out_of_patience(self) -> bool:
        """Whether the last evaluations found nothing better for as long as the configuration allows."""
        return 0 < self.config.train.patience <= self.progress.stale

    def burst(self, before: int) -> str | None:
        """Train until something is due; the reason to stop, if there is one by then. `before`: steps done elsewhere."""
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

    def look(self, *, evaluate: bool, sample: bool, save: bool, last: bool = False) -> Iterator[Event]:
        """Evaluate, sample and save as asked. A best evaluation is always saved.

        The `last` evaluation of a run may be between two that are due, and does not count for patience and plateau.
        """
        step, best = self.trainer.done, False
        if evaluate and self.validation is not None:
            trainer = self.trainer
            params = trainer.network.views(trainer.average)
            result = evaluation.streams(trainer.network, params, self.validation, trainer.workers, trainer.state())
            # The untrained network is evaluated, for comparison, but is nobody's best.
            trained = step > 0 or self.config.train.init_from != ""
            best = self.progress.improved(step, result.nats_per_char, trained=trained, counts=not last)
            optimizer = self.config.optimizer
            if optimizer.schedule == "plateau" and not last and self.progress.overdue(optimizer.decay_patience):
                trainer.drops += 1
            if math.isfinite(result.nats_per_char):
                yield Evaluated(self.moment(step), result.nats_per_char, result.bits_per_char, best)
        if sample:
            yield self.sampled()
        if save or best:
            yield self.snapshot()

    def last_look(self) -> Iterator[Event]:
        """At the end: whatever was not done at this very step."""
        step, log = self.trainer.done, self.config.log
        yield from self.look(
            evaluate=bool(log.eval_every and step) and not due(step, log.eval_every),
            sample=bool(log.sample_every and step) and not due(step, log.sample_every),
            save=not due(step, log.checkpoint_every),
            last=True,
        )

    def sampled(self) -> Sampled:
        """A sample from the network as it is, from a stream of its own: training is not disturbed."""
        text = "".join(
            text
            for (text,) in pieces(
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
        )
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
            drops=trainer.drops,
        )
        return Snapshot(self.moment(trainer.done), Checkpoint(meta, tensors))


def due(step: int, interval: int) -> bool:
    """Whether something that happens every `interval` steps (0: never) happens at `step`."""
    return interval > 0 and step % interval == 0
