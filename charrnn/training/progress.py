"""The host's side of a run: losses, bad steps, evaluations, sizes; what a checkpoint keeps besides arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.checkpoint import Best, Checkpoint
from charrnn.optim.guard import LIMIT


@dataclass
class Progress:
    """The host's side of a run: what a checkpoint keeps besides arrays.

    Attributes:
        smooth_loss: nats/char, exponentially averaged over every step that counted.
        scale: the guard's factor on the learning rate.
        bad: bad steps in a row.
        best: the best evaluation so far.
        stale: evaluations since then.
        samples_size: bytes of samples so far.
        seconds: before this process took over.
    """

    smooth_loss: float
    scale: float = 1.0
    bad: int = 0
    best: Best | None = None
    stale: int = 0
    samples_size: int = 0
    seconds: float = 0.0

    def improved(self, step: int, val_loss: float, *, trained: bool, counts: bool) -> bool:
        """Take note of an evaluation: whether it is the best so far. An untrained network is nobody's best.

        One that `counts` and is no better makes the run stale.
        """
        better = trained and val_loss < (math.inf if self.best is None else self.best.val_loss)
        if better or step == 0:
            self.stale = 0
        elif counts:
            self.stale += 1
        if better:
            self.best = Best(step, val_loss)
        return better

    def overdue(self, patience: int) -> bool:
        """Whether another `patience` evaluations have passed without a better one."""
        return self.stale > 0 and self.stale % patience == 0


def progress_of(saved: Checkpoint | None, vocab_size: int, seconds: float) -> Progress:
    """The host's side of a run: from a checkpoint, or at the start, where the average begins at ln V."""
    if saved is None:
        return Progress(smooth_loss=math.log(vocab_size))
    meta = saved.meta
    bad = int(saved.tensors["guard/bad"])
    return Progress(
        smooth_loss=meta.smooth_loss,
        scale=float(saved.tensors["guard/scale"]),
        bad=bad if bad < LIMIT else 0,
        best=meta.best,
        stale=meta.stale,
        samples_size=meta.samples_size,
        seconds=seconds,
    )
