"""Where the time of a training step goes, and what ranks send in it: for `charrnn train --profile`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from charrnn.backend import Array
from charrnn.training.step import Trainer


class ProfiledTrainer(Trainer):
    """A trainer that measures the parts of its steps, with the same results.

    After a part it waits for the device, and before an exchange for the other ranks. A GPU loses time by that.

    Attributes:
        spent: the seconds of every part, in all steps.
        steps: how many steps were measured.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.spent, self.steps = defaultdict[str, float](float), 0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        began = time.perf_counter()
        yield
        self.network.backend.to_host(self.losses)  # sync
        self.spent[part] += time.perf_counter() - began

    def prepare_masks(self) -> None:
        with self.timed("masks"):
            super().prepare_masks()

    def compute_shards(self) -> None:
        with self.timed("forward and backward"):
            super().compute_shards()

    def add_shards(self) -> tuple[Array, Array]:
        if self.exchange is None:
            with self.timed("sum of the shards"):
                return super().add_shards()
        with self.timed("waiting for other ranks"):
            self.ranks.comm.Barrier()
        with self.timed("exchange of gradients"):
            return super().add_shards()

    def update(self, grad: Array, losses: Array) -> None:
        with self.timed("update"):
            super().update(grad, losses)
        self.steps += 1


@dataclass(frozen=True)
class Sent:
    """What a rank sends in a step, as a mean of the ranks.

    Attributes:
        messages: messages to other ranks, as counted.
        bytes: the bytes of these, as counted.
        shards, parameters, ranks, itemsize: S, P, N, and the bytes of a number.
    """

    messages: float
    bytes: float
    shards: int
    parameters: int
    ranks: int
    itemsize: int

    @property
    def expected(self) -> float:
        """The bytes that the cost model expects: of (S/N + 1) P (N-1)/N numbers."""
        S, P, N = self.shards, self.parameters, self.ranks
        return (S / N + 1) * P * (N - 1) / N * self.itemsize


@dataclass(frozen=True)
class MeanStep:
    """The mean of the steps of a process, and of all ranks.

    Attributes:
        steps: how many steps were measured.
        seconds: the seconds of every part, in the order in which they follow one another.
        sent: what a rank sends; None without other ranks.
    """

    steps: int
    seconds: dict[str, float]
    sent: Sent | None


def mean_step(trainer: Trainer) -> MeanStep | None:
    """Return what a profiled trainer has measured; None if it has done no step. All ranks must call it."""
    assert isinstance(trainer, ProfiledTrainer)
    steps, exchange, N = trainer.steps, trainer.exchange, trainer.ranks.size
    if not steps:
        return None
    spent = trainer.ranks.gather(trainer.spent)
    seconds = {part: sum(one[part] for one in spent) / (N * steps) for part in trainer.spent}
    if exchange is None:
        return MeanStep(steps, seconds, None)
    messages, count = map(sum, zip(*trainer.ranks.gather((exchange.messages, exchange.bytes)), strict=True))
    each, P = N * steps, len(exchange.total)
    shards = sum(trainer.ranks.gather(len(trainer.shards)))
    return MeanStep(steps, seconds, Sent(messages / each, count / each, shards, P, N, exchange.total.itemsize))
