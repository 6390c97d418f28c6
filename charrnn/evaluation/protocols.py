"""How well a network predicts a text: the mean surprise of a character in nats, by three protocols.

`carried`: one pass over the text with the state carried on. `windows:W`: every non-overlapping window of W characters
from a zero state. `streams`, used while training: the text is divided into parallel streams, and each warms up on the
characters before it, from the state of a training stream. It is faster than `carried` and agrees with it to about 1e-6
on the default network and corpus; to about 1e-4 for an overfitted network, which remembers more than the warm-up. (A
warm-up from a zero state did not agree: after 300 steps the default network, read from the middle of a text, stayed in
a worse state, 2.51 nats/char instead of 2.26.)
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
from charrnn.model import Chunk, Network, State, Views, Workspace, forward, next_state, prepare, surprise
from charrnn.text import Ids, Part

ROWS = 64
"""Characters of a stream that are read at a time."""
STREAMS, WARM_UP = 32, 256
"""While training: the number of streams, and the characters that warm each up."""
GROUP = 16
"""Streams that are evaluated together. Fixed, so that the result does not depend on the number of threads."""

HostArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        nats_per_char: the mean surprise.
        characters: how many were predicted.
        protocol: `carried`, `windows:W`, `streams` or `dynamic:T`.
        utf8_bytes: bytes of these characters in UTF-8; None if the vocabulary is unknown.
    """

    nats_per_char: float
    characters: int
    protocol: str
    utf8_bytes: int | None = None

    @property
    def bits_per_char(self) -> float:
        """The mean surprise in bits."""
        return self.nats_per_char / math.log(2)

    @property
    def bits_per_byte(self) -> float | None:
        """The bits of the text divided by its bytes in UTF-8: comparable among programs with other vocabularies."""
        return None if self.utf8_bytes is None else self.bits_per_char * self.characters / self.utf8_bytes

    @property
    def perplexity(self) -> float:
        """The number of equally likely characters with the same surprise."""
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf


def surprises(
    network: Network, params: Views, part: Part, offsets: Ids, length: int, state: State | None = None
) -> Iterator[HostArray]:
    """Yield the surprise (rows, B) in nats of the characters along B parallel stretches of a text.

    Waits for the device.

    Args:
        network: the shape of the network.
        params: its weights.
        part: the text; the state is reset where a document begins.
        offsets: (B,) where the stretches begin; a position outside the text means the nearest one inside. Before the
            first character of a document, -1 is the position of the start symbol.
        length: characters to predict in each: those at `offset + 1` to `offset + length`.
        state: the state at the start of each stretch, which is overwritten; None is the zero state.
    """
    backend, state = network.backend, state or network.zero_state(len(offsets))
    work, first_read = None, first_position(network, part)
    for first in range(0, length, ROWS):
        rows = np.arange(first, min(first + ROWS, length))
        positions = (rows[:, None] + offsets[None, :]).clip(first_read, len(part.ids) - 2)
        chunk = chunk_at(network, part, positions)
        with one_thread, backend.quiet():
            if work is None or len(rows) != work.T:
                work = Workspace(network, len(rows), len(offsets))
                prepare(network, params, work)
            hidden = forward(network, params, chunk.inputs, chunk.keep, state, work)
            nats = surprise(network, params, hidden, chunk.targets, work)
        next_state(work, out=state)
        yield backend.to_host(nats).reshape(positions.shape)  # sync


def chunk_at(network: Network, part: Part, positions: Ids) -> Chunk:
    """Return the characters at `positions` (T, B) of a text and those after them, with resets between documents."""
    backend, ids = network.backend, part.ids[positions].astype(np.int64)
    if network.start_symbol:
        begins = part.is_start(positions + 1)
        ids, starts = np.where(begins, network.vocab_size, ids), begins | (positions == 0) & (not part.begins)
    else:
        starts = part.is_start(positions)
    inputs, targets = (backend.host_indices(a.reshape(-1)) for a in (ids, part.ids[positions + 1]))
    return Chunk(inputs, targets, backend.from_host(~starts, network.dtype) if starts.any() else None)


def first_position(network: Network, part: Part) -> int:
    """Return the first position that is read: -1, that of the start symbol, if the network knows how `part` begins."""
    return -1 if network.start_symbol and part.begins else 0


@dataclass(frozen=True)
class Stretches:
    """Parallel stretches of a text.

    Attributes:
        offsets: (B,) where they begin.
        first: (B,) the first row of each that counts; those before it warm up.
        end: (B,) the first row of each after those that count.
        state: see `surprises`.
    """

    offsets: Ids
    first: Ids
    end: Ids
    state: State | None = None

    def groups(self, network: Network) -> Iterator[Stretches]:
        """Yield the stretches in groups of `GROUP`."""
        for g in range(0, len(self.offsets), GROUP):
            part = slice(g, g + GROUP)
            state = self.state and {  # a copy, as reading a stretch overwrites its state
                k: network.backend.xp.asarray(s[:, part, :], copy=True) for k, s in self.state.items()
            }
            yield Stretches(self.offsets[part], self.first[part], self.end[part], state)


def group_nats(network: Network, params: Views, part: Part, length: int, group: Stretches) -> float:
    """Return the summed surprise of a group of stretches, in nats, added in float64."""
    result, row = 0.0, 0
    for nats in surprises(network, params, part, group.offsets, length, group.state):
        rows = np.arange(row, row + len(nats))[:, None]
        result += float(nats.sum(where=(rows >= group.first) & (rows < group.end), dtype=np.float64))
        row += len(nats)
    return result


def total_nats(
    network: Network, params: Views, part: Part, length: int, stretches: Stretches, thread_pool: ThreadPool
) -> float:
    """Return the summed surprise of all stretches, in nats; the threads share the groups."""
    compute = partial(group_nats, network, params, part, length)
    return math.fsum(thread_pool.map(compute, stretches.groups(network)))


def carried(network: Network, params: Views, part: Part, thread_pool: ThreadPool) -> Evaluation:
    """Evaluate in one pass with the state carried on.

    The first character is predicted if a document begins there and the network has a start symbol.
    """
    count = predicted_characters(network, part)
    whole = Stretches(np.full(1, first_position(network, part)), np.zeros(1, int), np.full(1, count))
    nats = total_nats(network, params, part, count, whole, thread_pool)
    return Evaluation(nats / count, count, "carried")


def windows(network: Network, params: Views, part: Part, width: int, thread_pool: ThreadPool) -> Evaluation:
    """Evaluate every complete, non-overlapping window of `width` characters from a zero state."""
    if width < 1:
        raise ConfigError(f"--window must be at least 1, not {width}")
    number = predicted_characters(network, part) // width
    if number == 0:
        raise TextError(f"the text has {len(part.ids)} characters, too few for one window of {width}")
    offsets = np.arange(number) * width + first_position(network, part)
    stretches = Stretches(offsets, np.zeros(number, int), np.full(number, width))
    nats = total_nats(network, params, part, width, stretches, thread_pool)
    return Evaluation(nats / (number * width), number * width, f"windows:{width}")


def streams(network: Network, params: Views, part: Part, thread_pool: ThreadPool, state: State) -> Evaluation:
    """Evaluate in parallel streams, each warmed up on the characters before it: fast, for evaluations while training.

    `state` (L, B, H) is that of the training streams; the warm-up starts from it.
    """
    count = predicted_characters(network, part)
    number = number_of_streams(count)
    span = -(-count // number)
    warm_up = WARM_UP if number > 1 else 0  # before the first stream is nothing to read
    offsets = np.arange(number) * span - warm_up
    end = np.minimum(warm_up + span, count - offsets)
    offsets += first_position(network, part)
    xp = network.backend.xp
    B = next(iter(state.values())).shape[1]
    columns = network.backend.indices(network.backend.from_host(np.arange(number) % B))
    warm = {name: xp.take(array, columns, axis=1) for name, array in state.items()}
    stretches = Stretches(offsets, np.full(number, warm_up), end, warm)
    nats = total_nats(network, params, part, warm_up + span, stretches, thread_pool)
    return Evaluation(nats / count, count, "streams")


def number_of_streams(count: int) -> int:
    """Return how many parallel streams `streams` evaluates `count` characters in."""
    return max(1, min(STREAMS, count // (2 * WARM_UP)))


def group_sizes(part: Part) -> set[int]:
    """Return how many streams `streams` reads together."""
    number = number_of_streams(len(part.ids) - 1)
    return {min(GROUP, number - first) for first in range(0, number, GROUP)}


def predicted_ids(network: Network, part: Part, count: int) -> Ids:
    """Return the ids of the first `count` characters that an evaluation of `part` predicts."""
    first = first_position(network, part) + 1
    return part.ids[first : first + count]


def predicted_characters(network: Network, part: Part) -> int:
    """Return how many characters of a text are predicted: all but the first, and that one after a start symbol.

    Raise `TextError` for a text of fewer than two characters.
    """
    if len(part.ids) < 2:
        raise TextError(f"the text has {len(part.ids)} characters; at least 2 are needed to evaluate")
    return len(part.ids) - 1 - first_position(network, part)
