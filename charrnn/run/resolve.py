"""Decide once, at the start of a run, what its configuration leaves open; make its trainer; plan its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from charrnn import seeds, text
from charrnn.backend import Backend, Ranks, ThreadPool, cores, one_thread
from charrnn.config import Config
from charrnn.errors import ConfigError
from charrnn.evaluation import protocols
from charrnn.model import Network, initial_weights
from charrnn.model.bptt import cross_entropy_and_grad
from charrnn.model.cells import CELLS
from charrnn.model.dropout import draw_masks
from charrnn.model.sampled_softmax import number_of_candidates
from charrnn.optim import apply_update
from charrnn.text import MANY, Corpus, Part
from charrnn.training.profile import ProfiledTrainer
from charrnn.training.step import CAPACITY, Trainer

PLAN_SHARE = 0.98
"""The share of the time left that planned steps and evaluations fill; samples and checkpoints take the rest."""

REPLACED: dict[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy_and_grad,
    "apply_update": apply_update,
    "draw_masks": draw_masks,
}
"""The functions of a training that a GPU may replace by kernels."""

SHORT_TEXT = 50_000
"""A text of fewer characters is evaluated on more often than every 250 steps: its best network may come early.

On 19,000 characters of names the default network was best at step 56, after 7 sweeps (1.531 nats/char; 1.539 at 48),
and at step 246 at 1.885.
"""
SWEEPS, LEAST_TRAINED = 3, 40_000
"""Then an evaluation comes every three sweeps, or every 40,000 trained characters (20 steps of the default batch) where
that is more: it bounds the share of evaluations in the time of a run."""

COMPARED = 0.008
"""The training loss without dropout is measured on this share of the characters trained on between two evaluations.

A character that is read costs a third of one that is trained on, and up to one and a half times as much in few parallel
streams of a small network. So the share keeps the cost below 2 % of the time of training: on a CPU 0.6 % with the
defaults, and at most 1.9 %, on a text of 45,000 characters with a GRU of 128 units.
"""
LEAST_COMPARED = 64
"""The least number of these characters."""

WORKER_TIMEOUT = 2.0
"""Seconds to wait for the worker processes before measuring. If one is missing, its parts are computed elsewhere."""


@dataclass(frozen=True)
class Resolved:
    """A configuration that leaves nothing open, so that a run with it repeats this run.

    Attributes:
        config: the configuration.
        train: the part of the text to train on.
        validation: the part to evaluate while training; None if nothing is held out.
        train_stretch: the stretch of `train` that is evaluated, too; None if nothing is held out.
        notices: a line for each decision that a user may not expect.
    """

    config: Config
    train: Part
    validation: Part | None
    train_stretch: Part | None
    notices: tuple[str, ...]


def resolve(config: Config, corpus: Corpus, backend: Backend, *, eval_every_is_set: bool = True) -> Resolved:
    """Decide what `config` leaves open, for this text and this device.

    Unless `eval_every_is_set` by the user or a preset, `log.eval_every` depends on the length of the text.
    """
    if config.train.sampled_softmax and not config.model.tie_weights:
        raise ConfigError("train.sampled_softmax needs tied weights: set model.embedding_size and model.tie_weights")
    notices = []
    shuffle = config.data.shuffle_documents and corpus.fits_shuffling(config.data.val_fraction)
    train_part, validation = corpus.split(config.data.val_fraction, shuffle=shuffle)
    notices += order_of_documents(config, corpus, train_part, shuffle=shuffle)
    if validation is None and config.data.val_fraction:
        notices.append("the text is too short for a validation split: all of it is trained on")
    if validation is not None and 0 < config.log.eval_chars < len(validation.ids):
        chars, count = len(validation.ids), config.log.eval_chars
        notices.append(f"while training, val_loss is that of the first {count:,} of {chars:,} validation characters")
        validation = validation.head(count)
    if validation is None or not config.log.eval_every:
        if config.train.patience:
            notices.append("train.patience does nothing: the run evaluates nothing")
        if config.optimizer.schedule == "plateau":
            notices.append("optimizer.schedule = plateau does nothing: the run evaluates nothing")
    B, T = text.fit_batch(len(train_part.ids), config.train.batch_size, config.train.seq_length)
    for name, before, after in (("batch_size", config.train.batch_size, B), ("seq_length", config.train.seq_length, T)):
        if before != after:
            notices.append(f"the text is short: train.{name} is {after} instead of {before}")
    others, V = config.train.sampled_softmax, len(corpus.vocabulary)
    if others and not number_of_candidates(others, B * T, V):
        reason = f"a step has {B * T:,} characters and {others:,} others, and the text {V:,} distinct ones"
        notices.append(f"train.sampled_softmax does nothing: {reason}")
    if validation is not None and not eval_every_is_set and len(corpus.ids) < SHORT_TEXT:
        often = evaluation_interval(len(train_part.ids), B * T)
        if often < config.log.eval_every:
            notices.append(f"the text is short: log.eval_every is {often} instead of {config.log.eval_every}")
            config = replace(config, log=replace(config.log, eval_every=often))
    shards = min(config.train.shards or (2 if B >= 32 else 1), B)
    if backend.name == "cpu" and shards < min(cores(), B):
        used = f"{shards} of {cores()} cores compute"
        notices.append(f"train.shards = {shards}: {used} (more shards use more: charrnn tune)")
    if config.train.precision != "float32" and backend.name == "cpu":
        notices.append(f"train.precision = {config.train.precision} does nothing on a CPU")
    cell, H, dtype = CELLS[config.model.cell], config.model.hidden_size, config.model.dtype
    stretch = None if validation is None else stretch_to_compare(train_part, B, compared_characters(config, B * T))
    read = [part for part in (validation, stretch) if part is not None and config.log.eval_every]
    read += [corpus.test.whole] if corpus.test is not None else []
    evaluated = {size for part in read for size in protocols.group_sizes(part)}
    other_sizes = sorted(({1} | evaluated) - {B})  # a sample has one stream
    backend.check_kernels(cell, (B, *other_sizes), H, dtype, REPLACED)
    recurrence = backend.describe_recurrence(cell, B, H, dtype)
    if recurrence:
        notices.append(f"recurrence: {recurrence}")
    val_fraction = config.data.val_fraction if validation is not None and corpus.validation is None else 0.0
    data = replace(config.data, val_fraction=val_fraction, shuffle_documents=shuffle)
    model = replace(config.model, start_symbol=config.model.start_symbol and len(corpus.starts) > 1)
    train = replace(config.train, batch_size=B, seq_length=T, shards=shards, device=backend.name)
    config = replace(config, data=data, model=model, train=train)
    return Resolved(config, train_part, validation, stretch, tuple(notices))


def evaluation_interval(length: int, chars_per_step: int) -> int:
    """Return the steps between two evaluations for a short training split of `length` characters."""
    return max(1, max(SWEEPS * length, LEAST_TRAINED) // chars_per_step)


def compared_characters(config: Config, chars_per_step: int) -> int:
    """Return how many characters of the training split an evaluation reads."""
    count = max(LEAST_COMPARED, int(COMPARED * config.log.eval_every * chars_per_step))
    return min(count, config.log.eval_chars or count)


def stretch_to_compare(part: Part, batch_size: int, count: int) -> Part:
    """Return `count` characters of the training split, or fewer, that are near its end.

    They begin where a stream of the batch begins. A sweep, too, reads these from a zero state.
    """
    stream = len(part.ids) // batch_size
    first = max(0, len(part.ids) - count) // stream * stream
    return part.tail(len(part.ids) - first).head(count)


def order_of_documents(config: Config, corpus: Corpus, train: Part, *, shuffle: bool) -> list[str]:
    """Return a line for the user about the order of many documents before the split; none if they are held back."""
    D = len(corpus.starts)
    if not config.data.shuffle_documents or not config.data.val_fraction or corpus.validation is not None or D <= MANY:
        return []
    if shuffle:
        held_out = D - len(train.starts) - train.begins
        return [f"documents are shuffled before the split: {held_out:,} of {D:,} are held out (data.shuffle_documents)"]
    reason = "so large a text" if corpus.is_mapped else "a text in which few documents are almost everything"
    return [f"documents are not shuffled before the split in {reason}: its end is held out"]


def start(
    config: Config,
    network: Network,
    part: Part,
    thread_pool: ThreadPool,
    ranks: Ranks | None = None,
    *,
    profile: bool = False,
) -> Trainer:
    """Return a trainer at step 0 with the seed's weights. With `profile`, it measures its steps."""
    train = config.train
    seed = train.seed if train.random_offset else None
    streams = text.streams(part, train.batch_size, train.seq_length, seed, start_symbol=config.model.start_symbol)
    trainer = (ProfiledTrainer if profile else Trainer)(config, network, streams, thread_pool, ranks)
    with one_thread:  # decompositions of some libraries round by the number of threads
        first = initial_weights(network, config.model, seeds.stream(train.seed, "weights"))
    for name, weights in first.items():
        trainer.params[name][...] = network.backend.from_host(weights, config.model.dtype)
    trainer.average[...] = trainer.vector
    return trainer


def warm_up(trainer: Trainer, clock: Callable[[], float] = time.monotonic) -> None:
    """Train until all worker processes compute, and one step more: in their first step they make workspaces."""
    limit = clock() + WORKER_TIMEOUT
    while True:
        trainer.step()
        trainer.drain()
        if trainer.ranks.from_first(trainer.pool.ready or clock() > limit):
            break
    trainer.step()
    trainer.drain()


def pace(trainer: Trainer, seconds: float) -> float:
    """Return the steps per second of a trainer that is warm, measured for about `seconds`."""
    done, started, more = 0, time.perf_counter(), 1
    while more:
        with one_thread:
            for _ in range(more):
                trainer.step()
        trainer.drain()
        done += more
        taken = time.perf_counter() - started
        more = math.ceil(done * (seconds / taken - 1))  # as many as fit into the rest of the time
        more = trainer.ranks.from_first(max(0, min(CAPACITY, done, more)))
    return done / taken


def step_seconds(trainer: Trainer) -> float:
    """Return the seconds of a training step, measured in about one second. Do not use the trainer afterwards."""
    try:
        warm_up(trainer)
        return 1 / pace(trainer, 0.5)
    finally:
        trainer.close()


def plan_steps(resolved: Resolved, trainer: Trainer, seconds: float) -> tuple[int, str]:
    """Return how many steps fit into `seconds`, together with their evaluations, and a line for the user.

    The speed of both is measured with `trainer`, which is trained meanwhile: do not use it afterwards.
    """
    config, validation, began = resolved.config, resolved.validation, time.perf_counter()
    try:
        warm_up(trainer)
        rate, evaluation = pace(trainer, min(2.0, seconds * 0.03)), 0.0
        if validation is not None and config.log.eval_every:
            started = time.perf_counter()
            for part in filter(None, (validation, resolved.train_stretch)):
                protocols.streams(trainer.network, trainer.params, part, trainer.thread_pool, trainer.state())
            evaluation = time.perf_counter() - started
    finally:
        trainer.pool.close()
    left = seconds - (time.perf_counter() - began) - 2 * evaluation  # before the first step and after the last
    evaluation_per_step = evaluation / config.log.eval_every if evaluation else 0.0
    steps = trainer.ranks.from_first(max(1, int(left * PLAN_SHARE / (1 / rate + evaluation_per_step))))
    rest = f"{left:,.0f} s left" if left > 0 else "no time is left"
    return steps, f"planned {steps:,} steps: {rate:,.0f} steps/s measured, {rest}"
