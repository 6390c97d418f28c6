"""One training step: shards, their gradients, and the sum of them. Nothing in it waits for the device.

The batch is cut into shards by configuration. Each computes its flat gradient alone, already divided by the whole B;
the gradients are added in shard order. How many workers do it changes the time, never the bits. What follows, the
guard, clipping and the update, is `update.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.backend import Array, ForkPool, ThreadPool
from charrnn.config import Config
from charrnn.model import Chunk, Network, State, Views, Workspace, drop_inputs, loss_and_grad, next_state
from charrnn.optim import blend, learning_rate, rule, update
from charrnn.optim.guard import Guard
from charrnn.optim.update import Moved, Step
from charrnn.text import Streams
from charrnn.training.masks import Masks

CAPACITY = 100
"""Most steps whose loss and gradient norm stay on the device before someone must read them (`Trainer.drain`)."""


@dataclass
class Shard:
    """A slice of the batch: the state before and after its last chunk, both its own, and its gradient."""

    columns: slice
    state: State
    after: State
    grad: Array
    grads: Views


@dataclass(frozen=True)
class Measured:
    """What a step measured: `step` counts from 1, `loss` is in nats/char, `grad_norm` before clipping."""

    step: int
    loss: float
    grad_norm: float


class Trainer:
    """Parameters, optimiser memory and streams on a device, and the step that moves them.

    Attributes:
        done: steps done; it decides the next chunk.
        decays: how often the plateau schedule has lowered the learning rate.
        vector: (P,) the parameters; `params` are its named views.
        average: (P,) what is evaluated and sampled from: the running mean of the parameters, or they themselves.
        slots: the update rule's memory, (P,) each.
        guard: the judge of each step.
    """

    def __init__(self, config: Config, network: Network, streams: Streams, thread_pool: ThreadPool) -> None:
        backend, B, dtype = network.backend, streams.ids.shape[1], network.dtype
        self.config, self.network, self.streams, self.thread_pool = config, network, streams, thread_pool
        self.ids = backend.rows(streams.ids)
        self.masks = Masks(config, network, streams)
        self.rule = rule(config.optimizer)
        self.done = self.decays = 0
        self.vector = backend.shared_zeros((network.layout.size,), dtype)
        self.params = network.views(self.vector)
        self.average = backend.zeros((network.layout.size,), dtype) if config.optimizer.average else self.vector
        self.slots = {name: backend.zeros((network.layout.size,), dtype) for name in self.rule.slots}
        self.guard = Guard(backend, dtype)
        shards = 1 if backend.one_thread_only else min(config.train.shards, B)
        self.shards = [self.shard(slice(B * i // shards, B * (i + 1) // shards)) for i in range(shards)]
        states = [(shard.after[name], state) for shard in self.shards for name, state in shard.state.items()]
        self.moved = Moved(self.vector, self.decayed(), self.average, self.slots, states, self.guard)
        self.losses = backend.shared_zeros((shards,), dtype)
        self.pool = ForkPool(shards, thread_pool, shares=backend.shares)
        self.free: dict[int, list[Workspace]] = {}
        self.trace = backend.zeros((CAPACITY, 2), dtype)
        self.drained = 0

    def shard(self, columns: slice) -> Shard:
        """The shard of these streams, in the state before a text begins."""
        network, shared_zeros = self.network, self.network.backend.shared_zeros
        grad = shared_zeros((network.layout.size,), network.dtype)
        shape = (network.num_layers, columns.stop - columns.start, network.hidden_size)
        state, after = ({n: shared_zeros(shape, network.dtype) for n in network.cell.STATES} for _ in range(2))
        return Shard(columns, state, after, grad, network.views(grad))

    def decayed(self) -> Array | None:
        """(P,), 1 for each parameter that decays: all but biases; None without weight decay."""
        if not self.config.optimizer.weight_decay:
            return None
        flags = self.network.backend.zeros((self.network.layout.size,), self.network.dtype)
        for name, view in self.network.views(flags).items():
            view[...] = float(len(self.params[name].shape) > 1)
        return flags

    def step(self) -> None:
        """Train on the next chunk. Loss and norm stay on the device until `drain`."""
        self.masks.reach(self.done)
        self.pool.run(self.compute, self.done)
        with self.network.backend.quiet():
            self.update()
        self.done += 1

    def update(self) -> None:
        """Add up what the shards left, judge it, and move the parameters and states if it counts."""
        backend = self.network.backend
        grad, loss = self.shards[0].grad, self.losses[0]
        for part in range(1, len(self.shards)):
            backend.xp.add(grad, self.shards[part].grad, out=grad)
            loss = loss + self.losses[part]
        config, trace, number = self.config.optimizer, self.trace[self.done - self.drained, :], self.done + 1
        characters = self.streams.seq_length * self.streams.ids.shape[1]
        step = Step(number, self.learning_rate(self.done), characters, blend(config.average, number))
        apply_update = backend.fused("apply_update", update.apply_update)
        apply_update(self.moved, grad, loss, step, trace=trace, rule=self.rule, config=config, backend=backend)

    def learning_rate(self, step: int) -> float:
        """That of update number `step` + 1, without the guard's scale."""
        return learning_rate(self.config.optimizer, step, self.config.train.steps, self.decays)

    def compute(self, part: int, step: int) -> None:
        """Leave the loss (summed nats) of one shard's part of the chunk in `losses`, gradient and state in the shard.

        May run in a worker process: it reads and writes only shared memory and memory of its own.
        """
        backend, B, shard = self.network.backend, self.streams.ids.shape[1], self.shards[part]
        _, row = self.streams.chunk(step)
        ids = backend.indices(self.ids.read(row, row + self.streams.seq_length + 1)[:, shard.columns])
        mask = self.masks.of(step, shard.columns)
        inputs = ids[:-1, :] if mask.characters is None else drop_inputs(ids[:-1, :], mask.characters, backend=backend)
        reshape = backend.xp.reshape
        chunk = Chunk(reshape(inputs, (-1,)), reshape(ids[1:, :], (-1,)), mask.keep, mask.outputs, mask.connections)
        width, dropout = shard.columns.stop - shard.columns.start, self.masks.active
        spare = self.free.setdefault(width, [])
        work = spare.pop() if spare else Workspace(self.network, self.streams.seq_length, width, dropout=dropout)
        self.losses[part] = loss_and_grad(self.network, self.params, shard.grads, chunk, shard.state, work, scale=1 / B)
        next_state(work, out=shard.after)
        spare.append(work)

    def close(self) -> None:
        """End the worker processes and threads."""
        self.pool.close()
        self.thread_pool.close()

    @property
    def full(self) -> bool:
        """Whether `drain` must come before the next step."""
        return self.done - self.drained == CAPACITY

    def drain(self) -> list[Measured]:
        """What the steps since the last call measured. Waits for the device."""  # sync
        values = self.network.backend.to_host(self.trace)[: self.done - self.drained].astype(np.float64)
        first, self.drained = self.drained + 1, self.done
        return [Measured(first + i, float(loss), float(norm)) for i, (loss, norm) in enumerate(values)]

    def state(self) -> State:
        """The state of all streams, (L, B, H) by name, in the batch's order."""
        concat = self.network.backend.xp.concat
        return {name: concat([s.state[name] for s in self.shards], axis=1) for name in self.shards[0].state}

    def restore_state(self, state: State) -> None:
        """The inverse of `state`, for any number of shards."""
        for shard in self.shards:
            for name, array in shard.state.items():
                array[...] = state[name][:, shard.columns, :]
