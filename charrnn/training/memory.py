"""What a run needs of a device's memory, and what to do where that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from charrnn.backend import Array, Backend, choose
from charrnn.config import Config
from charrnn.errors import DeviceError
from charrnn.model import Workspace, build
from charrnn.optim import rule
from charrnn.training.evaluation import GROUP, ROWS
from charrnn.training.masks import ahead, shapes_of

MARGIN = 0.9
"""The part of the free memory that a batch may take which is said to fit: the rest is for what comes and goes."""


class Ledger(Backend):
    """A backend on the host that counts the bytes of what it makes."""

    bytes = 0

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new array, counted."""
        self.bytes += int(np.prod(shape)) * np.dtype(dtype).itemsize
        return super().empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The same."""
        self.bytes += int(np.prod(shape)) * np.dtype(dtype).itemsize
        return super().zeros(shape, dtype)


def needed(config: Config, vocab_size: int, B: int) -> int:
    """About the bytes on the device that a run with B streams takes, without its text.

    All of it grows evenly with B, so that one and two streams, made on the host, tell.
    """
    one, two = (with_streams(config, vocab_size, streams) for streams in (1, 2))
    return one + (B - 1) * (two - one)


def with_streams(config: Config, vocab_size: int, B: int) -> int:
    """The same, by making what the run makes: for few streams."""
    model, itemsize, T = config.model, np.dtype(config.model.dtype).itemsize, config.train.seq_length
    drops = bool(model.input_dropout or model.dropout or model.recurrent_dropout)
    ledger = Ledger(choose("cpu").backend.xp, None, name="", label="")
    network = build(model, vocab_size, ledger)
    Workspace(network, T, B, drops=drops)
    for _ in range(2):  # the state before a chunk, and after
        network.zero_state(B)
    if config.log.eval_every:
        Workspace(network, ROWS, GROUP)
    shapes = shapes_of(model, network, T, B)
    for shape, dtype in shapes.values():
        ledger.empty((ahead(shapes), *shape), dtype)
    for _ in range(2 + len(rule(config.optimizer).slots) + bool(config.optimizer.average)):
        ledger.empty((network.layout.size,), model.dtype)
    one_hot = (vocab_size + 1) * T * B * (1 + itemsize)  # what `sum_rows` makes in passing
    return ledger.bytes + one_hot


@contextmanager
def within(backend: Backend, config: Config, vocab_size: int) -> Iterator[None]:
    """Turn a memory that is exhausted into a `DeviceError` that says how many streams would fit."""
    free = backend.free_bytes()
    try:
        yield
    except MemoryError as error:
        raise DeviceError(explained(backend, config, vocab_size, free)) from error


def explained(backend: Backend, config: Config, vocab_size: int, free: int | None) -> str:
    """What is needed, what was `free` (bytes; None: unknown), and the largest batch that needs no more."""
    B = config.train.batch_size
    words = f"{backend.name} is out of memory: {B} streams need about {said(needed(config, vocab_size, B))}"
    fits = 0
    if free is not None:
        words += f", and {said(free)} are free"
        one, two = (needed(config, vocab_size, streams) for streams in (1, 2))
        room = int(free * MARGIN) - one
        fits = min(B - 1, 1 + room // (two - one)) if room >= 0 else 0
    if fits > 0:
        return f"{words}: --set train.batch_size={fits} would fit"
    return f"{words}: lower train.batch_size, train.seq_length or model.hidden_size"


def said(count: int) -> str:
    """Bytes in words."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
