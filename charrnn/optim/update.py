"""What follows the gradient: the guard's verdict, clipping, the update rule, and the state of the next chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from charrnn.backend import Array, Backend
from charrnn.config import OptimizerConfig
from charrnn.optim import Rule, Update, average, clip, decay
from charrnn.optim.guard import Guard


@dataclass(frozen=True)
class Moved:
    """The arrays that an update changes, on the device.

    Attributes:
        vector: (P,) the parameters.
        decayed: (P,), 1 for each that decays, else 0; None if none does.
        average: (P,) their running mean; `vector` itself where there is none.
        slots: the rule's memory, (P,) each.
        states: pairs of the state after the last chunk and where it belongs if the step counts.
        guard: the judge.
    """

    vector: Array
    decayed: Array | None
    average: Array
    slots: dict[str, Array]
    states: list[tuple[Array, Array]]
    guard: Guard


class Step(NamedTuple):
    """One update.

    Attributes:
        number: counts from 1.
        rate: the schedule's, without the guard's scale.
        characters: those that the loss sums up.
        blend: the share of the new weights in their average; 0 where there is none.
    """

    number: int
    rate: float
    characters: int
    blend: float = 0.0


def apply_update(
    moved: Moved,
    grad: Array,
    loss: Array,
    step: Step,
    *,
    trace: Array,
    rule: Rule,
    config: OptimizerConfig,
    backend: Backend,
) -> None:
    """Judge a step by its loss and gradient, and if it counts, move. Nothing here waits for the device.

    Args:
        moved: all of it is written in place.
        grad: (P,), overwritten.
        loss: 0-d, summed nats.
        step: which one it is.
        trace: (2,), receives the loss in nats/char and the gradient's norm before clipping.
        rule: how parameters move.
        config: how gradients are clipped and weights decay.
        backend: of the arrays.
    """
    loss, norm = loss / step.characters, backend.xp.sqrt(backend.dot(grad, grad))
    trace[0], trace[1] = loss, norm
    ok = moved.guard.judge(loss, norm)
    backend.zero_unless(ok, grad)
    clip(grad, norm, config, backend=backend)
    update = Update(step.number, moved.guard.scale * step.rate, ok, backend)
    if moved.decayed is not None:
        decay(moved.vector, moved.decayed, config.weight_decay, update)
    rule.move(moved.vector, grad, moved.slots, update)
    if step.blend:
        average(moved.average, moved.vector, step.blend, update)
    for after, state in moved.states:
        backend.copy_if(ok, after, out=state)
