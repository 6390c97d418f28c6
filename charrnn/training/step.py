"""One training step: the gradients of the shards, their sum, and the update. It never waits for the device.

The configuration divides the batch into shards. Each shard computes its flat gradient alone, already divided by the
whole B, and the gradients are added in the order of the shards. So the number of workers changes the time of a step,
never its bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.backend import Array, Exchange, ForkPool, Ranks, SharedPool, ThreadPool
from charrnn.config import Config
from charrnn.model import Chunk, Network, State, Views, Workspace, loss_and_grad, next_state
from charrnn.optim import (
    TRACE_COLUMNS,
    Guard,
    TrainedArrays,
    UpdateInputs,
    apply_update,
    average_share,
    learning_rate,
    rule,
)
from charrnn.text import Streams
from charrnn.training.masks import Masks

CAPACITY = 100
"""How many steps may be recorded on the device before `Trainer.drain` must read them."""


@dataclass
class Shard:
    """A slice of the batch.

    Attributes:
        columns: its streams.
        state: (L, b, H) by name, before the next chunk.
        after: (L, b, H) by name, after the chunk in work; it becomes `state` unless the step is skipped.
        grad: (P,) its gradient; `grads` are the named views.
    """

    columns: slice
    state: State
    after: State
    grad: Array
    grads: Views


@dataclass(frozen=True)
class Measured:
    """What a step recorded.

    Attributes:
        step: its number, from 1.
        loss: nats/char.
        grad_norm: before clipping.
        scale: the guard's factor on the learning rate after the step.
        bad: skipped steps in a row after the step.
    """

    step: int
    loss: float
    grad_norm: float
    scale: float
    bad: int

    @property
    def skipped(self) -> bool:
        """Whether the guard skipped the step."""
        return self.bad > 0


class Trainer:
    """The parameters, optimizer state and streams of a run on a device, and the step that updates them.

    Attributes:
        done: steps done; it determines the next chunk.
        lr_reductions: how often the plateau schedule has reduced the learning rate.
        vector: (P,) the parameters; `params` are its named views.
        average: (P,) what evaluations and samples use: the running mean of the parameters, or the parameters.
            `vector` and `average` are zero until a run writes its initial weights into them.
        slots: the vectors (P,) of the update rule.
        guard: skips steps that are not finite.
        shards: the shards that this process computes.
        ranks: the processes that compute the run together.
        thread_pool: computes parts of an evaluation, together with the other ranks.
    """

    def __init__(
        self, config: Config, network: Network, streams: Streams, thread_pool: ThreadPool, ranks: Ranks | None = None
    ) -> None:
        backend, B, dtype, P = network.backend, streams.ids.shape[1], network.dtype, network.layout.size
        self.config, self.network, self.streams, self.ranks = config, network, streams, ranks or Ranks()
        together = self.ranks.size > 1
        self.thread_pool = SharedPool(thread_pool, self.ranks) if together else thread_pool
        self.ids = backend.rows(streams.ids)
        self.masks = Masks(config, network, streams)
        self.rule = rule(config.optimizer)
        self.done = self.lr_reductions = 0
        self.vector = backend.shared_zeros((P,), dtype)
        self.params = network.views(self.vector)
        self.average = backend.zeros((P,), dtype) if config.optimizer.average else self.vector
        self.slots = {name: backend.zeros((P,), dtype) for name in self.rule.slots}
        self.guard = Guard(backend, dtype)
        count = 1 if backend.one_thread_only and not together else min(config.train.shards, B)
        mine = self.ranks.share(count)
        self.shards = [self.new_shard(slice(B * i // count, B * (i + 1) // count)) for i in mine]
        self.exchange = Exchange(self.ranks, count, P, dtype) if together else None
        states = [(shard.after[name], state) for shard in self.shards for name, state in shard.state.items()]
        decayed = self.decayed_parameters() if config.optimizer.weight_decay else None
        self.arrays = TrainedArrays(self.vector, decayed, self.average, self.slots, states, self.guard)
        self.losses = backend.shared_zeros((len(mine),), dtype)
        self.pool = ForkPool(len(mine), thread_pool, shares=backend.shares)
        self.free: dict[int, list[Workspace]] = {}
        self.trace = backend.zeros((CAPACITY, TRACE_COLUMNS), dtype)
        self.drained = 0

    def new_shard(self, columns: slice) -> Shard:
        """Return the shard of these streams, in the state at the start of a text."""
        network, shared_zeros = self.network, self.network.backend.shared_zeros
        grad = shared_zeros((network.layout.size,), network.dtype)
        shape = (network.num_layers, columns.stop - columns.start, network.hidden_size)
        state, after = ({n: shared_zeros(shape, network.dtype) for n in network.cell.STATES} for _ in range(2))
        return Shard(columns, state, after, grad, network.views(grad))

    def decayed_parameters(self) -> Array:
        """Return (P,) with 1 for each parameter that decays: all but biases."""
        flags = self.network.backend.zeros((self.network.layout.size,), self.network.dtype)
        for name, view in self.network.views(flags).items():
            view[...] = float(len(self.params[name].shape) > 1)
        return flags

    def step(self) -> None:
        """Train on the next chunk. Loss and norm stay on the device until `drain` reads them."""
        self.prepare_masks()
        self.compute_shards()
        with self.network.backend.quiet():
            grad, losses = self.add_shards()
            self.update(grad, losses)
        self.done += 1

    def prepare_masks(self) -> None:
        """Make the masks of the next step, unless they were made with those of an earlier one."""
        self.masks.prepare(self.done)

    def compute_shards(self) -> None:
        """Call `compute` for every shard of this process."""
        self.pool.run(self.compute, self.done)

    def compute(self, part: int, step: int) -> None:
        """Compute one shard's loss (summed nats), gradient and next state for update number `step` + 1.

        It may run in a worker process: all its results are in shared memory.
        """
        network, backend, shard = self.network, self.network.backend, self.shards[part]
        T, B = self.streams.seq_length, self.streams.ids.shape[1]
        _, p = self.streams.chunk(step)  # the chunk starts at position p of each stream
        ids = backend.indices(self.ids.read(p, p + T + 1)[:, shard.columns])  # (T+1, b)
        inputs, targets = (backend.xp.reshape(a, (-1,)) for a in (ids[:-1, :], ids[1:, :]))
        chunk = Chunk(inputs, targets, **self.masks.of(step, shard.columns))
        free = self.free.setdefault(shard.columns.stop - shard.columns.start, [])
        try:
            work = free.pop()  # threads share the list: to ask first whether it is empty would be a race
        except IndexError:
            b, dropout = shard.columns.stop - shard.columns.start, self.masks.has_dropout
            work = Workspace(network, T, b, dropout=dropout, candidates=self.masks.candidates)
        self.losses[part] = loss_and_grad(network, self.params, shard.grads, chunk, shard.state, work, scale=1 / B)
        next_state(work, out=shard.after)
        free.append(work)

    def add_shards(self) -> tuple[Array, Array]:
        """Return the sum (P,) of the gradients of all shards, and the losses (S,) of the shards."""
        backend = self.network.backend
        if self.exchange is None:
            grad = self.shards[0].grad
            for shard in self.shards[1:]:
                backend.xp.add(grad, shard.grad, out=grad)
            return grad, self.losses
        grads, losses = [backend.on_host(shard.grad) for shard in self.shards], backend.on_host(self.losses)  # sync
        total, every = self.exchange.sum(grads, losses)
        return backend.resident(total), backend.resident(every)

    def update(self, grad: Array, losses: Array) -> None:
        """Update the parameters and states, unless the step is skipped. `grad` and `losses` are those of all shards."""
        backend, config, number = self.network.backend, self.config.optimizer, self.done + 1
        loss = losses[0]
        for part in range(1, losses.shape[0]):
            loss = loss + losses[part]
        characters = self.streams.seq_length * self.streams.ids.shape[1]
        inputs = UpdateInputs(number, self.learning_rate(self.done), characters, average_share(config.average, number))
        trace = self.trace[self.done - self.drained, :]
        update = backend.fused("apply_update", apply_update)
        update(self.arrays, grad, loss, inputs, trace=trace, rule=self.rule, config=config, backend=backend)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of update number `step` + 1, without the guard's scale."""
        return learning_rate(self.config.optimizer, step, self.config.train.steps, self.lr_reductions)

    @property
    def full(self) -> bool:
        """Whether `drain` must be called before the next step."""
        return self.done - self.drained == CAPACITY

    def drain(self) -> list[Measured]:
        """Return what the steps since the last call recorded. Waits for the device."""
        trace = self.network.backend.to_host(self.trace)  # sync
        rows = trace[: self.done - self.drained].astype(np.float64).tolist()
        first, self.drained = self.drained + 1, self.done
        return [
            Measured(step, loss, norm, scale, int(bad)) for step, (loss, norm, scale, bad) in enumerate(rows, first)
        ]

    def state(self) -> State:
        """Return the state of all streams, (L, B, H) by name, in the order of the batch."""
        backend, names = self.network.backend, self.network.cell.STATES
        if self.exchange is None:
            return {name: backend.xp.concat([s.state[name] for s in self.shards], axis=1) for name in names}
        mine = [{name: backend.on_host(s.state[name]) for name in names} for s in self.shards]
        shards = [shard for rank in self.ranks.gather(mine) for shard in rank]
        return {name: backend.from_host(np.concatenate([s[name] for s in shards], axis=1)) for name in names}

    def set_state(self, state: State) -> None:
        """The inverse of `state`, for any number of shards."""
        for shard in self.shards:
            for name, array in shard.state.items():
                array[...] = state[name][:, shard.columns, :]

    def fork(self) -> None:
        """Fork the worker processes now, not in the first step."""
        self.pool.fork(self.compute)

    def close(self) -> None:
        """End the worker processes and threads."""
        self.pool.close()
        self.thread_pool.close()
