"""The losses of a run in words: what a network has to beat, how good its loss is, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from charrnn.evaluation.baselines import Baselines

GOOD, VERY_GOOD = 0.95, 0.90
"""A network's loss is good, or very good, if it is at most this share of the best n-gram's loss.

A share and not a difference, because the losses of different texts differ by a factor of three. On Tiny Shakespeare,
with the last tenth held out, the best n-gram has 1.669 nats/char. A transformer of ten million parameters with dropout
has 1.47 (nanoGPT's `shakespeare_char`), a share of 0.88. `GOOD` is near the middle between the two (1.585), and
`VERY_GOOD` is close to the transformer (1.502).
"""

LARGER = "use a larger network"
"""The second advice for a loss that is not good."""

LEARNED = 0.01
"""Loss in nats/char below which more training is not worth its time."""

RISE = 1.03
"""A validation loss has risen if it is above its best by this factor.

Below it are the fluctuations of a run that does not overfit: at a constant learning rate, the loss of 128 units on the
embedded corpus was never more than 0.5 % above its best in 30 evaluations. A rise of 3 % is more than half of the step
from "a little better than counting" to "good". With one stream (min-char-rnn) the loss fluctuates by 7 %, but then the
training loss does, too, and the advice is a lower learning rate.
"""
BY_HEART = 0.1
"""A training loss in nats/char, without dropout, below which a network has learned its text by heart."""
TOO_SHORT = 1000
"""Training characters below which a text is called too short, if a network learned from it nothing but itself."""


class Losses(NamedTuple):
    """The losses of one evaluation, nats/char. `training` is without dropout; None if it was not measured."""

    step: int
    validation: float
    training: float | None


@dataclass(frozen=True)
class Course:
    """How the losses of a run went.

    Attributes:
        evaluations: in their order, at least one after step 0 or `fine_tuned`.
        end: the step at which the run ended.
        characters: the characters of the training split.
        fine_tuned: whether the network was trained before step 0.
        out_of_patience: whether the run ended because its validation loss stopped improving.
    """

    evaluations: Sequence[Losses]
    end: int
    characters: int
    fine_tuned: bool = False
    out_of_patience: bool = False

    @property
    def best(self) -> Losses:
        """The evaluation with the lowest validation loss of a trained network."""
        return min((e for e in self.evaluations if e.step or self.fine_tuned), key=lambda e: e.validation)

    @property
    def untrained(self) -> Losses | None:
        """The evaluation of the untrained network; None if it is unknown."""
        first = self.evaluations[0]
        return first if first.step == 0 and not self.fine_tuned else None

    @property
    def risen(self) -> bool:
        """Whether the last validation loss is above the best by more than fluctuations."""
        best, last = self.best.validation, self.evaluations[-1].validation
        return last > max(RISE * best, best + LEARNED)

    @property
    def overfits(self) -> bool:
        """Whether the validation loss has risen while the training loss has not."""
        before, now = self.best.training, self.evaluations[-1].training
        return self.risen and (before is None or now is None or now <= before)


def announcement(baselines: Baselines) -> str:
    """Return one line with the unigram, the 3-gram and the best n-gram, which the network has to beat."""
    orders = sorted({1, min(3, len(baselines.losses)), baselines.best_order})
    shown = ", ".join(f"{name(n)} {nats(baselines.loss_of(n))}" for n in orders)
    best = f"{nats(baselines.best_loss)} ({name(baselines.best_order)})"
    line = (
        f"baselines on this split: {shown} nats/char: "
        f"a network must get below {best} to have learned more than counting"
    )
    parts = []
    if baselines.counted < baselines.training:
        parts.append(f"counted on the last {baselines.counted:,} of {baselines.training:,} training characters")
    if baselines.predicted < baselines.evaluated:
        parts.append(f"on the first {baselines.predicted:,} of {baselines.evaluated:,} validation characters")
    return f"{line} ({', '.join(parts)})" if parts else line


def conclusion(course: Course, baselines: Baselines | None) -> list[str]:
    """Return lines about a run that ends: how good its best loss is, whether it overfits, and what to do."""
    best = course.best
    limits = {f"the unigram ({nats(baselines.loss_of(1))})": baselines.loss_of(1)} if baselines else {}
    if course.untrained is not None:
        limits |= {f"before training ({nats(course.untrained.validation)})": course.untrained.validation}
    missed = next((name for name, limit in limits.items() if LEARNED <= best.validation >= limit), None)
    if missed is not None and (line := learned_by_heart(course, missed, min(limits.values()))):
        return [line]
    lines = []
    longer = "" if course.risen else "raise --patience" if course.out_of_patience else "train longer"
    if baselines is not None:
        lines.append(verdict(best.validation, baselines, longer=longer))
    elif missed is not None and longer:
        lines.append(f"the network predicts no better than {missed}: {longer}, or change optimizer.learning_rate")
    return [*lines, rise(course)] if course.risen else lines


def learned_by_heart(course: Course, missed: str, limit: float) -> str | None:
    """Return a line about a network that learned only the characters of its text; None if it did not learn them.

    Args:
        course: the losses.
        missed: what predicts the validation split as well as the network.
        limit: a training loss, nats/char, below which the network has learned something.
    """
    training, few = course.evaluations[-1].training, course.characters < TOO_SHORT
    if training is None or training >= (limit if few else BY_HEART):
        return None
    learned = "learned it by heart" if training < BY_HEART else "learned only this text"
    line = f"the network has {learned} (training loss {training:.3f}) and predicts other text no better than {missed}"
    if few:
        return f"the text is too short to learn from, {course.characters:,} characters: {line}; use more text"
    return f"{line.replace('it by heart', 'the text by heart')}; use more text, more dropout or a smaller network"


def rise(course: Course) -> str:
    """Return a line about a validation loss that has risen from its best: why, and what to do."""
    best, last = course.best, course.evaluations[-1]
    end = "at the end" if last.step == course.end else f"at step {last.step:,}"
    line = f"best at step {best.step:,} ({nats(best.validation)}), {nats(last.validation)} {end}"
    if not course.overfits:
        return f"{line}, and the training loss has risen, too: lower optimizer.learning_rate"
    earlier = "" if course.out_of_patience else "stop earlier (--patience 5), or "
    return f"{line}: it overfits; {earlier}use more dropout, a smaller network or more text"


def verdict(loss: float, baselines: Baselines, *, longer: str = "train longer") -> str:
    """Return a line that compares a validation loss (nats/char) with the baselines: how good it is and what to do.

    `longer` is the first advice for a loss that is not good; if it is empty, the line has no advice.
    """
    rate, size = (f"; {longer}, or {other}" * bool(longer) for other in ("change optimizer.learning_rate", LARGER))
    best = baselines.best_loss
    best_name = name(baselines.best_order)
    if loss < LEARNED:
        return f"this loss is almost zero: the network has learned the text (best n-gram: {nats(best)}, {best_name})"
    if loss >= baselines.loss_of(1):
        return (
            f"this loss is not below the unigram ({nats(baselines.loss_of(1))}), which knows only how often each "
            f"character occurs: not good{rate}"
        )
    if loss >= best:
        above, below = neighbors(loss, baselines)
        lowest = "" if below == baselines.best_order else f", and the best n-gram has {nats(best)} ({best_name})"
        return (
            f"this loss is between the {name(above)} ({nats(baselines.loss_of(above))}) and the {name(below)} "
            f"({nats(baselines.loss_of(below))}){lowest}: not good yet{size}"
        )
    line = f"this loss is {nats(best - loss)} below the best n-gram ({nats(best)}, {best_name})"
    if loss > GOOD * best:
        return f"{line}: a little better than counting{size}"
    return f"{line}: {'good' if loss > VERY_GOOD * best else 'very good for a small network'}"


def neighbors(loss: float, baselines: Baselines) -> tuple[int, int]:
    """Return the orders of the n-grams directly above and directly below (or at) a loss.

    The loss is below the unigram and not below the best n-gram. An order that is no better than a lower one is skipped.
    """
    losses = baselines.losses
    improving = [n for n in range(1, len(losses) + 1) if losses[n - 1] < min(losses[: n - 1], default=float("inf"))]
    below = next(n for n in improving if baselines.loss_of(n) <= loss)
    return improving[improving.index(below) - 1], below


def nats(loss: float) -> str:
    """Return a loss with three decimals, or with two significant digits if it is below 0.01."""
    return f"{loss:.3f}" if loss == 0 or loss >= 0.01 else f"{loss:.2g}"


def name(order: int) -> str:
    """Return the name of the n-gram of an order."""
    return "unigram" if order == 1 else f"{order}-gram"
