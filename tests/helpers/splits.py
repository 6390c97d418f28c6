"""The split of a text, and its baselines counted here."""

from __future__ import annotations

from conftest import TEXT

from charrnn import text
from charrnn.evaluation import ngram
from charrnn.evaluation.baselines import Baselines, Split, split_of


def split(content: str = TEXT, fraction: float = 0.2) -> Split:
    """The split of a text."""
    corpus = text.from_text(content)
    found = split_of(corpus, fraction, corpus.split(fraction)[1])
    assert found is not None
    return found


def expected(of: Split) -> Baselines:
    """The baselines of a split, counted here."""
    return Baselines.of(of, list(ngram.losses(of.counted, of.predicted, of.V)))
