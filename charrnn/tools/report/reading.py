"""Read a text with a network, several stretches in parallel, and keep the probabilities and states of each character.

Letters: `T` characters of a stretch, `B` stretches, `V` characters of the vocabulary, `L` layers, `H` hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn import backend
from charrnn.api import Model
from charrnn.backend import one_thread
from charrnn.errors import OverflowingError
from charrnn.evaluation.protocols import chunk_at, first_position
from charrnn.model import Workspace, forward, next_state, prepare
from charrnn.model.bptt import project
from charrnn.text import Ids, Part

ROWS = 64
"""Characters of a stretch that are read at a time."""
MOST_LOGITS = 4_000_000
"""Most logits in memory."""

HostArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Block:
    """Some characters that were read, with what the network computed.

    Attributes:
        positions: (T, B) places in the text.
        probabilities: (T, B, V) of the next character, float32.
        states: state name -> (T, B, L, H) after the character.
    """

    positions: Ids
    probabilities: HostArray
    states: dict[str, HostArray]


def read(model: Model, part: Part, offsets: Ids, length: int) -> Iterator[Block]:
    """Yield what a network computes along B stretches of a text, each from a zero state. Waits for the device.

    Args:
        model: the network.
        part: the text.
        offsets: (B,) where the stretches begin; -1 is the start symbol of a network that has one.
        length: characters to read in each. Positions without a next character are read as the last that has one.

    Raises `OverflowingError` if the network's numbers overflow.
    """
    network, work = model.network, None
    rows = max(1, min(ROWS, MOST_LOGITS // (len(offsets) * network.vocab_size)))
    first_read = first_position(network, part)
    with backend.computing(network.backend):
        state = network.zero_state(len(offsets))
        for first in range(0, length, rows):
            steps = np.arange(first, min(first + rows, length))
            positions = (steps[:, None] + offsets[None, :]).clip(first_read, len(part.ids) - 2)
            chunk = chunk_at(network, part, positions)
            with one_thread, network.backend.quiet():
                if work is None or len(steps) != work.T:
                    work = Workspace(network, len(steps), len(offsets))
                    prepare(network, model.params, work)
                outputs = forward(network, model.params, chunk.inputs, chunk.keep, state, work)
                logits = network.backend.empty((positions.size, network.vocab_size), network.dtype)
                project(network, model.params, outputs, out=logits)
            next_state(work, out=state)
            on_host = network.backend.to_host(logits)  # sync
            yield Block(positions, softmax(on_host).reshape(*positions.shape, -1), all_states(model, work))


def softmax(logits: HostArray) -> HostArray:
    """Return the probabilities (N, V) of logits (N, V), float32."""
    if not np.isfinite(logits).all():
        raise OverflowingError
    values = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float32))
    return values / values.sum(axis=1, keepdims=True)


def all_states(model: Model, work: Workspace) -> dict[str, HostArray]:
    """Return state name -> (T, B, L, H) after each character of the last pass in `work`."""
    to_host = model.network.backend.to_host
    return {
        name: np.stack([to_host(getattr(layer.tape, name))[1:] for layer in work.layers], axis=2)  # sync
        for name in model.network.cell.STATES
    }
