"""The events of a loop, and among them the baselines of its split, which another process counts meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.evaluation.baselines import split_of
from charrnn.evaluation.process import Counting
from charrnn.training.events import BaselinesCounted, Ended, Event
from charrnn.training.loop import FINISHED, Loop

PATIENCE = 3.0
"""Seconds for which a run that is done waits for its baselines: a megabyte takes about half a second from the start."""


def events(loop: Loop) -> Iterator[Event]:
    """What `loop` yields; if anything is evaluated and there is time, one `Counted` too, before `Ended` at the latest.

    Baselines that were counted before come first. Else they are begun after the first step, asked for whenever the loop
    yields, and waited for only at the end of a run that was not stopped. Whatever is not known then is given up.
    """
    evaluated = loop.validation if loop.config.log.eval_every else None
    split = split_of(loop.corpus, loop.config.data.val_fraction, evaluated)
    if split is None:
        yield from loop.events()
        return
    before = loop.trainer.done
    with Counting(split) as counting:
        found = counting.kept()
        if found is not None:
            yield BaselinesCounted(loop.moment(before), found)
        for event in loop.events():
            if found is None and event.at.step > before:
                counting.start()
                found = counting.result(PATIENCE if is_done(event) else 0.0)
                if found is not None:
                    yield BaselinesCounted(event.at, found)
            yield event


def is_done(event: Event) -> bool:
    """Whether this is the end of a run that was not stopped."""
    return isinstance(event, Ended) and event.reason in FINISHED
