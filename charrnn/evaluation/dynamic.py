"""Dynamic evaluation: the network keeps learning from the text that it is evaluated on.

The text is read once, from its start, with the state carried on. For each chunk of T characters the losses are computed
first; then one update is made with it. So no character is learned before it is predicted. Weights can pick up
names, words and habits of a text that the hidden state forgets (Mikolov et al., 2010, "Recurrent neural network based
language model"; Krause et al., 2018, "Dynamic evaluation of neural sequence models").

The update is the run's own: its rule, its optimizer state and its clipping, on a copy of the weights. There is no
dropout, no weight decay, and no decay toward the trained weights (Krause et al.), which hardly helped
(docs/design/experiments.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn import arguments
from charrnn.backend import Array, one_thread
from charrnn.checkpoint import Checkpoint
from charrnn.errors import ConfigError
from charrnn.evaluation.protocols import Evaluation, chunk_at, first_position, predicted_characters
from charrnn.model import Chunk, Network, Views, Workspace, loss_and_grad, next_state
from charrnn.optim import TRACE_COLUMNS, Guard, TrainedArrays, UpdateInputs, apply_update, rule
from charrnn.text import Part

CAPACITY = 100
"""Chunks whose losses stay on the device before they are read."""
SHARES = {"adagrad": 0.5, "rmsprop": 0.1, "adam": 0.1}
"""The default learning rate as a share of the run's. The gradient of one stream is noisier than that of a batch; the
steps of Adagrad have become small during training."""


@dataclass(frozen=True)
class Dynamic:
    """The settings of dynamic evaluation. Raises `ConfigError` for values out of range.

    Attributes:
        chunk: T, the characters between two updates.
        rate: the learning rate; None for a share of the run's: a half with Adagrad, else a tenth.
    """

    chunk: int = 32
    rate: float | None = None

    def __post_init__(self) -> None:
        arguments.whole(self.chunk, "--dynamic-chunk")
        if self.rate is not None:
            arguments.number(self.rate, "--dynamic-rate")
        if self.chunk < 1:
            raise ConfigError(f"--dynamic-chunk must be at least 1, not {self.chunk}")
        if self.rate is not None and not 0 <= self.rate <= 1e38:
            raise ConfigError(f"--dynamic-rate must be at least 0 and at most 1e38, not {self.rate}")

    @property
    def protocol(self) -> str:
        """`dynamic:T`, or `dynamic:T@RATE` for a rate that is not the default."""
        return f"dynamic:{self.chunk}" + ("" if self.rate is None else f"@{self.rate:g}")


class Learner:
    """A copy of a network's weights that is updated with every chunk of one stream of text."""

    def __init__(self, network: Network, params: Views, saved: Checkpoint, rate: float) -> None:
        backend, layout, dtype = network.backend, network.layout, network.dtype
        self.network, self.config = network, saved.meta.config.optimizer
        self.rate, self.done = rate, saved.meta.step
        self.rule, self.state = rule(self.config), network.zero_state(1)
        self.vector, self.grad = (backend.zeros((layout.size,), dtype) for _ in range(2))
        self.params, self.grads = network.views(self.vector), network.views(self.grad)
        for name, weights in self.params.items():
            weights[...] = params[name]
        self.slots = {name: backend.zeros((layout.size,), dtype) for name in self.rule.slots}
        for name, vector in self.slots.items():
            vector[...] = backend.from_host(saved.vector(f"optimizer/{name}", layout))
        self.arrays = TrainedArrays(self.vector, None, self.vector, self.slots, [], Guard(backend, dtype))
        self.trace = backend.zeros((TRACE_COLUMNS,), dtype)

    def read(self, chunk: Chunk, work: Workspace) -> Array:
        """Return the summed nats (0-d) of a chunk (T, 1), then update the weights with it.

        The guard skips an update that is not finite; after three in a row it skips all.
        """
        backend = self.network.backend
        nats = loss_and_grad(self.network, self.params, self.grads, chunk, self.state, work, scale=1.0)
        next_state(work, out=self.state)
        self.done += 1
        inputs, update = UpdateInputs(self.done, self.rate, characters=1), backend.fused("apply_update", apply_update)
        settings = {"trace": self.trace, "rule": self.rule, "config": self.config, "backend": backend}
        with backend.quiet():
            update(self.arrays, self.grad, nats, inputs, **settings)
        return nats


def dynamic_evaluation(
    network: Network, params: Views, part: Part, optimizer_state: Checkpoint | None, settings: Dynamic
) -> Evaluation:
    """Evaluate a network on a text while a copy of it learns from the text. It predicts the characters of `carried`.

    Args:
        network: the shape of the network.
        params: its weights; not changed.
        part: the text; the state is reset where a document begins, the learned weights are kept.
        optimizer_state: the run's checkpoint: its update rule and the optimizer's tensors.
        settings: the chunks and the learning rate.

    Raises `ConfigError` without an optimizer state, and `CheckpointError` for a tensor that does not fit.
    """
    if optimizer_state is None:
        raise ConfigError("the model has no optimizer state, as it was not trained here: evaluate without --dynamic")
    optimizer, rate, count = optimizer_state.meta.config.optimizer, settings.rate, predicted_characters(network, part)
    if rate is None:
        rate = SHARES[optimizer.name] * optimizer.learning_rate
    nats = sum(losses(Learner(network, params, optimizer_state, rate), part, settings.chunk))
    return Evaluation(nats / count, count, settings.protocol)


def losses(learner: Learner, part: Part, T: int) -> Iterator[float]:
    """Yield the summed nats of up to `CAPACITY` chunks of T characters at a time. Waits for the device."""
    network = learner.network
    count, offset = predicted_characters(network, part), first_position(network, part)
    trace = network.backend.zeros((CAPACITY,), network.dtype)
    work = Workspace(network, min(T, count), 1)
    for first in range(0, count, T * CAPACITY):
        chunks = range(first, min(first + T * CAPACITY, count), T)
        with one_thread:
            for slot, start in enumerate(chunks):
                positions = np.arange(start, min(start + T, count))[:, None] + offset
                if len(positions) != work.T:  # the last chunk is shorter
                    work = Workspace(network, len(positions), 1)
                trace[slot] = learner.read(chunk_at(network, part, positions), work)
        yield float(network.backend.to_host(trace)[: len(chunks)].sum(dtype=np.float64))  # sync
