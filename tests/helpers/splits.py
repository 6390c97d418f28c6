"""Splits of a text."""

from __future__ import annotations

from helpers.texts import FOX

from charrnn import text
from charrnn.evaluation.baselines import Split, split_of


def split(content: str = FOX, fraction: float = 0.2) -> Split:
    """Return the split of a text whose validation part is evaluated whole."""
    corpus = text.from_text(content)
    training, validation = corpus.split(fraction)
    assert validation is not None
    return split_of(len(corpus.vocabulary), training, validation)
