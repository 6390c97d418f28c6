"""What is decided once at the start of a run, so that its configuration repeats it; starting or restoring a trainer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from charrnn import seeds, text
from charrnn.backend import Backend, ThreadPool, cores, one_thread
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config
from charrnn.errors import CheckpointError
from charrnn.evaluation import protocols
from charrnn.model import Network, initial
from charrnn.model.cells import CELLS
from charrnn.optim.guard import LIMIT
from charrnn.text import Corpus, Part
from charrnn.training.step import CAPACITY, Trainer

PLAN_SHARE = 0.98
"""Of the time left, what planned steps and evaluations may fill; the rest is for samples, checkpoints and bad luck."""

PATIENCE = 2.0
"""Seconds after which helpers that are still not ready are measured as they are: as in training, threads step in."""


def resolved(config: Config, corpus: Corpus, backend: Backend, notices: list[str]) -> tuple[Config, Part, Part | None]:
    """The configuration with every open choice decided, and the training and validation parts of the corpus.

    A line for each choice that a user might not expect is added to `notices`.
    """
    train_part, validation = corpus.split(config.data.val_fraction)
    if validation is None and config.data.val_fraction:
        notices.append("the text is too short for a validation split: all of it is trained on")
    if validation is not None and 0 < config.log.eval_chars < len(validation.ids):
        chars, count = len(validation.ids), config.log.eval_chars
        notices.append(f"while training, val_loss is that of the first {count:,} of {chars:,} validation characters")
        validation = validation.head(count)
    if validation is None or not config.log.eval_every:
        plateau = config.optimizer.schedule == "plateau"
        idle = {"train.patience": config.train.patience > 0, "optimizer.schedule = plateau": plateau}
        notices += [f"{key} does nothing: the run evaluates nothing" for key, said in idle.items() if said]
    data = replace(config.data, val_fraction=config.data.val_fraction if validation else 0.0)
    B, T = text.fit_batch(len(train_part.ids), config.train.batch_size, config.train.seq_length)
    for name, before, after in (("batch_size", config.train.batch_size, B), ("seq_length", config.train.seq_length, T)):
        if before != after:
            notices.append(f"the text is short: train.{name} is {after} instead of {before}")
    shards = min(config.train.shards or (2 if B >= 32 else 1), B)
    if backend.name == "cpu" and shards < min(cores(), B):
        used = f"{shards} of {cores()} cores compute"
        notices.append(f"train.shards = {shards}: {used} (more shards use more: charrnn tune)")
    if config.train.precision != "float32" and backend.name == "cpu":
        notices.append(f"train.precision = {config.train.precision} does nothing on a CPU")
    layout = backend.recurrence_in_words(CELLS[config.model.cell], B, config.model.hidden_size, config.model.dtype)
    if layout:
        notices.append(f"recurrence: {layout}")
    train = replace(config.train, batch_size=B, seq_length=T, shards=shards, device=backend.name)
    return replace(config, data=data, train=train), train_part, validation


def start(config: Config, network: Network, part: Part, thread_pool: ThreadPool) -> Trainer:
    """A trainer at step 0 with the seed's weights."""
    train = config.train
    streams = text.streams(part, train.batch_size, train.seq_length, train.seed if train.random_offset else None)
    trainer = Trainer(config, network, streams, thread_pool)
    with one_thread:  # decompositions of some libraries round by the number of threads
        first = initial(network, config.model, seeds.stream(train.seed, "weights"))
    for name, weights in first.items():
        trainer.params[name][...] = network.backend.from_host(weights, config.model.dtype)
    trainer.average[...] = trainer.vector
    return trainer


def restored(trainer: Trainer, saved: Checkpoint) -> None:
    """Put `trainer` where `saved` was made. Raises `CheckpointError` for a step that is elsewhere in the text."""
    network, backend, tensors = trainer.network, trainer.network.backend, saved.tensors
    trainer.vector[...] = backend.from_host(saved.flat("parameters", network.layout))
    trainer.average[...] = backend.from_host(saved.weights(network.layout))
    trainer.decays = saved.meta.drops
    for slot, vector in trainer.slots.items():
        vector[...] = backend.from_host(saved.flat(f"optimizer/{slot}", network.layout))
    trainer.restore_state({name: backend.from_host(tensors[f"state/{name}"]) for name in network.cell.STATES})
    trainer.guard.scale = backend.from_host(tensors["guard/scale"])
    bad = tensors["guard/bad"]
    # A run that the guard stopped goes on, when resumed, at the lower rate it was left with.
    trainer.guard.bad = backend.from_host(bad if bad < LIMIT else np.zeros_like(bad))
    trainer.done = trainer.drained = saved.meta.step
    if trainer.streams.chunk(trainer.done)[0] != saved.meta.chunk:
        raise CheckpointError(f"the checkpoint's step {saved.meta.step} does not fit its place in the text")


def warm_up(trainer: Trainer, clock: Callable[[], float] = time.monotonic) -> None:
    """Train until every helper takes part, and one step more: in their first they make their workspaces."""
    limit = clock() + PATIENCE
    while True:
        trainer.step()
        trainer.drain()
        if trainer.pool.ready or clock() > limit:
            break
    trainer.step()
    trainer.drain()


def pace(trainer: Trainer, seconds: float) -> float:
    """Steps per second of a trainer that is warm, over `seconds` (up to twice as many) and one step at least."""
    done, started = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - started < seconds:
        with one_thread:
            for _ in range(min(CAPACITY, max(1, done))):
                trainer.step()
                done += 1
        trainer.drain()
    return done / (time.perf_counter() - started)


def plan_steps(config: Config, probe: Trainer, validation: Part | None, seconds: float, notices: list[str]) -> Config:
    """`config` with as many steps as fit into `seconds`, evaluations between them included.

    Both are timed: with a trainer that is then thrown away.
    """
    began = time.perf_counter()
    try:
        warm_up(probe)
        rate, each = pace(probe, min(2.0, seconds * 0.03)), 0.0
        if validation is not None and config.log.eval_every:
            started = time.perf_counter()
            protocols.streams(probe.network, probe.params, validation, probe.thread_pool, probe.state())
            each = time.perf_counter() - started
    finally:
        probe.pool.close()
    left = seconds - (time.perf_counter() - began) - 2 * each  # before the first step and after the last
    share = each / config.log.eval_every if each else 0.0
    steps = max(1, int(left * PLAN_SHARE / (1 / rate + share)))
    rest = f"{left:,.0f} s left" if left > 0 else "no time is left"
    notices.append(f"planned {steps:,} steps: {rate:,.0f} steps/s measured, {rest}")
    return replace(config, train=replace(config.train, steps=steps))
