"""The loop as a generator of events; sessions, evaluation, guard, the run directory."""

from charrnn.training.corpus import own_text
from charrnn.training.dynamic import Dynamic
from charrnn.training.evaluation import Evaluation, surprises
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
from charrnn.training.protocols import evaluated
from charrnn.training.request import Request
from charrnn.training.runs import default_out
from charrnn.training.session import Session, prepare

__all__ = [
    "LIMIT",
    "Counted",
    "Dynamic",
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
    "default_out",
    "evaluated",
    "own_text",
    "prepare",
    "surprises",
]
