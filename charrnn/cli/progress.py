"""The progress bar of long commands, and what `train` prints: lines, above the bar on a terminal.

This module imports tqdm and the training code, so commands import it only when they run.
"""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from tqdm import tqdm

from charrnn.cli.output import discard_output, escaped, print_line, print_notice
from charrnn.cli.signals import BROKEN_PIPE, Interruption
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import announcement, verdict
from charrnn.optim import GUARD_LIMIT
from charrnn.run.session import Session
from charrnn.training.events import BaselinesCounted, Ended, Evaluated, Event, Guarded, Sampled, Trained

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
    """Runs a session and prints its events."""

    def __init__(self, session: Session, interruption: Interruption) -> None:
        self.session, self.interruption = session, interruption
        self.baselines: Baselines | None = None
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
        with Bar(total=total, initial=done, unit="step", dynamic_ncols=True) as bar:
            for event in self.session.events():
                bar.update(event.at.step - bar.n)
                for line in self.lines(event):
                    self.show(line)
                if isinstance(event, BaselinesCounted):
                    self.baselines = event.baselines
                if isinstance(event, Ended):
                    ended = event
        assert ended is not None
        self.conclude(ended)
        return ended.reason

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
            f"network: {model.cell}, {model.num_layers} x {model.hidden_size}, "
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
                mark = "  best so far" if event.best and event.at.step else ""
                loss = f"{event.val_loss:.4f} nats/char ({event.val_bits_per_char:.3f} bits)"
                return [f"{step}  validation {loss}  train {event.train_loss:.4f}{mark}"]
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
        best = self.session.loop.progress.best
        score = f", best validation loss {best.val_loss:.4f} nats/char at step {best.step:,}" if best else ""
        end = END_WORDS.get(event.reason, "done")
        self.show(f"{end} at step {event.at.step:,} after {clock(event.at.seconds)}{score}")
        planned = self.session.seconds
        if event.reason == "steps" and event.at.seconds < SHORT * planned:
            steps = int(event.at.step * planned / max(event.at.seconds, 1e-9))
            self.show(
                f"planned for {clock(planned)}: the machine was slower while its speed was measured; "
                f"use --steps {steps} instead of --minutes to train about as long as planned"
            )
        if best and self.baselines is not None:
            self.show(verdict(best.val_loss, self.baselines))


def clock(seconds: float) -> str:
    """Return a time as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
