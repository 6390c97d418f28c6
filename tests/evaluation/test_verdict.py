"""What `train` prints about the baselines and about a validation loss."""

from __future__ import annotations

import pytest

from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import Course, Losses, announcement, conclusion, verdict

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


def course(*losses: tuple[float, float | None], end: int = 0, characters: int = 10_000, **rest: bool) -> Course:
    """Return the course of a run with these losses on validation and training at step 0, 10, 20, ..."""
    evaluations = [Losses(10 * n, *pair) for n, pair in enumerate(losses)]
    return Course(evaluations, end or evaluations[-1].step, characters, **rest)


OVERFITS = ((4.2, 4.2), (2.2, 2.1), (1.75, 1.5), (2.31, 0.9))
MORE = "use more dropout, a smaller network or more text"


def test_a_run_that_overfits() -> None:
    """A validation loss that has risen while the training loss has fallen is named; no line says to train longer."""
    earlier = f"stop earlier (--patience 5), or {MORE}"
    rise = "best at step 20 (1.750), 2.310 at the end: it overfits; "
    below = verdict(1.75, BASELINES, longer="")
    assert below.endswith("(1.700): not good yet")
    assert conclusion(course(*OVERFITS), BASELINES) == [below, rise + earlier]
    assert conclusion(course(*OVERFITS), None) == [rise + earlier]
    assert conclusion(course(*OVERFITS, end=35), None) == [rise.replace("the end", "step 30") + earlier]
    assert conclusion(course(*OVERFITS, out_of_patience=True), None) == [rise + MORE]
    unmeasured = [(loss, None) for loss, _ in OVERFITS]  # the first evaluations are those of an early version
    assert conclusion(course(*unmeasured[:3], OVERFITS[3]), None) == [rise + earlier]
    fine_tuned = course((1.2, 1.3), (1.5, 1.1), fine_tuned=True)
    assert conclusion(fine_tuned, None) == [f"best at step 0 (1.200), 1.500 at the end: it overfits; {earlier}"]
    useless = course((4.2, 4.2), (3.4, 2.9), (5.0, 2.0))
    lines = conclusion(useless, BASELINES)
    assert lines[0].endswith("how often each character occurs: not good")
    assert lines[1] == f"best at step 10 (3.400), 5.000 at the end: it overfits; {earlier}"


def test_a_run_whose_training_loss_rises_too() -> None:
    """It does not overfit: its learning rate is too high."""
    lines = conclusion(course((4.2, 4.2), (2.2, 2.1), (2.6, 2.5)), None)
    assert lines == [
        "best at step 10 (2.200), 2.600 at the end, and the training loss has risen, too: lower optimizer.learning_rate"
    ]


@pytest.mark.parametrize(("last", "risen"), [(1.80, False), (1.81, True)])
def test_fluctuations_are_no_rise(last: float, risen: bool) -> None:
    """A loss up to 3 % above the best is not called a rise, and neither are thousandths near zero."""
    lines = conclusion(course((4.2, 4.2), (1.75, 1.5), (last, 1.3)), BASELINES)
    assert (len(lines) == 2) is risen
    assert any("train longer, or use a larger network" in line for line in lines) is not risen
    assert conclusion(course((4.2, 4.2), (0.001, 0.001), (0.009, 0.001)), None) == []


def test_a_run_out_of_patience() -> None:
    """Where patience ended a run whose loss has not risen, the advice is more patience, not more training."""
    (line,) = conclusion(course((4.2, 4.2), (1.75, 1.5), (1.76, 1.5), out_of_patience=True), BASELINES)
    assert line.endswith(": not good yet; raise --patience, or use a larger network")


def test_a_text_that_is_learned_by_heart() -> None:
    """A network that learned only its text gets no advice to train longer; a short text gets another line."""
    unigram, before = "no better than the unigram (3.300)", "no better than before training (3.000)"
    losses = (3.0, 3.0), (5.9, 0.2), (6.1, 0.0123)
    heart = "learned {} by heart (training loss 0.012) and predicts other text {}; use more text"
    few = "the text is too short to learn from, 62 characters: the network has "
    assert conclusion(course(*losses, characters=62), BASELINES) == [few + heart.format("it", unigram)]
    assert conclusion(course(*losses, characters=62), None) == [few + heart.format("it", before)]
    assert conclusion(course(*losses), BASELINES) == [
        f"the network has {heart.format('the text', unigram)}, more dropout or a smaller network"
    ]
    one_character = Baselines((0.0,) * 6, 9, 9, 9, 9)
    assert "almost zero" in conclusion(course((0.0, 0.0), (0.0, 0.0)), one_character)[0]
    (line,) = conclusion(course((4.2, 4.2), (3.4, 2.0), characters=62), BASELINES)
    assert line == f"{few}learned only this text (training loss 2.000) and predicts other text {unigram}; use more text"


def test_a_run_that_has_learned_nothing_yet() -> None:
    """Where the training loss is high, too, the text is not blamed, however short."""
    barely = course((4.0, 4.0), (3.9, 3.4), characters=62)  # not even the unigram
    assert conclusion(barely, BASELINES)[0].endswith("not good; train longer, or change optimizer.learning_rate")
    unlearned = course((4.0, 4.0), (4.1, 4.3), characters=62)
    assert conclusion(unlearned, BASELINES)[0].endswith("not good; train longer, or change optimizer.learning_rate")
    assert conclusion(unlearned, None) == [
        "the network predicts no better than before training (4.000): train longer, or change optimizer.learning_rate"
    ]
