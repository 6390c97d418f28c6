"""What happens while training, as plain values: the loop yields them, and the caller decides what to do with each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from charrnn.checkpoint import Checkpoint
from charrnn.evaluation.baselines import Baselines

LIKE_HEADER = re.compile(r"^>*--- step [0-9]+ ---$", re.MULTILINE)


@dataclass(frozen=True)
class Moment:
    """When an event happened: updates done, characters trained on, seconds of this run so far."""

    step: int
    chars: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """Every `log.every` steps. Losses in nats/char; `grad_norm` before clipping; the rate excludes all but training."""

    event: ClassVar[str] = "train"
    at: Moment
    loss: float
    smooth_loss: float
    grad_norm: float
    learning_rate: float
    chars_per_second: float
    device: str


@dataclass(frozen=True)
class Evaluated:
    """An evaluation on the validation split, nats/char."""

    event: ClassVar[str] = "eval"
    at: Moment
    val_loss: float
    val_bits_per_char: float
    best: bool


@dataclass(frozen=True)
class Guarded:
    """A step that was skipped because its loss or gradient norm was not finite."""

    event: ClassVar[str] = "guard"
    at: Moment
    loss: float
    grad_norm: float
    bad_in_a_row: int
    learning_rate: float  # of the steps to come


@dataclass(frozen=True)
class Sampled:
    """A sample of the network as it is."""

    at: Moment
    text: str

    @property
    def entry(self) -> bytes:
        """The bytes of this sample in `samples.txt`. A line of text that looks like a header gets a `>` before it."""
        text = LIKE_HEADER.sub(r">\g<0>", self.text)
        return f"--- step {self.at.step} ---\n{text}\n\n".encode()


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint that is due."""

    at: Moment
    checkpoint: Checkpoint


@dataclass(frozen=True)
class BaselinesCounted:
    """The baselines of the run's split are known: once a run, where there is a run directory."""

    at: Moment
    baselines: Baselines


@dataclass(frozen=True)
class Ended:
    """The last event.

    Attributes:
        at: where the run is.
        reason: `steps`, all are done; `minutes`, the time is over that they were planned for; `patience`, no progress;
            `stop_after`, as many as this process was to do; `time`, --minutes cut short what was planned otherwise;
            `interrupted`, by a signal; `diverged`, by the guard. After the first three the run is finished.
    """

    at: Moment
    reason: str


Event = Trained | Evaluated | Guarded | Sampled | Snapshot | BaselinesCounted | Ended
Metric = Trained | Evaluated | Guarded


def as_json(event: Metric) -> dict[str, Any]:
    """`event` as an object of `metrics.jsonl`. Only a guard event can hold a number that is not finite: as a string."""
    values = {"event": event.event, **vars(event.at), **{k: v for k, v in vars(event).items() if k != "at"}}
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
