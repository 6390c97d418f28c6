"""Clipping and update rules on the flat parameter vector, written in place.

A rule is a class with its settings, the names of the memory it keeps (`slots`, vectors like the parameters that start
at zero) and `update`. Memory is saved in the checkpoint under these names. A step that does not count (`ok` is false,
and its gradient zero) changes neither parameters nor memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from charrnn.backend import Array, Backend
from charrnn.config import OptimizerConfig


class Rule(Protocol):
    """What moves the parameters."""

    slots: ClassVar[tuple[str, ...]]

    def update(
        self,
        params: Array,
        grad: Array,
        slots: dict[str, Array],
        *,
        rate: Array,
        step: int,
        ok: Array,
        backend: Backend,
    ) -> None:
        """One step on vectors of P elements, in place.

        Args:
            params: the parameters.
            grad: the gradient, after clipping; overwritten.
            slots: this rule's memory by name.
            rate: 0-d, the learning rate of this step.
            step: which one it is, from 1.
            ok: 0-d boolean, whether the step counts.
            backend: of the arrays.
        """


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al., 2011) exactly as min-char-rnn has it: mem += g²; p -= rate · g / sqrt(mem + eps)."""

    eps: float
    slots: ClassVar[tuple[str, ...]] = ("memory",)

    def update(
        self,
        params: Array,
        grad: Array,
        slots: dict[str, Array],
        *,
        rate: Array,
        step: int,
        ok: Array,
        backend: Backend,
    ) -> None:
        """See `Rule`. A zero gradient changes nothing by itself."""
        del step, ok
        xp = backend.xp
        for p, g, memory, scratch in backend.blocks(params, grad, slots["memory"]):
            xp.multiply(g, g, out=scratch)
            xp.add(memory, scratch, out=memory)
            xp.add(memory, self.eps, out=scratch)
            xp.sqrt(scratch, out=scratch)
            xp.divide(g, scratch, out=scratch)
            xp.multiply(scratch, rate, out=scratch)
            xp.subtract(p, scratch, out=p)


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Tieleman & Hinton, 2012): v += (1 - beta2) · (g² - v); p -= rate · g / (sqrt(v) + eps)."""

    beta2: float
    eps: float
    slots: ClassVar[tuple[str, ...]] = ("square",)

    def update(
        self,
        params: Array,
        grad: Array,
        slots: dict[str, Array],
        *,
        rate: Array,
        step: int,
        ok: Array,
        backend: Backend,
    ) -> None:
        """See `Rule`."""
        del step
        xp, blend = backend.xp, share(1 - self.beta2, ok, rate, backend)
        for p, g, v, scratch in backend.blocks(params, grad, slots["square"]):
            xp.multiply(g, g, out=scratch)
            mix(v, scratch, blend, xp=xp)
            xp.sqrt(v, out=scratch)
            xp.add(scratch, self.eps, out=scratch)
            xp.divide(g, scratch, out=g)
            xp.multiply(g, rate, out=g)
            xp.subtract(p, g, out=p)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, 2015, algorithm 1): m and v are running means of g and g², both corrected for their start.

    m += (1 - beta1) · (g - m); v += (1 - beta2) · (g² - v);
    p -= rate · m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps). With `decay` it is AdamW.
    """

    beta1: float
    beta2: float
    eps: float
    slots: ClassVar[tuple[str, ...]] = ("mean", "square")

    def update(
        self,
        params: Array,
        grad: Array,
        slots: dict[str, Array],
        *,
        rate: Array,
        step: int,
        ok: Array,
        backend: Backend,
    ) -> None:
        """See `Rule`."""
        xp = backend.xp
        blend1, blend2 = (share(1 - beta, ok, rate, backend) for beta in (self.beta1, self.beta2))
        scale = share(1 / (1 - self.beta1**step), ok, rate, backend) * rate
        spread = (1 - self.beta2**step) ** -0.5
        for p, g, m, v, scratch in backend.blocks(params, grad, slots["mean"], slots["square"]):
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


def share(value: float, ok: Array, like: Array, backend: Backend) -> Array:
    """`value` as a 0-d array where `ok` holds, else 0: what multiplies a change that a skipped step must not make."""
    return backend.select(ok, like * 0.0 + value, like * 0.0)


def mix(mean: Array, value: Array, blend: Array, *, xp: Any) -> None:
    """mean += blend · (value - mean) in place; `value` is overwritten."""
    xp.subtract(value, mean, out=value)
    xp.multiply(value, blend, out=value)
    xp.add(mean, value, out=mean)


def decay(params: Array, decayed: Array, amount: float, *, rate: Array, ok: Array, backend: Backend) -> None:
    """Decoupled weight decay (Loshchilov & Hutter, 2019) on (P,), in place: p -= rate · amount · p, if the step counts.

    Only where `decayed` (P,) is 1; elsewhere it is 0.
    """
    lost = share(amount, ok, rate, backend) * rate
    for p, flags, scratch in backend.blocks(params, decayed):
        backend.xp.multiply(flags, lost, out=scratch)
        backend.xp.subtract(1.0, scratch, out=scratch)
        backend.xp.multiply(p, scratch, out=p)


def blend(keep: float, step: int) -> float:
    """The share of the new weights in their average: 1 - min(keep, step / (step + 9)), or 0 where there is none.

    Young averages forget faster, so that the weights of the start do not stay in them.
    """
    return 1 - min(keep, step / (step + 9)) if keep else 0.0


def average(mean: Array, params: Array, amount: float, *, ok: Array, like: Array, backend: Backend) -> None:
    """Move the average of the weights, (P,), towards `params` (P,) in place: mean += amount · (params - mean).

    Only where the step counts; `amount` is a `blend`, and `like` any 0-d array of the dtype.
    """
    factor = share(amount, ok, like, backend)
    for old, new, scratch in backend.blocks(mean, params):
        backend.xp.subtract(new, old, out=scratch)
        backend.xp.multiply(scratch, factor, out=scratch)
        backend.xp.add(old, scratch, out=old)


def clip(grad: Array, norm: Array, config: OptimizerConfig, *, backend: Backend) -> None:
    """Clip `grad` (P,) in place: first to `clip_norm` by its global `norm` (0-d), then each value to ±`clip_value`."""
    if config.clip_norm:
        backend.shrink(grad, norm, config.clip_norm)
    if config.clip_value:
        backend.clip(grad, config.clip_value)
