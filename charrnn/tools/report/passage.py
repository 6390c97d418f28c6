"""The passage that the report colors: its characters, their surprises and likeliest characters, and the states."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.evaluation.protocols import first_position
from charrnn.tools.report.finished import Finished
from charrnn.tools.report.reading import HostArray, read

LENGTH = 2000
"""Characters of the passage."""
LEAD = 300
"""Most characters before it, so that it begins with a line and the network has read something."""
TOP = 5
"""Likeliest characters that are shown."""


@dataclass(frozen=True)
class Passage:
    """A stretch of a text with what the network computes on it.

    Attributes:
        first: its position in the text.
        ids: (T,) its characters.
        probabilities: (T, V) before each character; NaN where nothing predicts the first of the text.
        states: state name -> (T, L, H) after each character.
    """

    first: int
    ids: HostArray
    probabilities: HostArray
    states: dict[str, HostArray]


def passage(run: Finished) -> Passage:
    """Read the beginning of the run's text. `run.part` must not be None.

    The network reads it from its first character. Without a character after it, the last one of a text is left out.
    """
    assert run.part is not None
    part, model = run.part, run.model
    lead = part.ids[: LEAD + 1]
    breaks = np.flatnonzero(lead == model.vocabulary.characters.find("\n"))
    first = int(breaks[0]) + 1 if len(breaks) and len(part.ids) > 2 * LEAD else 0
    last = min(len(part.ids), first + LENGTH)
    start = first_position(model.network, part)
    probabilities = np.full((last, len(model.vocabulary)), np.nan, np.float32)
    states: dict[str, list[HostArray]] = {name: [] for name in model.network.cell.STATES}
    # The state after the last character of the whole text is not needed to predict one: a text ends one earlier.
    length = min(last, len(part.ids) - 1) - start
    for block in read(model, part, np.array([start]), length):
        targets = block.positions[:, 0] + 1
        inside = targets < last
        probabilities[targets[inside]] = block.probabilities[inside, 0]
        for name, array in block.states.items():
            states[name].append(array[block.positions[:, 0] >= 0, 0])
    shown = {name: np.concatenate(arrays)[first:last] for name, arrays in states.items()}
    count = min(last - first, *(len(array) for array in shown.values()))
    kept = slice(first, first + count)
    return Passage(first, part.ids[kept].astype(int), probabilities[kept], shown)


def surprise(run: Finished, shown: Passage) -> dict[str, Any]:
    """Return the ids, the surprises in nats, and the likeliest characters (ids and probabilities) of a passage."""
    T, V = shown.probabilities.shape
    top = np.argsort(-np.nan_to_num(shown.probabilities), axis=1, kind="stable")[:, : min(TOP, V)]
    probabilities = np.take_along_axis(shown.probabilities, top, axis=1)
    nats = -np.log(np.maximum(shown.probabilities[np.arange(T), shown.ids], 1e-30))
    return {
        "characters": list(run.model.vocabulary.characters),
        "ids": shown.ids.tolist(),
        "nats": [None if math.isnan(value) else round(float(value), 3) for value in nats],
        "top": top.reshape(-1).tolist(),
        "probabilities": [None if math.isnan(p) else round(float(p), 4) for p in probabilities.reshape(-1)],
        "held_out": run.held_out,
    }


def quantized(values: HostArray) -> tuple[str, list[float]]:
    """Return states (T, U) as base64 of int8, unit by unit, and the value of 127 of each unit."""
    largest = np.abs(values).max(axis=0, initial=0.0)
    scaled = np.rint(values / np.where(largest > 0, largest, 1) * 127).astype(np.int8)
    return base64.b64encode(scaled.T.tobytes()).decode(), [float(f"{value:.4g}") for value in largest]
