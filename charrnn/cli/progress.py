"""What `train` shows: plain lines in a pipe, and on a terminal a progress bar with rate and time left below them."""

from __future__ import annotations

import textwrap

from charrnn.cli.bar import Bar
from charrnn.cli.common import Interruption
from charrnn.cli.terminal import abandon_output, escaped, note, say
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import announcement, verdict
from charrnn.optim import GUARD_LIMIT
from charrnn.run.session import Session
from charrnn.training.events import BaselinesCounted, Ended, Evaluated, Event, Guarded, Sampled, Trained

BROKEN_PIPE = 13  # the number of SIGPIPE
ENOUGH = 0.8
"""Of the time that steps were planned for: what ends before that is worth a word."""


class Printer:
    """Runs a session and prints what happens."""

    def __init__(self, session: Session, interruption: Interruption) -> None:
        self.session, self.interruption = session, interruption
        self.baselines: Baselines | None = None
        self.width = len(f"{session.config.train.steps:,}")

    def run(self) -> str:
        """Run to the end; return the reason of it."""
        self.introduce()
        if self.session.finished:
            done, early = self.session.loop.trainer.done, self.session.loop.out_of_patience
            way = "stopped early; --set train.patience=N with a larger N goes on" if early else "--steps extends it"
            self.show(f"this run is finished: {done:,} steps are done ({way})")
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

        If nobody reads on, as in `| head`, the run saves and ends. If only the disk is full, it goes on: what is not
        printed is in the metrics, and whoever left it alone wants the network.
        """
        try:
            with Bar.external_write_mode():
                say(line)
        except BrokenPipeError:
            abandon_output()
            self.interruption.signal = BROKEN_PIPE
        except OSError as error:
            abandon_output()
            reason = error.strerror or error
            note(f"standard output cannot be written ({reason}): the rest of it is lost, the run is not")

    def introduce(self) -> None:
        """Say what was decided."""
        session = self.session
        corpus, model, network = session.corpus, session.config.model, session.network
        for line in session.notices:
            note(line)
        say(f"corpus: {corpus.name}, {len(corpus.ids):,} characters, {len(corpus.vocabulary.used)} distinct")
        say(
            f"network: {model.cell}, {model.num_layers} x {model.hidden_size}, "
            f"{network.layout.parameters:,} parameters, {model.dtype}, on {network.backend.name}"
        )
        if session.checkpoint is not None:
            say(f"resuming {session.out} at step {session.checkpoint.meta.step:,}")

    def lines(self, event: Event) -> list[str]:
        """An event in words."""
        step = f"step {event.at.step:{self.width},}/{self.session.config.train.steps:,}"
        if isinstance(event, Trained):
            left = self.session.config.train.steps - event.at.step
            train = self.session.config.train
            seconds = left * train.batch_size * train.seq_length / max(event.chars_per_second, 1e-9)
            return [
                f"{step}  loss {event.loss:.3f}  smooth {event.smooth_loss:.3f}  "
                f"{event.chars_per_second:,.0f} chars/s  {clock(seconds)} left"
            ]
        if isinstance(event, Evaluated):
            words = "  best so far" if event.best and event.at.step else ""
            return [f"{step}  validation {event.val_loss:.4f} nats/char ({event.val_bits_per_char:.3f} bits){words}"]
        if isinstance(event, BaselinesCounted):
            return [announcement(event.baselines)]
        if isinstance(event, Sampled):
            body = textwrap.indent(escaped(event.text), "  | ", lambda _: True)
            return [f"{step}  a sample:", body]
        if isinstance(event, Guarded):
            return [
                f"{step}  GUARD: the step was skipped, its loss {event.loss} or gradient norm {event.grad_norm} is not "
                f"finite ({event.bad_in_a_row} of {GUARD_LIMIT} in a row); learning rate now {event.learning_rate:g}"
            ]
        return []

    def conclude(self, event: Ended) -> None:
        """The last lines about the training itself."""
        best = self.session.loop.progress.best
        score = f", best validation loss {best.val_loss:.4f} nats/char at step {best.step:,}" if best else ""
        words = {"interrupted": "interrupted", "stop_after": "stopped", "diverged": "stopped by the guard"}
        words |= {"time": "stopped by --minutes", "patience": "stopped early (train.patience)"}
        self.show(f"{words.get(event.reason, 'done')} at step {event.at.step:,} after {clock(event.at.seconds)}{score}")
        planned = self.session.seconds
        if event.reason == "steps" and event.at.seconds < ENOUGH * planned:
            more = int(event.at.step * planned / max(event.at.seconds, 1e-9))
            self.show(
                f"planned for {clock(planned)}: the machine was slower while it was measured; "
                f"--steps {more} instead of --minutes takes about as long"
            )
        if best and self.baselines is not None:
            self.show(verdict(best.val_loss, self.baselines))


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
