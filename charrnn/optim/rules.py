"""Clipping and update rules on the flat parameter vector, written in place.

A rule is a class with its settings, the names of the memory it keeps (`slots`, vectors like the parameters that start
at zero) and `move`. Memory is saved in the checkpoint under these names. A step that does not count (`ok` is false,
and its gradient zero) changes neither parameters nor memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from charrnn.backend import Array, Backend
from charrnn.config import OptimizerConfig


class Update(NamedTuple):
    """One update of the parameters.

    Attributes:
        number: which one it is, from 1.
        rate: 0-d, its learning rate.
        ok: 0-d boolean, whether the step counts.
        backend: of the arrays.
    """

    number: int
    rate: Array
    ok: Array
    backend: Backend

    def share(self, value: float) -> Array:
        """`value` as a 0-d array if the step counts, else 0: the factor of what a skipped step must not change."""
        zero = self.rate * 0.0
        return self.backend.select(self.ok, zero + value, zero)


class Rule(Protocol):
    """What moves the parameters."""

    slots: ClassVar[tuple[str, ...]]

    def move(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """One update of vectors of P elements, in place.

        Args:
            params: the parameters.
            grad: the gradient, after clipping; overwritten.
            slots: this rule's memory by name.
            update: which one, and how far.
        """


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al., 2011) exactly as min-char-rnn has it: mem += g²; p -= rate · g / sqrt(mem + eps)."""

    eps: float
    slots: ClassVar[tuple[str, ...]] = ("memory",)

    def move(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """See `Rule`. A zero gradient changes nothing by itself."""
        xp = update.backend.xp
        for p, g, memory, scratch in update.backend.blocks(params, grad, slots["memory"]):
            xp.multiply(g, g, out=scratch)
            xp.add(memory, scratch, out=memory)
            xp.add(memory, self.eps, out=scratch)
            xp.sqrt(scratch, out=scratch)
            xp.divide(g, scratch, out=scratch)
            xp.multiply(scratch, update.rate, out=scratch)
            xp.subtract(p, scratch, out=p)


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Tieleman & Hinton, 2012): v += (1 - beta2) · (g² - v); p -= rate · g / (sqrt(v) + eps)."""

    beta2: float
    eps: float
    slots: ClassVar[tuple[str, ...]] = ("square",)

    def move(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """See `Rule`."""
        xp, blend = update.backend.xp, update.share(1 - self.beta2)
        for p, g, v, scratch in update.backend.blocks(params, grad, slots["square"]):
            xp.multiply(g, g, out=scratch)
            mix(v, scratch, blend, xp=xp)
            xp.sqrt(v, out=scratch)
            xp.add(scratch, self.eps, out=scratch)
            xp.divide(g, scratch, out=g)
            xp.multiply(g, update.rate, out=g)
            xp.subtract(p, g, out=p)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, 2015, algorithm 1): m and v are running means of g and g², both corrected for their start.

    m += (1 - beta1) · (g - m); v += (1 - beta2) · (g² - v);
    p -= rate · m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps). With `decay` it is AdamW.
    `step` counts the steps that did not count, too: the guard lowers the rate there anyway.
    """

    beta1: float
    beta2: float
    eps: float
    slots: ClassVar[tuple[str, ...]] = ("mean", "square")

    def move(self, params: Array, grad: Array, slots: dict[str, Array], update: Update) -> None:
        """See `Rule`."""
        xp = update.backend.xp
        blend1, blend2 = update.share(1 - self.beta1), update.share(1 - self.beta2)
        scale = update.share(1 / (1 - self.beta1**update.number)) * update.rate
        spread = (1 - self.beta2**update.number) ** -0.5
        for p, g, m, v, scratch in update.backend.blocks(params, grad, slots["mean"], slots["square"]):
            xp.multiply(g, g, out=scratch)
            mix(m, g, blend1, xp=xp)
            mix(v, scratch, blend2, xp=xp)
            xp.sqrt(v, out=scratch)
            xp.multiply(scratch, spread, out=scratch)
            xp.add(scratch, self.eps, out=scratch)
            xp.divide(m, scratch, out=scratch)
            xp.multiply(scratch, scale, out=scratch)
            xp.subtract(p, scratch, out=p)


def rule(config: OptimizerConfig) -> Rule:
    """The update rule that a configuration names."""
    if config.name == "adam":
        return Adam(config.beta1, config.beta2, config.eps)
    return RMSprop(config.beta2, config.eps) if config.name == "rmsprop" else Adagrad(config.eps)


def mix(mean: Array, value: Array, blend: Array, *, xp: Any) -> None:
    """mean += blend · (value - mean) in place; `value` is overwritten."""
    xp.subtract(value, mean, out=value)
    xp.multiply(value, blend, out=value)
    xp.add(mean, value, out=mean)


def decay(params: Array, decayed: Array, amount: float, update: Update) -> None:
    """Decoupled weight decay (Loshchilov & Hutter, 2019) on (P,), in place: p -= rate · amount · p, if the step counts.

    Only where `decayed` (P,) is 1; elsewhere it is 0.
    """
    xp, lost = update.backend.xp, update.share(amount) * update.rate
    for p, flags, scratch in update.backend.blocks(params, decayed):
        xp.multiply(flags, lost, out=scratch)
        xp.subtract(1.0, scratch, out=scratch)
        xp.multiply(p, scratch, out=p)


def blend(keep: float, step: int) -> float:
    """The share of the new weights in their average: 1 - min(keep, step / (step + 9)), or 0 where there is none.

    Young averages forget faster, so that the weights of the start do not stay in them.
    """
    return 1 - min(keep, step / (step + 9)) if keep else 0.0


def average(mean: Array, params: Array, amount: float, update: Update) -> None:
    """Move the average of the weights, (P,), towards `params` (P,) in place: mean += amount · (params - mean).

    Only if the step counts; `amount` is a `blend`.
    """
    xp, factor = update.backend.xp, update.share(amount)
    for old, new, scratch in update.backend.blocks(mean, params):
        xp.subtract(new, old, out=scratch)
        xp.multiply(scratch, factor, out=scratch)
        xp.add(old, scratch, out=old)


def clip(grad: Array, norm: Array, config: OptimizerConfig, *, backend: Backend) -> None:
    """Clip `grad` (P,) in place: first to `clip_norm` by its global `norm` (0-d), then each value to ±`clip_value`."""
    if config.clip_norm:
        backend.shrink(grad, norm, config.clip_norm)
    if config.clip_value:
        backend.clip(grad, config.clip_value)
