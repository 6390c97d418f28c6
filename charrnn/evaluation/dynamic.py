"""Dynamic evaluation: a network that goes on learning from what it reads, judged on each chunk before it learns it.

A text that differs from the training text, or that repeats itself, has names, words and habits that weights can take up
and a state forgets (Mikolov et al., 2010, "Recurrent neural network based language model"; Krause et al., 2018,
"Dynamic evaluation of neural sequence models"). The text is read once, from its start, the state carried. Of each
chunk of T characters first the surprise is counted, then one step is taken on it: the run's own update rule with the
memory that its optimiser had, on a copy of the weights, clipped as in training. There is no dropout and no weight
decay, and no pull back to the trained weights (Krause's decay), which brought next to nothing (DESIGN.md has figures).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.backend import Array, one_thread
from charrnn.checkpoint import Checkpoint
from charrnn.errors import ConfigError
from charrnn.evaluation.protocols import Evaluation, chunk_at, predicted
from charrnn.model import Chunk, Network, Views, Workspace, loss_and_grad, next_state
from charrnn.optim import rule, update
from charrnn.optim.guard import Guard
from charrnn.optim.update import Moved, Step
from charrnn.text import Part

CAPACITY = 100
"""Chunks whose losses wait on the device before they are read."""

SHARES = {"adagrad": 0.5, "rmsprop": 0.1, "adam": 0.1}
"""The learning rate, as a share of the run's: one stream's gradient is noisier than a batch's. Adagrad's steps have
become small by themselves."""


@dataclass(frozen=True)
class Dynamic:
    """How to learn from a text.

    Attributes:
        chunk: T, the characters between two updates.
        rate: the learning rate; None for that of `SHARES`.

    Raises `ConfigError` for values that cannot be.
    """

    chunk: int = 32
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ConfigError(f"--dynamic-chunk must be at least 1, not {self.chunk}")
        if self.rate is not None and not 0 <= self.rate <= 1e38:
            raise ConfigError(f"--dynamic-rate must be at least 0 and at most 1e38, not {self.rate}")

    @property
    def protocol(self) -> str:
        """`dynamic:T`, or `dynamic:T@RATE` where the rate was chosen."""
        return f"dynamic:{self.chunk}" + ("" if self.rate is None else f"@{self.rate:g}")


class Learner:
    """A copy of a network's weights, on one stream of text, that moves with every chunk."""

    def __init__(self, network: Network, params: Views, saved: Checkpoint, rate: float) -> None:
        backend, layout, dtype = network.backend, network.layout, network.dtype
        self.network, self.config = network, saved.meta.config.optimizer
        self.rate, self.done = rate, saved.meta.step
        self.rule, guard, self.state = rule(self.config), Guard(backend, dtype), network.zero_state(1)
        self.vector, self.grad = (backend.zeros((layout.size,), dtype) for _ in range(2))
        self.params, self.grads = network.views(self.vector), network.views(self.grad)
        for name, weights in self.params.items():
            weights[...] = params[name]
        self.slots = {name: backend.zeros((layout.size,), dtype) for name in self.rule.slots}
        for name, vector in self.slots.items():
            vector[...] = backend.from_host(saved.flat(f"optimizer/{name}", layout))
        self.moved = Moved(self.vector, None, self.vector, self.slots, [], guard)
        self.trace = backend.zeros((2,), dtype)

    def read(self, chunk: Chunk, work: Workspace) -> Array:
        """The summed nats (0-d) of a chunk (T, 1) under the weights as they were; then one update on it.

        A step whose loss or gradient is not finite is none; after three in a row nothing is learnt any more.
        """
        backend, grad = self.network.backend, self.grad
        nats = loss_and_grad(self.network, self.params, self.grads, chunk, self.state, work, scale=1.0)
        next_state(work, out=self.state)
        self.done += 1
        with backend.quiet():
            step = Step(self.done, self.rate, 1)
            apply_update = backend.fused("apply_update", update.apply_update)
            apply_update(
                self.moved, grad, nats, step, trace=self.trace, rule=self.rule, config=self.config, backend=backend
            )
        return nats


def dynamic_evaluation(
    network: Network, params: Views, part: Part, saved: Checkpoint | None, how: Dynamic
) -> Evaluation:
    """Read a text and learn from it on the way; the first character is not predicted.

    Args:
        network: the shape of the network.
        params: its weights, which stay as they are.
        part: the text; the state is dropped where a document begins, what was learnt stays.
        saved: the run's checkpoint, for its update rule and the optimiser's memory.
        how: the chunks and the rate.

    Raises `ConfigError` where there is none, `CheckpointError` for a tensor that is missing or does not fit.
    """
    if saved is None:
        raise ConfigError("the model has no optimizer memory, as it was not trained here: evaluate without --dynamic")
    said, rate, count = saved.meta.config.optimizer, how.rate, predicted(part)
    if rate is None:
        rate = SHARES[said.name] * said.learning_rate
    nats = sum(losses(Learner(network, params, saved, rate), part, how.chunk))
    return Evaluation(nats / count, count, how.protocol)


def losses(learner: Learner, part: Part, T: int) -> Iterator[float]:
    """The summed nats of up to `CAPACITY` chunks of T characters at a time. Waits for the device."""
    network, count = learner.network, predicted(part)
    trace = network.backend.zeros((CAPACITY,), network.dtype)
    work = Workspace(network, min(T, count), 1)
    for first in range(0, count, T * CAPACITY):
        chunks = range(first, min(first + T * CAPACITY, count), T)
        with one_thread:
            for slot, begin in enumerate(chunks):
                positions = np.arange(begin, min(begin + T, count))[:, None]
                if len(positions) != work.T:  # the last, shorter
                    work = Workspace(network, len(positions), 1)
                trace[slot] = learner.read(chunk_at(network, part, positions), work)
        yield float(network.backend.to_host(trace)[: len(chunks)].sum(dtype=np.float64))  # sync
