"""Clipping and update rules on the flat parameter vector, written in place.

A rule is a class with its settings, the names of the memory it keeps (`slots`, vectors like the parameters that start
at zero) and `update`. Memory is saved in the checkpoint under these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from charrnn.backend import Array, Backend
from charrnn.config import OptimizerConfig


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al., 2011) exactly as min-char-rnn has it: mem += g²; p -= rate · g / sqrt(mem + eps)."""

    eps: float
    slots: ClassVar[tuple[str, ...]] = ("memory",)

    def update(
        self, params: Array, grad: Array, slots: dict[str, Array], rate: Array, scratch: Array, *, backend: Backend
    ) -> None:
        """One step on vectors of P elements, in place. A zero gradient changes nothing.

        Args:
            params: the parameters.
            grad: the gradient, after clipping.
            slots: this rule's memory by name.
            rate: 0-d, the learning rate of this step.
            scratch: overwritten.
            backend: of the arrays.
        """
        xp, memory = backend.xp, slots["memory"]
        xp.multiply(grad, grad, out=scratch)
        xp.add(memory, scratch, out=memory)
        xp.add(memory, self.eps, out=scratch)
        xp.sqrt(scratch, out=scratch)
        xp.divide(grad, scratch, out=scratch)
        xp.multiply(scratch, rate, out=scratch)
        xp.subtract(params, scratch, out=params)


def rule(config: OptimizerConfig) -> Adagrad:
    """The update rule that a configuration names."""
    return {"adagrad": Adagrad(config.eps)}[config.name]


def clip(grad: Array, norm: Array, config: OptimizerConfig, *, backend: Backend) -> None:
    """Clip `grad` (P,) in place: first to `clip_norm` by its global `norm` (0-d), then each value to ±`clip_value`."""
    if config.clip_norm:
        backend.shrink(grad, norm, config.clip_norm)
    if config.clip_value:
        backend.clip(grad, config.clip_value)


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """The planned learning rate of the update after `step` updates; the guard's scale comes on top."""
    del step  # constant; schedules come here
    return config.learning_rate
