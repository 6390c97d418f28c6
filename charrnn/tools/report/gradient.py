"""The gradient through time: how much of d loss[t] / d h[t-k] is left after k steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn import backend
from charrnn.api import Model
from charrnn.errors import OverflowingError
from charrnn.evaluation.inspection import last_loss_gradient
from charrnn.text import Part
from charrnn.tools.report.finished import Finished
from charrnn.tools.report.reading import HostArray

STEPS, WARM_UP = 100, 28
"""Steps k that the gradient is followed back, and characters before them that the network reads."""
PLACES = 16
"""Characters t whose loss is followed back."""


def gradient(run: Finished) -> dict[str, Any] | None:
    """Return the norms of the network as trained, and as it began; None if the text is too short.

    Norms are lists by layer, then by k; None for a norm of zero, which a log axis cannot show.
    """
    texts = None if run.part is None else stretches(run.part)
    if texts is None:
        return None
    begun = "with the weights of another run" if run.model.config.train.init_from else "as initialized"
    return {
        "trained": norms(run.model, texts),
        "first": norms(run.first, texts),
        "first_name": begun,
        "seq_length": run.model.config.train.seq_length,
        "places": texts.shape[1],
    }


def stretches(part: Part) -> HostArray | None:
    """Return up to `PLACES` stretches (T+1, B) of a text, evenly spread; None for fewer than two characters."""
    T = min(STEPS + WARM_UP, len(part.ids) - 1)
    if T < 1:
        return None
    number = max(1, min(PLACES, len(part.ids) // (T + 1)))
    firsts = np.linspace(0, len(part.ids) - T - 1, number).astype(int)
    ids: HostArray = part.ids[firsts[None, :] + np.arange(T + 1)[:, None]].astype(np.int64)
    return ids


def norms(model: Model, texts: HostArray) -> list[list[float | None]] | None:
    """Return by layer and k the mean norm of the gradient; None if the network's numbers overflow."""
    try:
        with backend.computing(model.network.backend):
            gradients = last_loss_gradient(model.network, model.params, texts)  # (T, B, L, H)
    except OverflowingError:
        return None
    mean = np.linalg.norm(gradients.astype(np.float64), axis=3).mean(axis=1)[::-1][: STEPS + 1]  # (k, L)
    return [[float(f"{value:.4g}") if value > 0 else None for value in layer] for layer in mean.T]
