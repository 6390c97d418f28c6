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


def evaluated(
    network: Network,
    params: Views,
    part: Part,
    *,
    window: int | None = None,
    dynamic: bool | Dynamic = False,
    optimizer_state: Checkpoint | None = None,
) -> Evaluation:
    """How well a network predicts a text.

    Args:
        network: the shape of the network.
        params: its weights.
        part: the text.
        window: the protocol `windows`, of so many characters;
        dynamic: the protocol `dynamic`; neither: `carried`.
        optimizer_state: for `dynamic`, the run's checkpoint with the tensors of its optimizer.

    Raises `OverflowingError` for a network whose numbers do.
    """
    with closing(network.backend.thread_pool()) as thread_pool:
        if dynamic:
            how = dynamic if isinstance(dynamic, Dynamic) else Dynamic()
            result = dynamic_evaluation(network, params, part, optimizer_state, how)
        elif window is None:
            result = carried(network, params, part, thread_pool)
        else:
            result = windows(network, params, part, window, thread_pool)
    if math.isnan(result.nats_per_char):
        raise OverflowingError("lower --dynamic-rate, or take" if dynamic else "take")
    return result


__all__ = ["Dynamic", "Evaluation", "evaluated"]
