"""What follows the gradient: the guard, clipping, weight decay, the update rule and the average of the weights.

`apply_update` does it all, on flat vectors (P,) and in place. Nothing here waits for the device.

An update rule is a class with its settings, the names of the vectors it keeps (`slots`; they start at zero and are
saved in checkpoints under these names) and `apply`. A skipped step (`ok` is false and its gradient zero) changes
neither the parameters nor the slots. `Backend.blocks` yields matching slices of vectors and a scratch array of the same
length, so that a chain of operations stays in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from charrnn.backend import Array, Backend
from charrnn.config import OptimizerConfig

GUARD_LIMIT = 3
"""Skipped steps in a row after which the guard skips every step, and the loop stops."""
TRACE_COLUMNS = 4
"""What `apply_update` records of a step: loss, gradient norm, and the guard's `scale` and `bad` after it."""


class UpdateInputs(NamedTuple):
    """The numbers of one update.

    Attributes:
        number: of the update, from 1.
        learning_rate: of the schedule, without the guard's scale.
        characters: how many the loss sums over.
        average_share: the share of the new weights in their running mean; 0 if no mean is kept.
    """

    number: int
    learning_rate: float
    characters: int
    average_share: float = 0.0


@dataclass(frozen=True)
class TrainedArrays:
    """The arrays that an update changes, on the device.

    Attributes:
        vector: (P,) the parameters.
        decayed: (P,), 1 for each parameter that decays, else 0; None without weight decay.
        average: (P,) the running mean of the parameters; `vector` itself if no mean is kept.
        slots: the vectors (P,) of the update rule.
        states: pairs of the state after the chunk and the array that gets it if the step is not skipped.
        guard: decides whether the step is skipped.
    """

    vector: Array
    decayed: Array | None
    average: Array
    slots: dict[str, Array]
    states: list[tuple[Array, Array]]
    guard: Guard


def apply_update(
    arrays: TrainedArrays,
    grad: Array,
    loss: Array,
    inputs: UpdateInputs,
    *,
    trace: Array,
    rule: Rule,
    config: OptimizerConfig,
    backend: Backend,
) -> None:
    """Let the guard judge a step by its loss and gradient. Unless it is skipped, update the parameters.

    Args:
        arrays: updated in place.
        grad: (P,) the gradient; overwritten.
        loss: 0-d, summed nats.
        inputs: the numbers of this update.
        trace: (4,), receives the loss in nats/char, the gradient's norm before clipping, and the guard's scale and bad.
        rule: the update rule.
        config: how to clip and decay.
        backend: of the arrays.
    """
    guard, xp = arrays.guard, backend.xp
    loss, norm = loss / inputs.characters, xp.sqrt(backend.dot(grad, grad))
    ok = guard.judge(loss, norm)
    trace[0], trace[1], trace[2], trace[3] = loss, norm, guard.scale, guard.bad
    backend.zero_unless(ok, grad)  # of a skipped step; `clip` then leaves it zero, as a norm of NaN is above no bound
    clip(grad, norm, config, backend=backend)
    update = Update(inputs.number, guard.scale * inputs.learning_rate, ok, backend)
    if arrays.decayed is not None:
        decay(arrays.vector, arrays.decayed, config.weight_decay, update)
    rule.apply(arrays.vector, grad, arrays.slots, update)
    if inputs.average_share:
        update_average(arrays.average, arrays.vector, inputs.average_share, update)
    for after, state in arrays.states:
        backend.copy_if(ok, after, out=state)


class Guard:
    """Skips a step whose loss or gradient norm is not finite, and halves the learning rate for good.

    It decides on the device, so the result does not depend on how often the host reads. After `GUARD_LIMIT` skipped
    steps in a row it skips all further steps, until the host notices and stops.

    Attributes:
        scale: 0-d, the factor on the learning rate.
        bad: 0-d, skipped steps in a row.
        limit: `GUARD_LIMIT`.
    """

    limit = GUARD_LIMIT

    def __init__(self, backend: Backend, dtype: str) -> None:
        self.backend = backend
        self.scale: Array = backend.zeros((), dtype) + 1.0
        self.bad: Array = backend.zeros((), dtype)

    def judge(self, loss: Array, norm: Array) -> Array:
        """Update `scale` and `bad`, and return whether (0-d boolean) the step counts.

        `loss` and `norm`, of the gradient before clipping, are 0-d.
        """
        select, stopped = self.backend.select, self.bad >= self.limit
        finite = self.backend.xp.isfinite(loss + norm)
        self.scale = select(finite | stopped, self.scale, self.scale * 0.5)
        self.bad = select(stopped, self.bad, select(finite, self.bad * 0.0, self.bad + 1.0))
        return finite & ~stopped


def clip(grad: Array, norm: Array, config: OptimizerConfig, *, backend: Backend) -> None:
    """Clip `grad` (P,) in place: first to the norm `clip_norm`, then each element to ±`clip_value`. `norm` is 0-d."""
    if config.clip_norm:
        backend.shrink(grad, norm, config.clip_norm)
    if config.clip_value:
        backend.clip(grad, config.clip_value)


# -- update rules -----------------------------------------------------------------------------------------------------


class Update(NamedTuple):
    """One update, as a rule needs it.

    Attributes:
        number: of the update, from 1.
        rate: 0-d, its learning rate.
        ok: 0-d boolean, false for a skipped step.
        backend: of the arrays.
    """

    number: int
    rate: Array
    ok: Array
    backend: Backend

    def if_ok(self, value: float) -> Array:
        """Return `value` as a 0-d array, or 0 for a skipped step."""
        zero = self.rate * 0.0
        return self.backend.select(self.ok, zero + value, zero)


class Rule(Protocol):
    """An update rule."""

    slots: ClassVar[tuple[str, ...]]

    def apply(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """Update vectors of P elements in place.

        Args:
            params: the parameters.
            grad: the gradient, after clipping; overwritten.
            slots: the rule's own vectors, by name.
            update: the number and the learning rate of the update.
        """


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al., 2011), exactly as in min-char-rnn.

    mem += dparam * dparam; param += -learning_rate * dparam / np.sqrt(mem + eps).
    """

    eps: float
    slots: ClassVar[tuple[str, ...]] = ("square_sum",)

    def apply(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """See `Rule`. The zero gradient of a skipped step changes nothing."""
        xp = update.backend.xp
        for p, g, mem, scratch in update.backend.blocks(params, grad, slots["square_sum"]):
            xp.multiply(g, g, out=scratch)
            xp.add(mem, scratch, out=mem)  # mem += g * g
            xp.add(mem, self.eps, out=scratch)
            xp.sqrt(scratch, out=scratch)
            xp.divide(g, scratch, out=scratch)
            xp.multiply(scratch, update.rate, out=scratch)
            xp.subtract(p, scratch, out=p)  # p -= rate * g / sqrt(mem + eps)


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Tieleman & Hinton, 2012): v += (1 - beta2) * (g^2 - v); p -= rate * g / (sqrt(v) + eps)."""

    beta2: float
    eps: float
    slots: ClassVar[tuple[str, ...]] = ("square",)

    def apply(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """See `Rule`."""
        xp, share = update.backend.xp, update.if_ok(1 - self.beta2)
        for p, g, v, scratch in update.backend.blocks(params, grad, slots["square"]):
            xp.multiply(g, g, out=scratch)
            move_towards(v, scratch, share, xp=xp)  # v += (1 - beta2) * (g^2 - v)
            xp.sqrt(v, out=scratch)
            xp.add(scratch, self.eps, out=scratch)
            xp.divide(g, scratch, out=g)
            xp.multiply(g, update.rate, out=g)
            xp.subtract(p, g, out=p)  # p -= rate * g / (sqrt(v) + eps)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, 2015, algorithm 1); with weight decay it is AdamW.

    m += (1 - beta1) * (g - m); v += (1 - beta2) * (g^2 - v);
    p -= rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).

    t counts skipped steps, too. After one the correction for the start of the means is slightly too small; the halved
    rate outweighs that.
    """

    beta1: float
    beta2: float
    eps: float
    slots: ClassVar[tuple[str, ...]] = ("mean", "square")

    def apply(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """See `Rule`."""
        xp, t = update.backend.xp, update.number
        share1, share2 = update.if_ok(1 - self.beta1), update.if_ok(1 - self.beta2)
        corrected_rate = update.if_ok(1 / (1 - self.beta1**t)) * update.rate
        correction = (1 - self.beta2**t) ** -0.5
        for p, g, m, v, scratch in update.backend.blocks(params, grad, slots["mean"], slots["square"]):
            xp.multiply(g, g, out=scratch)
            move_towards(m, g, share1, xp=xp)  # m += (1 - beta1) * (g - m)
            move_towards(v, scratch, share2, xp=xp)  # v += (1 - beta2) * (g^2 - v)
            xp.sqrt(v, out=scratch)
            xp.multiply(scratch, correction, out=scratch)  # sqrt(v / (1 - beta2^t))
            xp.add(scratch, self.eps, out=scratch)
            xp.divide(m, scratch, out=scratch)
            xp.multiply(scratch, corrected_rate, out=scratch)
            xp.subtract(p, scratch, out=p)  # p -= rate / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)


def rule(config: OptimizerConfig) -> Rule:
    """Return the update rule that a configuration names."""
    if config.name == "adam":
        return Adam(config.beta1, config.beta2, config.eps)
    return RMSprop(config.beta2, config.eps) if config.name == "rmsprop" else Adagrad(config.eps)


def move_towards(mean: Array, value: Array, share: Array, *, xp: Any) -> None:
    """mean += share * (value - mean), in place; `value` is overwritten."""
    xp.subtract(value, mean, out=value)
    xp.multiply(value, share, out=value)
    xp.add(mean, value, out=mean)


def decay(params: Array, decayed: Array, amount: float, update: Update) -> None:
    """Decay weights apart from the gradient (Loshchilov & Hutter, 2019), in place: p -= rate * amount * p.

    Only where `decayed` (P,) is 1 (elsewhere it is 0), and not in a skipped step.
    """
    xp, share = update.backend.xp, update.if_ok(amount) * update.rate
    for p, flags, scratch in update.backend.blocks(params, decayed):
        xp.multiply(flags, share, out=scratch)
        xp.subtract(1.0, scratch, out=scratch)
        xp.multiply(p, scratch, out=p)  # p *= 1 - rate * amount


def average_share(decay: float, number: int) -> float:
    """Return the share of the new weights in their running mean: 1 - min(decay, t / (t + 9)) at update t.

    A young mean forgets faster, so that the first weights do not stay in it. Without a mean both are 0.
    """
    return 1 - min(decay, number / (number + 9)) if decay else 0.0


def update_average(mean: Array, params: Array, share: float, update: Update) -> None:
    """mean += share * (params - mean) for vectors (P,), in place, unless the step is skipped."""
    xp, factor = update.backend.xp, update.if_ok(share)
    for old, new, scratch in update.backend.blocks(mean, params):
        xp.subtract(new, old, out=scratch)
        xp.multiply(scratch, factor, out=scratch)
        xp.add(old, scratch, out=old)
