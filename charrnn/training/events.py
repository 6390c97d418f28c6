"""The events of a training, as plain values. The loop yields them; the caller decides what to do with each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from charrnn.checkpoint import Checkpoint
from charrnn.evaluation.baselines import Baselines

SHOWN = 60
"""Characters of a text that the `repr` of an event shows."""
LIKE_HEADER = re.compile(r"^>*--- step [0-9]+ ---$", re.MULTILINE)


class OneLine:
    """An event whose `repr` is one short line: the step, then the fields that are numbers, words or short texts."""

    at: Moment

    def __repr__(self) -> str:
        words = [f"step={self.at.step}"]
        for name, value in vars(self).items():
            if isinstance(value, float):
                words.append(f"{name}={value:.5g}")
            elif isinstance(value, (int, str)):
                text = repr(value)
                words.append(f"{name}={text if len(text) <= SHOWN else text[:SHOWN] + '...'}")
        return f"{type(self).__name__}({', '.join(words)})"


@dataclass(frozen=True)
class Moment:
    """When an event happened.

    Attributes:
        step: updates done.
        chars: characters trained on.
        sweeps: the same as a multiple of the characters of the training split.
        seconds: that the run has taken.
    """

    step: int
    chars: int
    sweeps: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Trained(OneLine):
    """The loss and speed, every `log.every` steps.

    Attributes:
        at: when.
        loss: of this step, nats/char.
        smooth_loss: averaged over steps, nats/char.
        grad_norm: of the gradient before clipping.
        learning_rate: of this step.
        chars_per_second: while training; evaluations, samples and checkpoints are not counted.
        device: `cpu`, `cuda:0`, ...
    """

    event: ClassVar[str] = "train"
    at: Moment
    loss: float
    smooth_loss: float
    grad_norm: float
    learning_rate: float
    chars_per_second: float
    device: str


@dataclass(frozen=True, repr=False)
class Evaluated(OneLine):
    """An evaluation on the validation split, and on a part of the training split.

    Both are without dropout, with the averaged weights if there are any, so the gap between them is real.

    Attributes:
        at: when.
        val_loss: nats/char.
        val_bits_per_char: the same in bits.
        val_bits_per_byte: the bits of these characters divided by their bytes in UTF-8.
        train_loss: nats/char of a fixed stretch of the training split, near its end.
        best: whether it is the best so far.
    """

    event: ClassVar[str] = "eval"
    at: Moment
    val_loss: float
    val_bits_per_char: float
    val_bits_per_byte: float
    train_loss: float
    best: bool


@dataclass(frozen=True, repr=False)
class Tested(OneLine):
    """The evaluation of the best network on the text of `data.test_files`, once at the end of a run.

    Attributes:
        at: when.
        test_loss: nats/char.
        test_bits_per_char: the same in bits.
        checkpoint_step: the step of the best checkpoint.
    """

    event: ClassVar[str] = "test"
    at: Moment
    test_loss: float
    test_bits_per_char: float
    checkpoint_step: int


@dataclass(frozen=True, repr=False)
class Guarded(OneLine):
    """A step that the guard skipped because its loss or gradient norm was not finite.

    Attributes:
        at: when.
        loss: nats/char.
        grad_norm: of the gradient.
        bad_in_a_row: skipped steps in a row, this one included.
        learning_rate: of the next step.
    """

    event: ClassVar[str] = "guard"
    at: Moment
    loss: float
    grad_norm: float
    bad_in_a_row: int
    learning_rate: float


@dataclass(frozen=True, repr=False)
class Sampled(OneLine):
    """A sample of the network."""

    at: Moment
    text: str

    @property
    def entry(self) -> bytes:
        """The bytes of this sample in `samples.txt`. A line of text that looks like a header gets a `>` before it."""
        text = LIKE_HEADER.sub(r">\g<0>", self.text)
        return f"--- step {self.at.step} ---\n{text}\n\n".encode()


@dataclass(frozen=True, repr=False)
class Snapshot(OneLine):
    """A checkpoint to save."""

    at: Moment
    checkpoint: Checkpoint


@dataclass(frozen=True, repr=False)
class BaselinesCounted(OneLine):
    """The n-gram baselines of the run's split: once in each process of a run that evaluates, see `log.baselines`."""

    at: Moment
    baselines: Baselines


@dataclass(frozen=True, repr=False)
class Ended(OneLine):
    """The last event.

    Attributes:
        at: when.
        reason: `steps`: all planned steps are done; `minutes`: the time that they were planned for is over;
            `patience`: the validation loss stopped improving; `stop_after`: this process has done the steps it was
            asked for; `time`: --minutes ended a run that was planned otherwise; `interrupted`: by a signal;
            `diverged`: by the guard. After the first three the run is finished.
    """

    at: Moment
    reason: str


Event = Trained | Evaluated | Tested | Guarded | Sampled | Snapshot | BaselinesCounted | Ended
Metric = Trained | Evaluated | Tested | Guarded


def as_json(event: Metric) -> dict[str, Any]:
    """Return `event` as an object of `metrics.jsonl`. A number that is not finite (of a guard event) is a string."""
    values = {"event": event.event, **vars(event.at), **{k: v for k, v in vars(event).items() if k != "at"}}
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
