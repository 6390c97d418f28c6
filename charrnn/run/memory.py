"""What a run needs of a device's memory, and what to do where that is not there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

from charrnn.backend import Backend, Ledger
from charrnn.config import Config
from charrnn.errors import DeviceError
from charrnn.evaluation.protocols import GROUP, ROWS
from charrnn.model import Workspace, build
from charrnn.optim import rule
from charrnn.training.masks import ahead, shapes_of

MARGIN = 0.9
"""The part of the free memory that a batch may take which is said to fit: the rest is for what comes and goes."""


def needed(config: Config, vocab_size: int, B: int) -> int:
    """About the bytes on the device that a run with B streams takes, without its text: a ledger makes all of it."""
    model, T, ledger = config.model, config.train.seq_length, Ledger()
    network = build(model, vocab_size, ledger)
    Workspace(network, T, B, dropout=model.has_dropout)
    for _ in range(2):  # the state before a chunk, and after
        network.zero_state(B)
    if config.log.eval_every:
        Workspace(network, ROWS, GROUP)
    shapes, optimizer = shapes_of(model, network, T, B), config.optimizer
    for shape, dtype in shapes.values():
        ledger.empty((ahead(shapes), *shape), dtype)
    for _ in range(2 + len(rule(optimizer).slots) + bool(optimizer.average) + bool(optimizer.weight_decay)):
        ledger.empty((network.layout.size,), model.dtype)
    ledger.one_hot(T * B, vocab_size + 1, model.dtype)
    return ledger.bytes


@contextmanager
def within(backend: Backend, config: Config, vocab_size: int, *, free: int | None, resumed: bool) -> Iterator[None]:
    """Turn a memory that is exhausted into a `DeviceError` that says how many streams would fit.

    `free` are the bytes that were free before the run took any (None: unknown). A `resumed` run keeps its batch.
    """
    try:
        yield
    except MemoryError as error:
        raise DeviceError(explained(backend, config, vocab_size, free, resumed)) from error


def explained(backend: Backend, config: Config, vocab_size: int, free: int | None, resumed: bool) -> str:
    """What is needed, what was free, and what to do."""
    B = config.train.batch_size
    words = f"{backend.name} is out of memory: {B} streams need about {said(needed(config, vocab_size, B))}"
    if free is not None:
        words += f", and {said(free)} are free"
    if resumed:
        return f"{words}: go on where there is more, such as --device cpu"
    fits = fitting(config, vocab_size, int(free * MARGIN)) if free is not None else 0
    if fits > 0:
        return f"{words}: --set train.batch_size={fits} would fit"
    return f"{words}: lower train.batch_size, train.seq_length or model.hidden_size"


def fitting(config: Config, vocab_size: int, room: int) -> int:
    """The most streams, fewer than the run has, that need no more than `room` bytes; 0 if not even one fits."""
    fewer = range(1, config.train.batch_size)
    return bisect_right(fewer, room, key=lambda B: needed(config, vocab_size, B))


def said(count: int) -> str:
    """Bytes in words."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
