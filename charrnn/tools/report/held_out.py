"""One reading of many held-out characters, from which the statistics of units and of losses are computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.evaluation.protocols import first_position
from charrnn.text import Part
from charrnn.tools.report.finished import Finished
from charrnn.tools.report.reading import Block, read

STREAMS, LENGTH, WARM_UP = 32, 768, 128
"""Stretches that are read in parallel, and the characters of each that count and that warm it up."""
SHORTEST = 4 * WARM_UP
"""A text is not divided into stretches that are shorter than this."""
HEAD = 1_000_000
"""Characters of the text that the stretches are spread over."""


def head(run: Finished) -> Part:
    """Return the part of the run's text that `blocks` reads from. `run.part` must not be None."""
    assert run.part is not None
    return run.part.head(HEAD)


def blocks(run: Finished) -> Iterator[Block]:
    """Yield what the network computes on up to `STREAMS` stretches, evenly spread over `head(run)`.

    The first characters of each stretch only warm it up and are left out, but at the beginning of the text. No
    character is in two stretches.
    """
    part = head(run)
    first = first_position(run.model.network, part)
    total = len(part.ids) - 1 - first
    number = max(1, min(STREAMS, total // SHORTEST))
    span = min(LENGTH + WARM_UP, total // number)
    offsets = first + np.arange(number) * (total // number)
    warm_up = WARM_UP if number > 1 else 0
    row = 0
    for block in read(run.model, part, offsets, span):
        kept = slice(max(0, warm_up - row), None)
        row += len(block.positions)
        if row > warm_up:
            states = {name: array[kept] for name, array in block.states.items()}
            yield Block(block.positions[kept], block.probabilities[kept], states)
