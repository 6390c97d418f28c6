"""What `train` prints about the baselines and about a validation loss."""

from __future__ import annotations

import pytest

from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import announcement, verdict

BASELINES = Baselines((3.3, 2.5, 2.0, 1.8, 1.7, 1.72), 1000, 1000, 99, 99)
LONGER = "train longer, or use a larger network"


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            4.2,
            "not below the unigram (3.300), which knows only how often each character occurs: not good; train longer",
        ),
        (3.3, "not below the unigram (3.300)"),
        (3.29, "between the unigram (3.300) and the 2-gram (2.500), and the best n-gram has 1.700 (5-gram): not good"),
        (2.5, "between the unigram (3.300) and the 2-gram (2.500)"),
        (2.49, "between the 2-gram (2.500) and the 3-gram (2.000)"),
        (1.75, f"between the 4-gram (1.800) and the 5-gram (1.700): not good yet; {LONGER}"),
        (1.7, "between the 4-gram (1.800) and the 5-gram (1.700)"),
    ],
)
def test_a_loss_that_is_not_below_all_baselines(loss: float, words: str) -> None:
    """The verdict names the n-grams above and below the loss, and says what to do."""
    assert verdict(loss, BASELINES).startswith(f"this loss is {words}")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (1.69, f"0.010 below the best n-gram (1.700, 5-gram): a little better than counting; {LONGER}"),
        (1.62, f"0.080 below the best n-gram (1.700, 5-gram): a little better than counting; {LONGER}"),
        (1.61, "0.090 below the best n-gram (1.700, 5-gram): good"),
        (1.54, "0.160 below the best n-gram (1.700, 5-gram): good"),
        (1.52, "0.180 below the best n-gram (1.700, 5-gram): very good for a small network"),
    ],
)
def test_a_loss_below_all_baselines(loss: float, words: str) -> None:
    """From 5 % below the best n-gram a loss is good, from 10 % very good."""
    assert verdict(loss, BASELINES) == f"this loss is {words}"


def test_orders_that_are_no_better_are_skipped() -> None:
    """A 2-gram that is worse than the unigram is not named as a neighbor; all orders may be equal."""
    baselines = Baselines((2.0, 2.1, 1.5, 1.6, 1.7, 1.8), 9, 9, 9, 9)
    assert verdict(1.8, baselines).startswith(
        "this loss is between the unigram (2.000) and the 3-gram (1.500): not good yet"
    )
    equal = Baselines((2.0,) * 6, 9, 9, 9, 9)
    assert verdict(1.0, equal) == (
        "this loss is 1.000 below the best n-gram (2.000, unigram): very good for a small network"
    )
    assert verdict(2.0, equal).startswith("this loss is not below the unigram (2.000)")


def test_a_loss_near_zero() -> None:
    """For a text of equal lines the verdict advises no more training, and small baselines keep two digits."""
    baselines = Baselines((3.0, 0.5, 0.009, 0.00123, 0.0, 0.0), 9, 9, 9, 9)
    assert announcement(baselines).startswith(
        "baselines on this split: unigram 3.000, 3-gram 0.009, 5-gram 0.000 nats/char"
    )
    assert verdict(0.002, baselines) == (
        "this loss is almost zero: the network has learned the text (best n-gram: 0.000, 5-gram)"
    )
    assert verdict(0.4, baselines).startswith(
        "this loss is between the 2-gram (0.500) and the 3-gram (0.009), and the best n-gram has 0.000 (5-gram)"
    )
    small = Baselines((3.0, 2.0, 0.0123, 0.00123), 9, 9, 9, 9)
    assert verdict(0.01, small).startswith("this loss is between the 3-gram (0.012) and the 4-gram (0.0012): not good")


def test_the_announcement() -> None:
    """One line names the unigram, the 3-gram and the best n-gram, and how much of the text was counted if not all."""
    assert announcement(BASELINES) == (
        "baselines on this split: unigram 3.300, 3-gram 2.000, 5-gram 1.700 nats/char: "
        "a network must get below 1.700 (5-gram) to have learned more than counting"
    )
    partly = Baselines((2.0, 2.1, 2.2), 1000, 25_000, 10, 2000)
    assert announcement(partly) == (
        "baselines on this split: unigram 2.000, 3-gram 2.200 nats/char: a network must get below 2.000 (unigram) to "
        "have learned more than counting (counted on the last 1,000 of 25,000 training characters, "
        "on the first 10 of 2,000 validation characters)"
    )
