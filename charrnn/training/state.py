"""The state of a run on the device and on the host, as a checkpoint and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charrnn.backend import Array
from charrnn.checkpoint import Best, Checkpoint, Meta, digest_of
from charrnn.checkpoint.schema import to_tensors, vector_names
from charrnn.errors import CheckpointError, DivergedError
from charrnn.optim import GUARD_LIMIT
from charrnn.text import Corpus
from charrnn.training.step import Trainer


@dataclass
class Progress:
    """The host's part of a run's state.

    Attributes:
        smooth_loss: nats/char, an exponential average over every step that was not skipped.
        best: the best evaluation so far.
        stale_evaluations: evaluations since the best.
        samples_size: bytes of samples so far.
        seconds: time that earlier processes have trained for.
    """

    smooth_loss: float
    best: Best | None = None
    stale_evaluations: int = 0
    samples_size: int = 0
    seconds: float = 0.0

    def record(self, step: int, val_loss: float, *, trained: bool, scheduled: bool) -> bool:
        """Record an evaluation and return whether it is the best so far.

        The evaluation of an untrained network is never the best. One that is not better makes the run stale, if it is
        `scheduled`.
        """
        better = trained and val_loss < (math.inf if self.best is None else self.best.val_loss)
        if better or step == 0:
            self.stale_evaluations = 0
        elif scheduled:
            self.stale_evaluations += 1
        if better:
            self.best = Best(step, val_loss)
        return better

    def reduction_is_due(self, patience: int) -> bool:
        """Return whether another `patience` evaluations have passed without a better one."""
        return self.stale_evaluations > 0 and self.stale_evaluations % patience == 0


def vectors(trainer: Trainer) -> dict[str, Array]:
    """Return name in a checkpoint -> the trainer's vector (P,)."""
    slots = {f"optimizer/{slot}": vector for slot, vector in trainer.slots.items()}
    all_vectors = {"parameters": trainer.vector, "average": trainer.average, **slots}
    return {name: all_vectors[name] for name in vector_names(trainer.config)}


def arrays(trainer: Trainer) -> dict[str, Array]:
    """Return name in a checkpoint -> any other array of the trainer."""
    states = {f"state/{name}": array for name, array in trainer.state().items()}
    return {**states, "guard/scale": trainer.guard.scale, "guard/bad": trainer.guard.bad}


def to_checkpoint(trainer: Trainer, progress: Progress, corpus: Corpus) -> Checkpoint:
    """Return the checkpoint of a run. Waits for the device.

    Raise `DivergedError` for a number that is not finite: no run could continue from it. Raise `RanksError` if the
    ranks have computed different parameters.
    """
    host, layout = trainer.network.backend.to_host, trainer.network.layout
    trainer.ranks.check_same("the parameters", lambda: digest_of({"parameters": host(trainer.vector)}))
    tensors = {name: host(array) for name, array in arrays(trainer).items()}  # sync
    for name, vector in vectors(trainer).items():
        tensors |= to_tensors(name, host(vector), layout)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            remedy = "lower optimizer.learning_rate, or clip gradients (optimizer.clip_norm)"
            raise DivergedError(f"{name} overflows at step {trainer.done}: {remedy}")
    meta = Meta(
        step=trainer.done,
        chunk=trainer.streams.chunk(trainer.done)[0],
        config=trainer.config,
        vocabulary=corpus.vocabulary,
        corpus=corpus.name,
        sha256=corpus.sha256,
        smooth_loss=progress.smooth_loss,
        best=progress.best,
        samples_size=progress.samples_size,
        stale_evaluations=progress.stale_evaluations,
        lr_reductions=trainer.lr_reductions,
        **corpus.held_out,
    )
    return Checkpoint(meta, tensors)


def restore(trainer: Trainer, saved: Checkpoint) -> None:
    """The inverse of `to_checkpoint` for the trainer.

    Raise `CheckpointError` for a checkpoint whose step and place in the text do not fit.
    """
    network, upload, tensors = trainer.network, trainer.network.backend.from_host, saved.tensors
    for name, vector in vectors(trainer).items():
        vector[...] = upload(saved.vector(name, network.layout))
    trainer.set_state({name: upload(tensors[f"state/{name}"]) for name in network.cell.STATES})
    trainer.guard.scale, bad = upload(tensors["guard/scale"]), tensors["guard/bad"]
    # A run that the guard stopped continues, when it is resumed, at the reduced rate.
    trainer.guard.bad = upload(bad if bad < GUARD_LIMIT else np.zeros_like(bad))
    trainer.lr_reductions = saved.meta.lr_reductions
    trainer.done = trainer.drained = saved.meta.step
    if trainer.streams.chunk(trainer.done)[0] != saved.meta.chunk:
        raise CheckpointError(f"the checkpoint's step {saved.meta.step} does not fit its place in the text")


def new_progress(vocab_size: int) -> Progress:
    """Return the host's state at the start of a run. The smoothed loss starts at ln V, that of a uniform guess."""
    return Progress(smooth_loss=math.log(vocab_size))


def restored_progress(meta: Meta, seconds: float) -> Progress:
    """The inverse of `to_checkpoint` for the host; `seconds` are those that earlier processes have trained for."""
    return Progress(meta.smooth_loss, meta.best, meta.stale_evaluations, meta.samples_size, seconds)
