"""Clipping, update rules, weight decay, weight averages and learning-rate schedules, on the flat parameter vector."""

from charrnn.optim.rules import Rule, Update, average, blend, clip, decay, rule
from charrnn.optim.schedule import learning_rate

__all__ = ["Rule", "Update", "average", "blend", "clip", "decay", "learning_rate", "rule"]
