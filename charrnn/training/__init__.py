"""The loop as a generator of events; sessions, evaluation, guard, the run directory."""

from charrnn.training.evaluation import Evaluation, carried, surprises, windows
from charrnn.training.events import (
    Counted,
    Ended,
    Evaluated,
    Event,
    Guarded,
    Moment,
    Sampled,
    Snapshot,
    Trained,
)
from charrnn.training.guard import LIMIT
from charrnn.training.record import default_out, located
from charrnn.training.session import Request, Session, prepare

__all__ = [
    "LIMIT",
    "Counted",
    "Ended",
    "Evaluated",
    "Evaluation",
    "Event",
    "Guarded",
    "Moment",
    "Request",
    "Sampled",
    "Session",
    "Snapshot",
    "Trained",
    "carried",
    "default_out",
    "located",
    "prepare",
    "surprises",
    "windows",
]
