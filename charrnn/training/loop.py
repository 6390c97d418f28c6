"""The training loop: a generator of events. It does not print, write files, or decide what follows from an event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from charrnn import seeds
from charrnn.backend import one_thread
from charrnn.config import Config
from charrnn.errors import OverflowingError
from charrnn.evaluation import protocols
from charrnn.optim import GUARD_LIMIT
from charrnn.sampling import Settings, pieces
from charrnn.text import Corpus, Part
from charrnn.training.events import Ended, Evaluated, Event, Guarded, Moment, Sampled, Snapshot, Trained
from charrnn.training.state import Progress, to_checkpoint
from charrnn.training.step import Measured, Trainer

FINISHED = ("steps", "minutes", "patience")
"""The reasons to end after which a run is finished. The others interrupt it."""


@dataclass
class Loop:
    """A run in progress.

    Attributes:
        config: the resolved configuration.
        corpus: the text.
        train: the part of it that is trained on.
        validation: its held-out part, if there is one.
        train_stretch: the stretch of the training split that evaluations read, too, to compare with the held-out part.
        trainer: the part of the state that is on the device.
        progress: the part of the state that is on the host.
        resumed: whether a checkpoint was restored; everything that was due at its step has then been done.
        should_stop: called after every step with the number of steps that this process has done; returns the reason to
            stop, or None.
    """

    config: Config
    corpus: Corpus
    train: Part
    validation: Part | None
    train_stretch: Part | None
    trainer: Trainer
    progress: Progress
    resumed: bool = False
    should_stop: Callable[[int], str | None] = lambda _: None
    began: float = field(default_factory=time.monotonic)
    last: Measured | None = None  # the last step that was not skipped

    def events(self) -> Generator[Event]:
        """Train until the planned steps are done or `should_stop` returns a reason."""
        log, trainer, total = self.config.log, self.trainer, self.config.train.steps
        first = logged = trainer.done
        reason = self.should_stop(0)
        if not self.resumed:
            yield from self.before_training(reason)
        started, spent = time.perf_counter(), 0.0
        while reason is None and trainer.done < total:
            reason = self.train_until_due(first)
            diverged = yield from self.collect_losses()
            if diverged:
                reason = "diverged"
                yield self.snapshot()
                break
            step = trainer.done
            spent += time.perf_counter() - started
            if is_due(step, log.every):
                if self.last is not None and self.last.step == step:
                    yield self.trained(self.last, (step - logged) / spent)
                logged, spent = step, 0.0
            reason = yield from self.handle_due("steps" if step >= total else reason)
            started = time.perf_counter()
        yield Ended(self.moment(trainer.done), reason or "steps")

    def before_training(self, reason: str | None) -> Iterator[Event]:
        """Evaluate, sample and save before the first step. A run that is interrupted here saves nothing."""
        if reason is None and self.config.log.eval_every:
            yield from self.evaluate(scheduled=True)
        if reason is None and self.config.log.sample_every:
            yield self.sample()
        if reason is None or reason in FINISHED:
            yield self.snapshot()

    def train_until_due(self, first: int) -> str | None:
        """Train until something is due. Return the reason to stop, if there is one.

        `first` is the number of steps that earlier processes have done.
        """
        trainer, log, reason = self.trainer, self.config.log, None
        intervals = (log.every, log.eval_every, log.sample_every, log.checkpoint_every)
        with one_thread:
            while reason is None:
                trainer.step()
                reason = self.should_stop(trainer.done - first)
                if trainer.full or trainer.done == self.config.train.steps:
                    break
                if any(is_due(trainer.done, interval) for interval in intervals):
                    break
        return reason

    def collect_losses(self) -> Generator[Event, None, bool]:
        """Read what the last steps recorded: average the losses and report skipped steps.

        Return whether the guard has stopped training. The run is then at the step that made it do so.
        """
        smoothing = self.config.log.smoothing
        for measured in self.trainer.drain():
            if not measured.skipped:
                self.last = measured
                self.progress.smooth_loss = smoothing * self.progress.smooth_loss + (1 - smoothing) * measured.loss
                continue
            rate = measured.scale * self.trainer.learning_rate(measured.step)  # of the next step
            yield Guarded(self.moment(measured.step), measured.loss, measured.grad_norm, measured.bad, rate)
            if measured.bad >= GUARD_LIMIT:
                self.trainer.done = self.trainer.drained = measured.step
                return True
        return False

    def handle_due(self, reason: str | None) -> Generator[Event, None, str | None]:
        """Evaluate, sample and save where it is due or the run ends. Return the reason to stop, if there is one.

        The checkpoint comes last: a resumed run need not repeat what was due at its step.
        """
        log, step, best = self.config.log, self.trainer.done, False
        if is_due(step, log.eval_every):
            best = yield from self.evaluate(scheduled=True)
            optimizer = self.config.optimizer
            if optimizer.schedule == "plateau" and self.progress.reduction_is_due(optimizer.decay_patience):
                self.trainer.lr_reductions += 1
            if self.out_of_patience and reason not in FINISHED:
                reason = "patience"
        finished = reason in FINISHED
        if finished and log.eval_every and not is_due(step, log.eval_every):
            best = yield from self.evaluate(scheduled=False)
        if is_due(step, log.sample_every) or (finished and log.sample_every):
            yield self.sample()
        if reason is not None or best or is_due(step, log.checkpoint_every):
            yield self.snapshot()
        return reason

    @cached_property
    def bytes_per_char(self) -> float:
        """The mean size in UTF-8 of a character that an evaluation predicts."""
        assert self.validation is not None
        network, part = self.trainer.network, self.validation
        ids = protocols.predicted_ids(network, part, protocols.predicted_characters(network, part))
        return self.corpus.vocabulary.utf8_size(ids) / len(ids)

    @property
    def out_of_patience(self) -> bool:
        """Whether `train.patience` evaluations in a row were not better than the best."""
        return 0 < self.config.train.patience <= self.progress.stale_evaluations

    def evaluate(self, *, scheduled: bool) -> Generator[Event, None, bool]:
        """Evaluate on the validation split, if there is one, and on a stretch of the training split.

        Return whether the validation loss is the best so far.

        The additional evaluation at the end of a run (`scheduled` is false) does not affect patience and plateau.
        """
        step, trainer = self.trainer.done, self.trainer
        if self.validation is None or self.train_stretch is None:
            return False
        params, state = trainer.network.views(trainer.average), trainer.state()
        result, train = (
            protocols.streams(trainer.network, params, part, trainer.thread_pool, state)
            for part in (self.validation, self.train_stretch)
        )
        trained = step > 0 or self.config.train.init_from != ""
        best = self.progress.record(step, result.nats_per_char, trained=trained, scheduled=scheduled)
        if math.isfinite(result.nats_per_char):
            bits, bits_per_byte = result.bits_per_char, result.bits_per_char / self.bytes_per_char
            at, train_loss = self.moment(step), train.nats_per_char
            yield Evaluated(at, result.nats_per_char, bits, bits_per_byte, train_loss, best)
        return best

    def sample(self) -> Sampled:
        """Return a sample of the network. Its random numbers are its own, so it does not disturb training."""
        trainer, text = self.trainer, ""
        made = pieces(
            trainer.network,
            trainer.network.views(trainer.average),
            self.corpus.vocabulary,
            prompt=self.corpus.ids[:0],  # none
            length=self.config.log.sample_length,
            count=1,
            settings=Settings(),
            rng=seeds.stream(self.config.train.seed, "training samples", trainer.done),
            separator=self.config.data.document_separator,
        )
        with suppress(OverflowingError):  # the learning rate is too high; the guard will stop the run
            for (piece,) in made:
                text += piece
        event = Sampled(self.moment(trainer.done), text)
        self.progress.samples_size += len(event.entry)
        return event

    def snapshot(self) -> Snapshot:
        """Return the checkpoint of this step. Waits for the device."""
        return Snapshot(self.moment(self.trainer.done), to_checkpoint(self.trainer, self.progress, self.corpus))  # sync

    def trained(self, measured: Measured, steps_per_second: float) -> Trained:
        """Return the event of the last step, which was not skipped."""
        train = self.config.train
        return Trained(
            self.moment(measured.step),
            loss=measured.loss,
            smooth_loss=self.progress.smooth_loss,
            grad_norm=measured.grad_norm,
            learning_rate=measured.scale * self.trainer.learning_rate(self.trainer.done - 1),
            chars_per_second=round(steps_per_second * train.seq_length * train.batch_size, 1),
            device=self.trainer.network.backend.name,
        )

    def moment(self, step: int) -> Moment:
        """Return `step` with the time now."""
        chars = step * self.config.train.seq_length * self.config.train.batch_size
        sweeps = round(chars / len(self.train.ids), 6)
        return Moment(step, chars, sweeps, round(self.progress.seconds + time.monotonic() - self.began, 3))


def is_due(step: int, interval: int) -> bool:
    """Return whether something that happens every `interval` steps (0: never) happens at `step`."""
    return interval > 0 and step % interval == 0
