"""The n-gram baselines against the formula of Witten and Bell, written out; the split; `baselines.json`."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.splits import split
from helpers.texts import FOX
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import text
from charrnn.evaluation import baselines
from charrnn.evaluation.baselines import Baselines, count_baselines, ngram_losses, ngram_probabilities, split_of
from charrnn.text import Part

Document = tuple[int, ...]

VOCABULARIES = [1, 2, 4, 255, 256, 1289, 1290, 1500, 60_000, 0x110000]
"""Sizes around those at which an id + 1 needs one more byte, and at which halves of windows are numbered."""


def part(documents: list[Document], V: int, *, begins: bool = True) -> Part:
    """Return documents as a part of a corpus."""
    starts = np.cumsum([len(d) for d in documents])[:-1]
    ids = np.array([c for d in documents for c in d], np.min_scalar_type(V - 1))
    return Part(ids, starts, begins)


class Oracle:
    """The formula in exact fractions, on dictionaries of contexts that loops fill. A character V is never predicted."""

    def __init__(self, documents: list[Document], V: int) -> None:
        self.V, self.followers = V, defaultdict(Counter)
        for document in documents:
            for i, c in enumerate(document):
                for length in range(min(i, 5) + 1) if c < V else ():
                    self.followers[document[i - length : i]][c] += 1

    def probability(self, c: int, context: Document | None) -> Fraction:
        """Return P(c | context); a context of None means order 0."""
        if context is None:
            return Fraction(1, self.V)
        lower = self.probability(c, context[1:] if context else None)
        seen = self.followers.get(context, Counter())
        if not seen:
            return lower
        return (seen[c] + len(seen) * lower) / (seen.total() + len(seen))

    def losses(self, documents: list[Document]) -> list[float]:
        """Return the nats/char of the orders 1 to 6 over all characters below V but the very first character."""
        places = [(d, i) for d in documents for i in range(len(d))][1:]
        places = [(d, i) for d, i in places if d[i] < self.V]
        return [
            sum(-math.log(self.probability(d[i], d[max(0, i - n) : i])) for d, i in places) / len(places)
            for n in range(6)
        ]


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[Document], list[Document], int]:
    """Draw training and validation documents and V. Few distinct characters occur, so contexts repeat."""
    V = draw(st.sampled_from(VOCABULARIES))
    characters = sorted({0, V // 3, V - 1})
    document = st.lists(st.sampled_from(characters), min_size=1, max_size=12).map(tuple)
    training = draw(st.lists(document, min_size=1, max_size=5))
    validation = draw(st.lists(document, min_size=1, max_size=4).filter(lambda ds: sum(map(len, ds)) > 1))
    return training, validation, V


@settings(max_examples=150, deadline=None)
@given(texts())
def test_losses_follow_the_formula(case: tuple[list[Document], list[Document], int]) -> None:
    """The losses of all orders are those of the formula, for any V; no n-gram crosses the start of a document."""
    training, validation, V = case
    expected = Oracle(training, V).losses(validation)
    assert ngram_losses(part(training, V), part(validation, V), V) == pytest.approx(expected, abs=1e-12, rel=0)


@settings(max_examples=150, deadline=None)
@given(texts(), st.booleans(), st.booleans())
def test_a_start_symbol_is_a_context(
    case: tuple[list[Document], list[Document], int], counted_begins: bool, predicted_begins: bool
) -> None:
    """With start symbols, the losses are those of documents with a character V before them, which is not predicted.

    The first document of a part has one only if the part begins with it.
    """
    training, validation, V = case
    marked = [(V,) * (counted_begins or i > 0) + d for i, d in enumerate(training)]
    expected = [(V,) * (predicted_begins or i > 0) + d for i, d in enumerate(validation)]
    parts = part(training, V, begins=counted_begins), part(validation, V, begins=predicted_begins)
    losses = ngram_losses(*parts, V, start_symbol=True)
    assert losses == pytest.approx(Oracle(marked, V).losses(expected), abs=1e-12, rel=0)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=30), min_size=1, max_size=3),
    st.lists(st.integers(0, 4), max_size=7),
)
def test_probabilities_sum_to_one(V: int, training: list[list[int]], context: list[int]) -> None:
    """After any context, the probabilities of all V characters are positive and sum to 1 at every order."""
    documents = [tuple(c % V for c in d) for d in training]
    after = part([(*(c % V for c in context), c) for c in range(V)], V)
    for p in ngram_probabilities(part(documents, V), after, V):
        last = p[len(context) :: len(context) + 1]
        assert len(last) == V
        assert last.sum() == pytest.approx(1, abs=1e-12)
        assert (last > 0).all()


def test_losses_computed_by_hand() -> None:
    """`aab` gives P(a) = (2 + 2/2) / 5, P(a|a) = (1 + 2 P(a)) / 4, P(a|aa) = P(a|a) / 2, and no longer contexts."""
    training, validation = part([(0, 0, 1)], 2), part([(0, 0, 0)], 2)
    expected = [-math.log(0.6), -math.log(0.55), *[math.log(2) / 2 - math.log(0.55)] * 4]
    assert ngram_losses(training, validation, 2) == pytest.approx(expected, abs=1e-14)


def test_losses_of_a_longer_text() -> None:
    """The formula also holds for a random walk of 4,000 characters, where most contexts of all orders repeat."""
    rng = np.random.default_rng(5)
    walk = tuple((np.cumsum(rng.integers(0, 3, 4400)) % 40).tolist())
    training, validation = [walk[:2500], walk[2500:4000]], [walk[4000:]]
    expected = Oracle(training, 40).losses(validation)
    assert len({round(loss, 3) for loss in expected}) == 6
    assert ngram_losses(part(training, 40), part(validation, 40), 40) == pytest.approx(expected, abs=1e-12, rel=0)


def test_a_long_text_is_counted_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last characters before the split are counted and the first after it predicted, with their documents."""
    corpus = replace(text.from_text(FOX), starts=np.array([0, 100, 390, 410, 430, 450]))
    training, validation = corpus.split(0.2)
    assert validation is not None
    assert len(training.ids) == 412
    monkeypatch.setattr(baselines, "COUNTED", 30)
    monkeypatch.setattr(baselines, "PREDICTED", 20)
    found = split_of(len(corpus.vocabulary), training, validation)
    assert np.array_equal(found.counted.ids, corpus.ids[382:412])
    assert np.array_equal(found.predicted.ids, corpus.ids[412:432])
    assert (found.counted.starts.tolist(), found.predicted.starts.tolist()) == ([8, 28], [18])
    counted = count_baselines(found)
    assert (counted.counted, counted.training, counted.predicted, counted.evaluated) == (30, 412, 19, 103)
    assert counted.losses == tuple(round(loss, 6) for loss in ngram_losses(found.counted, found.predicted, found.V))


def test_the_best_order() -> None:
    """The best n-gram has the lowest loss; of equal ones it is the shortest."""
    found = Baselines((3.0, 2.0, 1.5, 1.5, 1.6, 1.7), 9, 9, 9, 9)
    assert (found.best_order, found.best_loss, found.loss_of(2)) == (3, 1.5, 2.0)


def test_json_is_read_back() -> None:
    """`from_json` returns the baselines that `as_json` wrote."""
    counted = count_baselines(split())
    assert Baselines.from_json(json.loads(json.dumps(counted.as_json()))) == counted


GOOD_JSON: dict[str, Any] = Baselines((3.0, 2.5, 2.0, 1.5, 1.25, 1.5), 100, 200, 9, 19).as_json()
FIVE_ORDERS = Baselines((3.0, 2.5, 2.0, 1.5, 1.25), 100, 200, 9, 19).as_json()


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {"nats_per_char": {}},
        FIVE_ORDERS,
        {k: v for k, v in GOOD_JSON.items() if k != "counted"},
        GOOD_JSON | {"method": "kneser-ney"},
        GOOD_JSON | {"best": {"order": 4, "nats_per_char": 1.5}},
        GOOD_JSON | {"nats_per_char": GOOD_JSON["nats_per_char"] | {"1": math.nan}},
        GOOD_JSON | {"nats_per_char": GOOD_JSON["nats_per_char"] | {"1": math.inf}},
        GOOD_JSON | {"nats_per_char": GOOD_JSON["nats_per_char"] | {"1": -1.0}},
        GOOD_JSON | {"nats_per_char": GOOD_JSON["nats_per_char"] | {"1": "3.0"}},
        GOOD_JSON | {"nats_per_char": [3.0, 2.5, 2.0, 1.5, 1.25, 1.5]},
    ],
)
def test_other_json_is_refused(values: object) -> None:
    """Missing fields, another method, a wrong best order, and losses that cannot be losses raise `ValueError`."""
    assert Baselines.from_json(GOOD_JSON).losses == (3.0, 2.5, 2.0, 1.5, 1.25, 1.5)
    with pytest.raises(ValueError, match="not baselines"):
        Baselines.from_json(values)
