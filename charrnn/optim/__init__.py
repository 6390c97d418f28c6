"""The optimizer, on the flat parameter vector: guard, clipping, update rules, weight decay, averages and schedules."""

from charrnn.optim.rules import (
    GUARD_LIMIT,
    TRACE_COLUMNS,
    Guard,
    Rule,
    TrainedArrays,
    Update,
    UpdateInputs,
    apply_update,
    average_share,
    clip,
    decay,
    rule,
    update_average,
)
from charrnn.optim.schedule import learning_rate

__all__ = [
    "GUARD_LIMIT",
    "TRACE_COLUMNS",
    "Guard",
    "Rule",
    "TrainedArrays",
    "Update",
    "UpdateInputs",
    "apply_update",
    "average_share",
    "clip",
    "decay",
    "learning_rate",
    "rule",
    "update_average",
]
