"""The test of a run: its best network on the text of `data.test_files`, once, when all planned steps are done."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from charrnn import checkpoint
from charrnn.checkpoint import Checkpoint
from charrnn.evaluation import protocols
from charrnn.text import Part
from charrnn.training.events import Ended, Event, Snapshot, Tested
from charrnn.training.loop import FINISHED, Loop


def with_test(loop: Loop, events: Iterable[Event], run: Path | None) -> Generator[Event]:
    """Yield the `events` of `loop`, and a `Tested` before the last of a finished run that has a test text.

    `run` is the directory with the best checkpoint of an earlier process.
    """
    best: Checkpoint | None = None
    for event in events:
        if loop.corpus.test is not None:
            if isinstance(event, Snapshot) and event.at.step == best_step(loop):
                best = event.checkpoint
            elif isinstance(event, Ended) and event.reason in FINISHED:
                yield from test(loop, best or earlier_best(loop, run), loop.corpus.test.whole)
        yield event


def best_step(loop: Loop) -> int | None:
    """Return the step of the best evaluation so far."""
    return loop.progress.best.step if loop.progress.best else None


def earlier_best(loop: Loop, run: Path | None) -> Checkpoint:
    """Return the best checkpoint in `run`; without one, the network as it is now."""
    if run is not None and loop.progress.best is not None:
        return checkpoint.find(run, "best")[1]
    return loop.snapshot().checkpoint


def test(loop: Loop, saved: Checkpoint, part: Part) -> Iterator[Tested]:
    """Yield the event of the network of a checkpoint on a text; nothing if its numbers overflow."""
    trainer = loop.trainer
    network, upload = trainer.network, trainer.network.backend.from_host
    params = network.views(upload(saved.weights(network.layout)))
    state = {name: upload(saved.tensors[f"state/{name}"]) for name in network.cell.STATES}
    result = protocols.streams(network, params, part, trainer.thread_pool, state)
    if math.isfinite(result.nats_per_char):
        yield Tested(loop.moment(trainer.done), result.nats_per_char, result.bits_per_char, saved.meta.step)
