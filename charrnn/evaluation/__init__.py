"""How well a network predicts a text, and how well counting alone does."""

from __future__ import annotations

import math
from contextlib import closing

from charrnn.checkpoint import Checkpoint
from charrnn.errors import OverflowingError
from charrnn.evaluation.dynamic import Dynamic, dynamic_evaluation
from charrnn.evaluation.protocols import Evaluation, carried, windows
from charrnn.model import Network, Views
from charrnn.text import Part

__all__ = ["Dynamic", "Evaluation", "evaluate"]


def evaluate(
    network: Network,
    params: Views,
    part: Part,
    *,
    window: int | None = None,
    dynamic: bool | Dynamic = False,
    optimizer_state: Checkpoint | None = None,
) -> Evaluation:
    """Return how well a network predicts a text.

    Args:
        network: the shape of the network.
        params: its weights.
        part: the text.
        window: None carries the state through the whole text; W starts every window of W characters from a zero state.
        dynamic: carry the state, and train a copy of the weights on each chunk after predicting it. Not with `window`.
        optimizer_state: for `dynamic`, the run's checkpoint with the optimizer's tensors.

    Raises `TextError` for a text that is too short, `ConfigError` for a window below 1 or if `dynamic` has no optimizer
    state, and `OverflowingError` for a network whose numbers overflow.
    """
    with closing(network.backend.thread_pool()) as thread_pool:
        if dynamic:
            settings = dynamic if isinstance(dynamic, Dynamic) else Dynamic()
            result = dynamic_evaluation(network, params, part, optimizer_state, settings)
        elif window is None:
            result = carried(network, params, part, thread_pool)
        else:
            result = windows(network, params, part, window, thread_pool)
    if math.isnan(result.nats_per_char):
        raise OverflowingError("lower --dynamic-rate, or use" if dynamic else "use")
    return result
