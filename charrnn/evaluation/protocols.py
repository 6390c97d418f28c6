"""How well a network predicts a text: the surprise of each character in nats, under three protocols.

`carried`: one pass with the state carried from the start. `windows:W`: every non-overlapping window of W characters
from a cold state. While training, `streams`: the text is cut into parallel streams, each warmed up from a training
stream's state on the characters before it. It is faster, and agrees with `carried` to about 1e-6 on the default
network and corpus; to some 1e-4 where a network is overfitted and remembers longer than the warm-up. (Warmed up from
a cold state it did not: after 300 steps the default network, read from the middle of a text, stayed in a worse state
for good, 2.51 nats/char against 2.26.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from charrnn.backend import ThreadPool, one_thread
from charrnn.errors import ConfigError, TextError
from charrnn.model import Chunk, Network, State, Views, Workspace, forward, next_state, surprise
from charrnn.text import Ids, Part

ROWS = 64
"""Characters of a stream that are read at once."""
STREAMS, WARM_UP = 32, 256
"""While training: how many streams a text is cut into, and the characters that warm each up."""
GROUP = 16
"""Streams evaluated in one piece. Fixed, like shards, so that the result does not depend on the number of threads."""

HostArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        nats_per_char: mean surprise.
        characters: how many were predicted.
        protocol: `carried`, `windows:W`, `streams` or `dynamic:T`.
    """

    nats_per_char: float
    characters: int
    protocol: str

    @property
    def bits_per_char(self) -> float:
        """The same in bits."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """The number of equally likely characters that would surprise as much."""
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf


def surprises(
    network: Network, params: Views, part: Part, offsets: Ids, length: int, state: State | None = None
) -> Iterator[HostArray]:
    """The surprise of each character along parallel stretches of a text.

    Args:
        network: the shape of the network.
        params: its weights.
        part: the text; the state is dropped where a document begins.
        offsets: (B,) where the stretches begin; a position outside the text stands for its nearest inside.
        length: characters to predict in each: those at `offset + 1` to `offset + length`.
        state: where each stretch begins, its own to overwrite; None is a cold state.

    Yields:
        (rows, B) nats. Waits for the device.
    """
    backend, state = network.backend, state or network.zero_state(len(offsets))
    work = None
    for first in range(0, length, ROWS):
        rows = np.arange(first, min(first + ROWS, length))
        positions = (rows[:, None] + offsets[None, :]).clip(0, len(part.ids) - 2)
        chunk = chunk_at(network, part, positions)
        if work is None or len(rows) != work.T:
            work = Workspace(network, len(rows), len(offsets))
        with one_thread, backend.quiet():
            hidden = forward(network, params, chunk.inputs, chunk.keep, state, work)
            nats = surprise(network, params, hidden, chunk.targets, work)
        next_state(work, out=state)
        yield backend.to_host(nats).reshape(positions.shape)  # sync


def chunk_at(network: Network, part: Part, positions: Ids) -> Chunk:
    """The characters at `positions` (T, B) of a text and those after them; states end where documents begin."""
    backend = network.backend
    inputs, targets = (backend.host_indices(part.ids[p].reshape(-1)) for p in (positions, positions + 1))
    fresh = part.is_start(positions)
    return Chunk(inputs, targets, backend.from_host(~fresh, network.dtype) if fresh.any() else None)


@dataclass(frozen=True)
class Stretches:
    """Parallel stretches of a text, of which rows `first` up to `last` count; all (B,). `state`: see `surprises`."""

    offsets: Ids
    first: Ids
    last: Ids
    state: State | None = None

    def groups(self, network: Network) -> Iterator[Stretches]:
        """The same in pieces of `GROUP`."""
        for g in range(0, len(self.offsets), GROUP):
            part = slice(g, g + GROUP)
            # A copy: reading a stretch overwrites its state.
            state = self.state and {
                k: network.backend.xp.asarray(s[:, part, :], copy=True) for k, s in self.state.items()
            }
            yield Stretches(self.offsets[part], self.first[part], self.last[part], state)


def total(network: Network, params: Views, part: Part, length: int, group: Stretches) -> float:
    """The summed surprise of a group of stretches, in nats; float64."""
    result, row = 0.0, 0
    for nats in surprises(network, params, part, group.offsets, length, group.state):
        rows = np.arange(row, row + len(nats))[:, None]
        result += float(nats.sum(where=(rows >= group.first) & (rows < group.last), dtype=np.float64))
        row += len(nats)
    return result


def summed(
    network: Network, params: Views, part: Part, length: int, stretches: Stretches, thread_pool: ThreadPool
) -> float:
    """`total` over any number of stretches, group by group on the workers."""
    return math.fsum(thread_pool.map(partial(total, network, params, part, length), stretches.groups(network)))


def carried(network: Network, params: Views, part: Part, thread_pool: ThreadPool) -> Evaluation:
    """One pass over the whole text with the state carried; the first character is not predicted."""
    count = predicted(part)
    whole = Stretches(np.zeros(1, int), np.zeros(1, int), np.full(1, count))
    nats = summed(network, params, part, count, whole, thread_pool)
    return Evaluation(nats / count, count, "carried")


def windows(network: Network, params: Views, part: Part, width: int, thread_pool: ThreadPool) -> Evaluation:
    """Every whole non-overlapping window of `width` characters from a cold state."""
    if width < 1:
        raise ConfigError(f"--window must be at least 1, not {width}")
    number = predicted(part) // width
    if number == 0:
        raise TextError(f"the text has {len(part.ids)} characters, too few for one window of {width}")
    stretches = Stretches(np.arange(number) * width, np.zeros(number, int), np.full(number, width))
    nats = summed(network, params, part, width, stretches, thread_pool)
    return Evaluation(nats / (number * width), number * width, f"windows:{width}")


def streams(network: Network, params: Views, part: Part, thread_pool: ThreadPool, state: State) -> Evaluation:
    """The fast stand-in for `carried` while training: parallel streams, each warmed up on the characters before it.

    `state` (L, B, H) is that of the training streams, with which the warm-up begins.
    """
    count = predicted(part)
    number = max(1, min(STREAMS, count // (2 * WARM_UP)))
    span = -(-count // number)
    offsets = np.arange(number) * span - WARM_UP
    last = np.minimum(WARM_UP + span, count - offsets)
    xp = network.backend.xp
    B = next(iter(state.values())).shape[1]
    columns = network.backend.indices(network.backend.from_host(np.arange(number) % B))
    warm = {name: xp.take(array, columns, axis=1) for name, array in state.items()}
    stretches = Stretches(offsets, np.full(number, WARM_UP), last, warm)
    nats = summed(network, params, part, WARM_UP + span, stretches, thread_pool)
    return Evaluation(nats / count, count, "streams")


def predicted(part: Part) -> int:
    """How many characters of a text can be predicted: all but the first. Raises `TextError` if there are none."""
    if len(part.ids) < 2:
        raise TextError(f"the text has {len(part.ids)} characters; at least 2 are needed to evaluate")
    return len(part.ids) - 1
