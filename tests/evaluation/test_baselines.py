"""The n-grams behind the baselines, against Witten and Bell's formula written out, and the words about a loss."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.evaluation import ngram
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import announcement, verdict
from charrnn.text import Part

Document = tuple[int, ...]

VOCABULARIES = [1, 2, 4, 255, 256, 1289, 1290, 1500, 60_000, 0x110000]
"""Around the sizes at which an id + 1 needs another byte, and at which halves of windows are numbered."""


def part(documents: list[Document], V: int) -> Part:
    """Documents as a part of a corpus."""
    starts = np.cumsum([len(d) for d in documents])[:-1]
    ids = np.array([c for d in documents for c in d], np.min_scalar_type(V - 1))
    return Part(ids, starts)


class Oracle:
    """Dictionaries of contexts, filled by loops, and the recursion as the formula has it, in exact fractions."""

    def __init__(self, documents: list[Document], V: int) -> None:
        self.V, self.followers = V, defaultdict(Counter)
        for document in documents:
            for i, c in enumerate(document):
                for length in range(min(i, 5) + 1):
                    self.followers[document[i - length : i]][c] += 1

    def probability(self, c: int, context: Document | None) -> Fraction:
        """P(c | context); None is the order 0."""
        if context is None:
            return Fraction(1, self.V)
        lower = self.probability(c, context[1:] if context else None)
        seen = self.followers.get(context, Counter())
        if not seen:
            return lower
        return (seen[c] + len(seen) * lower) / (seen.total() + len(seen))

    def losses(self, documents: list[Document]) -> list[float]:
        """Nats/char of the orders 1 to 6, of all characters but the very first."""
        places = [(d, i) for d in documents for i in range(len(d))][1:]
        return [
            sum(-math.log(self.probability(d[i], d[max(0, i - n) : i])) for d, i in places) / len(places)
            for n in range(6)
        ]


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[Document], list[Document], int]:
    """Training and validation documents of few distinct characters, so that contexts come again; and V."""
    V = draw(st.sampled_from(VOCABULARIES))
    characters = sorted({0, V // 3, V - 1})
    document = st.lists(st.sampled_from(characters), min_size=1, max_size=12).map(tuple)
    training = draw(st.lists(document, min_size=1, max_size=5))
    validation = draw(st.lists(document, min_size=1, max_size=4).filter(lambda ds: sum(map(len, ds)) > 1))
    return training, validation, V


@settings(max_examples=150, deadline=None)
@given(texts())
def test_losses_are_witten_and_bells(case: tuple[list[Document], list[Document], int]) -> None:
    """Every order's loss is that of the formula, over any vocabulary; no context reaches across a document's start."""
    training, validation, V = case
    expected = Oracle(training, V).losses(validation)
    assert ngram.losses(part(training, V), part(validation, V), V) == pytest.approx(expected, abs=1e-12, rel=0)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=30), min_size=1, max_size=3),
    st.lists(st.integers(0, 4), max_size=7),
)
def test_probabilities_sum_to_one(V: int, training: list[list[int]], context: list[int]) -> None:
    """After any context, seen or not, those of all characters sum to 1 at every order, and none is 0."""
    documents = [tuple(c % V for c in d) for d in training]
    after = part([(*(c % V for c in context), c) for c in range(V)], V)
    for p in ngram.probabilities(part(documents, V), after, V):
        last = p[len(context) :: len(context) + 1]
        assert len(last) == V
        assert last.sum() == pytest.approx(1, abs=1e-12)
        assert (last > 0).all()


def test_by_hand() -> None:
    """`aab` gives P(a) = (2 + 2/2) / 5, P(a|a) = (1 + 2 P(a)) / 4, P(a|aa) = P(a|a) / 2, and nothing longer."""
    training, validation = part([(0, 0, 1)], 2), part([(0, 0, 0)], 2)
    expected = [-math.log(0.6), -math.log(0.55), *[math.log(2) / 2 - math.log(0.55)] * 4]
    assert ngram.losses(training, validation, 2) == pytest.approx(expected, abs=1e-14)


def test_a_longer_text() -> None:
    """A random walk of 4,000 characters over 40, in which most contexts of every order are seen, agrees too."""
    rng = np.random.default_rng(5)
    walk = tuple((np.cumsum(rng.integers(0, 3, 4400)) % 40).tolist())
    training, validation = [walk[:2500], walk[2500:4000]], [walk[4000:]]
    expected = Oracle(training, 40).losses(validation)
    assert len({round(loss, 3) for loss in expected}) == 6
    assert ngram.losses(part(training, 40), part(validation, 40), 40) == pytest.approx(expected, abs=1e-12, rel=0)


BASELINES = Baselines((3.3, 2.5, 2.0, 1.8, 1.7, 1.72), 1000, 1000, 99, 99)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (4.2, "not below the unigram (3.300), which only knows how often each character occurs: not good; train"),
        (3.3, "not below the unigram (3.300)"),
        (3.29, "between the unigram (3.300) and the 2-gram (2.500), and counting gets to 1.700 (5-gram): not good yet"),
        (2.5, "between the unigram (3.300) and the 2-gram (2.500)"),
        (2.49, "between the 2-gram (2.500) and the 3-gram (2.000)"),
        (1.75, "between the 4-gram (1.800) and the 5-gram (1.700): not good yet; train longer, or a larger network"),
        (1.7, "between the 4-gram (1.800) and the 5-gram (1.700)"),
        (1.69, "0.010 below the best n-gram (1.700, 5-gram): a little better than counting; train longer"),
        (1.62, "0.080 below the best n-gram (1.700, 5-gram): a little better"),
        (1.61, "0.090 below the best n-gram (1.700, 5-gram): good"),
        (1.54, "0.160 below the best n-gram (1.700, 5-gram): good"),
        (1.52, "0.180 below the best n-gram (1.700, 5-gram): very good for a small network"),
    ],
)
def test_where_a_loss_stands(loss: float, words: str) -> None:
    """Between which baselines a loss is, or how far below all of them, and whether that is good."""
    said = verdict(loss, BASELINES)
    assert said.startswith(f"that is {words}")
    assert said.endswith("good") == (said.count("good") == 1 and 0.9 < loss / 1.7 <= 0.95)


def test_orders_that_are_no_better_are_passed_over() -> None:
    """Where the 2-gram is worse than the unigram, a loss is between the unigram and the 3-gram; or all are one."""
    baselines = Baselines((2.0, 2.1, 1.5, 1.6, 1.7, 1.8), 9, 9, 9, 9)
    assert verdict(1.8, baselines).startswith(
        "that is between the unigram (2.000) and the 3-gram (1.500): not good yet"
    )
    assert verdict(1.0, Baselines((2.0,) * 6, 9, 9, 9, 9)) == (
        "that is 1.000 below the best n-gram (2.000, unigram): very good for a small network"
    )
    assert verdict(2.0, Baselines((2.0,) * 6, 9, 9, 9, 9)).startswith("that is not below the unigram (2.000)")


def test_a_text_without_surprise_is_learnt() -> None:
    """Sixty times the same line: nobody is told to train longer, and baselines near zero are told apart."""
    baselines = Baselines((3.0, 0.5, 0.009, 0.00123, 0.0, 0.0), 9, 9, 9, 9)
    assert announcement(baselines).startswith(
        "baselines on this split: unigram 3.000, 3-gram 0.009, 5-gram 0.000 nats/char"
    )
    assert verdict(0.002, baselines) == "that is nearly nothing: the text is learnt (the best n-gram has 0.000, 5-gram)"
    assert verdict(0.4, baselines).startswith("that is between the 2-gram (0.500) and the 3-gram (0.009), and counting")


def test_what_must_be_beaten() -> None:
    """One line: the unigram, the 3-gram and the best; and how much was counted where that is not all."""
    assert announcement(BASELINES) == (
        "baselines on this split: unigram 3.300, 3-gram 2.000, 5-gram 1.700 nats/char: "
        "a network must beat 1.700 (5-gram) to have learned more than counting"
    )
    partly = Baselines((2.0, 2.1, 2.2), 1000, 25_000, 10, 2000)
    assert announcement(partly) == (
        "baselines on this split: unigram 2.000, 3-gram 2.200 nats/char: a network must beat 2.000 (unigram) to have "
        "learned more than counting (counted on the last 1,000 of 25,000 training characters, "
        "on the first 10 of 2,000 validation characters)"
    )
