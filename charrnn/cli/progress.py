"""The progress bar of long commands, and what `train` prints: lines, above the bar on a terminal.

This module imports tqdm and the training code, so commands import it only when they run.
"""

from __future__ import annotations

import math
import sys
import textwrap
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from charrnn.cli.output import discard_output, escaped, print_line, print_notice
from charrnn.cli.signals import BROKEN_PIPE, Interruption
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import Course, Losses, announcement, conclusion
from charrnn.optim import GUARD_LIMIT
from charrnn.run import logs
from charrnn.run.session import Session
from charrnn.training.events import BaselinesCounted, Ended, Evaluated, Event, Guarded, Sampled, Tested, Trained

if TYPE_CHECKING:
    from charrnn.tools.tensorboard import TensorBoard

SHORT = 0.8
"""A run that ends before this fraction of its planned time prints a hint."""
END_WORDS = {
    "interrupted": "interrupted",
    "stop_after": "stopped",
    "diverged": "stopped because it diverged",
    "time": "stopped by --minutes",
    "patience": "stopped early (--patience)",
}


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A progress bar on standard error, shown only on a terminal and removed at its end. Options: those of `tqdm`."""

    disable = True  # until __init__ sets it: tqdm 4.66 fails to close a bar that Ctrl-C stopped before that

    def __init__(self, *arguments: Any, **options: Any) -> None:
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        super().__init__(*arguments, disable=not on_terminal, leave=False, **options)


class Printer:
    """Runs a session and prints its events; with `tensorboard`, it also writes them for TensorBoard."""

    def __init__(self, session: Session, interruption: Interruption, *, tensorboard: bool = False) -> None:
        self.session, self.interruption = session, interruption
        self.tensorboard: TensorBoard | None = None
        if tensorboard:
            from charrnn.tools.tensorboard import TensorBoard

            self.tensorboard = TensorBoard(session)
        self.baselines: Baselines | None = None
        self.evaluations = earlier_evaluations(session)
        self.width = len(f"{session.config.train.steps:,}")

    def run(self) -> str:
        """Train to the end and return the reason of the end."""
        self.introduce()
        if self.session.finished:
            done, early = self.session.loop.trainer.done, self.session.loop.out_of_patience
            hint = "stopped early; --patience N with a larger N continues it" if early else "--steps extends it"
            self.show(f"this run is finished: {done:,} steps are done ({hint})")
            list(self.session.events())
            return "steps"
        ended: Ended | None = None
        total, done = self.session.config.train.steps, self.session.loop.trainer.done
        with ExitStack() as stack:
            bar = stack.enter_context(Bar(total=total, initial=done, unit="step", dynamic_ncols=True))
            stack.callback(self.close_tensorboard)
            for event in self.session.events():
                bar.update(event.at.step - bar.n)
                for line in self.lines(event):
                    self.show(line)
                self.write_for_tensorboard(event)
                if isinstance(event, BaselinesCounted):
                    self.baselines = event.baselines
                if isinstance(event, Evaluated):
                    self.evaluations.append(Losses(event.at.step, event.val_loss, event.train_loss))
                if isinstance(event, Ended):
                    ended = event
        assert ended is not None
        self.conclude(ended)
        return ended.reason

    def write_for_tensorboard(self, event: Event) -> None:
        """Write an event for TensorBoard, if the user asked for it. Training continues if the disk refuses."""
        try:
            if self.tensorboard is not None:
                self.tensorboard.record(event)
        except OSError as error:
            self.close_tensorboard()
            reason = error.strerror or error
            print_notice(f"TensorBoard's files cannot be written ({reason}): training continues without them")

    def close_tensorboard(self) -> None:
        """Close the files for TensorBoard. All that was recorded is in them already."""
        tensorboard, self.tensorboard = self.tensorboard, None
        with suppress(OSError):
            if tensorboard is not None:
                tensorboard.close()

    def show(self, line: str) -> None:
        """Print a line above the bar.

        If the reader of standard output closes it, as `head` does, the run saves and ends. If the disk is full,
        training continues: the metrics hold what is not printed.
        """
        try:
            with Bar.external_write_mode():
                print_line(line)
        except BrokenPipeError:
            discard_output()
            self.interruption.signal = BROKEN_PIPE
        except OSError as error:
            discard_output()
            reason = error.strerror or error
            print_notice(f"standard output cannot be written ({reason}): training continues without it")

    def introduce(self) -> None:
        """Print notices, the text and the network."""
        session = self.session
        corpus, model, network = session.corpus, session.config.model, session.network
        for line in session.notices:
            print_notice(line)
        print_line(f"corpus: {corpus.name}, {len(corpus.ids):,} characters, {len(corpus.vocabulary.used)} distinct")
        print_line(
            f"network: {model.shape}, "
            f"{network.layout.parameters:,} parameters, {model.dtype}, on {network.backend.name}"
        )
        if session.checkpoint is not None:
            print_line(f"resuming {session.out} at step {session.checkpoint.meta.step:,}")

    def lines(self, event: Event) -> list[str]:
        """Return the lines that report an event."""
        train = self.session.config.train
        step = f"step {event.at.step:{self.width},}/{train.steps:,}"
        match event:
            case Trained():
                left = (train.steps - event.at.step) * train.batch_size * train.seq_length
                return [
                    f"{step}  loss {event.loss:.3f}  smooth {event.smooth_loss:.3f}  "
                    f"{event.chars_per_second:,.0f} chars/s  {clock(left / max(event.chars_per_second, 1e-9))} left"
                ]
            case Evaluated():
                untrained = next((e for e in self.evaluations if e.step == 0), None)
                better = untrained is None or event.val_loss < untrained.validation
                mark = "  best so far" if event.best and event.at.step and better else ""
                loss = f"{event.val_loss:.4f} nats/char ({event.val_bits_per_char:.3f} bits)"
                return [f"{step}  validation {loss}  train {event.train_loss:.4f}{mark}"]
            case Tested():
                loss = f"{event.test_loss:.4f} nats/char ({event.test_bits_per_char:.3f} bits)"
                return [f"test loss {loss} of the best network, that of step {event.checkpoint_step:,}"]
            case BaselinesCounted():
                return [announcement(event.baselines)]
            case Sampled():
                return [f"{step}  a sample:", textwrap.indent(escaped(event.text), "  | ", lambda _: True)]
            case Guarded():
                return [
                    f"{step}  GUARD: the step was skipped, because its loss {event.loss} or gradient norm "
                    f"{event.grad_norm} is not finite ({event.bad_in_a_row} of {GUARD_LIMIT} in a row); "
                    f"learning rate now {event.learning_rate:g}"
                ]
        return []

    def conclude(self, event: Ended) -> None:
        """Print the reason of the end, the best loss, and how it compares with the baselines."""
        loop, fine_tuned = self.session.loop, self.session.config.train.init_from != ""
        course = None
        if any(e.step or fine_tuned for e in self.evaluations):
            characters, early = len(loop.train.ids), event.reason == "patience"
            course = Course(self.evaluations, event.at.step, characters, fine_tuned, early)
        end = END_WORDS.get(event.reason, "done")
        time = f"after {clock(event.at.seconds)}, {sweeps(event.at.sweeps)} over the training text"
        self.show(f"{end} at step {event.at.step:,} {time}{self.score(course)}")
        planned = self.session.seconds
        if event.reason == "steps" and event.at.seconds < SHORT * planned:
            steps = int(event.at.step * planned / max(event.at.seconds, 1e-9))
            self.show(
                f"planned for {clock(planned)}: the machine was slower while its speed was measured; "
                f"use --steps {steps} instead of --minutes to train about as long as planned"
            )
        for line in conclusion(course, self.baselines) if course else ():
            self.show(line)

    def score(self, course: Course | None) -> str:
        """Return the best validation loss in nats per character, bits per character and bits per byte of UTF-8."""
        if course is None:
            return ""
        best, bits = course.best, course.best.validation / math.log(2)
        per_byte = bits / self.session.loop.bytes_per_char
        loss = f"{best.validation:.4f} nats/char at step {best.step:,} ({bits:.3f} bits/char, {per_byte:.3f} bits/byte)"
        if course.untrained is not None and course.untrained.validation <= best.validation:
            return f"; no validation loss is below that before training, {course.untrained.validation:.4f} nats/char"
        return f", best validation loss {loss}"


def earlier_evaluations(session: Session) -> list[Losses]:
    """Return the losses of the evaluations before the step at which a run is resumed, from its metrics."""
    if session.checkpoint is None or session.out is None:
        return []
    meta = session.checkpoint.meta
    losses = logs.losses(m for m in logs.metrics(session.out) if m["step"] <= meta.step)
    if meta.best is not None and all(one.step != meta.best.step for one in losses):  # the metrics were removed
        losses.append(Losses(meta.best.step, meta.best.val_loss, None))
    return losses


def sweeps(number: float) -> str:
    """Return a number of sweeps in words, with two significant digits below ten."""
    shown = f"{number:.2g}" if number < 10 else f"{number:,.0f}"
    return f"{shown} sweep{'s' * (shown != '1')}"


def clock(seconds: float) -> str:
    """Return a time as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
