"""Baselines in words: what a network must beat, and where a loss stands among them."""

from __future__ import annotations

from charrnn.evaluation.baselines import Baselines

GOOD, VERY_GOOD = 0.95, 0.90
"""Of the best n-gram's loss: from here on down a network's loss is good, and very good.

A part of it, not a difference, because losses differ between texts by a factor of three. On Tiny Shakespeare, last
tenth held out, the best n-gram has 1.669 nats/char, and a transformer of ten million parameters, dropout and all, 1.47
(nanoGPT's `shakespeare_char`), which is 0.88 of it. GOOD is near the middle between the two (1.585), VERY_GOOD leaves
little of the way (1.502). What is below the n-gram by less has learned more than counting, but hardly.
"""

LEARNT = 0.01
"""Nats per character below which a text holds no surprise that is worth more training."""


def announcement(baselines: Baselines) -> str:
    """One line: the baselines, and which one has to be beaten."""
    best = baselines.best
    shown = ", ".join(
        f"{name(n)} {nats(baselines.of_order(n))}" for n in sorted({1, min(3, len(baselines.losses)), best})
    )
    words = (
        f"baselines on this split: {shown} nats/char: "
        f"a network must beat {nats(baselines.of_order(best))} ({name(best)}) to have learned more than counting"
    )
    parts = []
    if baselines.counted < baselines.training:
        parts.append(f"counted on the last {baselines.counted:,} of {baselines.training:,} training characters")
    if baselines.predicted < baselines.evaluated:
        parts.append(f"on the first {baselines.predicted:,} of {baselines.evaluated:,} validation characters")
    return f"{words} ({', '.join(parts)})" if parts else words


def nats(loss: float) -> str:
    """A loss with three decimals, or a small one with two digits."""
    return f"{loss:.3f}" if loss == 0 or loss >= 0.01 else f"{loss:.2g}"


def verdict(loss: float, baselines: Baselines) -> str:
    """Where a validation loss in nats/char stands among the baselines, whether that is good, and what to do if not."""
    best = baselines.best
    beat = baselines.of_order(best)
    if loss < LEARNT:
        return f"that is nearly nothing: the text is learnt (the best n-gram has {nats(beat)}, {name(best)})"
    if loss >= baselines.of_order(1):
        return (
            f"that is not below the unigram ({nats(baselines.of_order(1))}), which only knows how often each character "
            "occurs: not good; train longer, or change optimizer.learning_rate"
        )
    if loss >= beat:
        above, below = neighbours(loss, baselines)
        most = "" if below == best else f", and counting gets to {nats(beat)} ({name(best)})"
        return (
            f"that is between the {name(above)} ({nats(baselines.of_order(above))}) and the {name(below)} "
            f"({nats(baselines.of_order(below))}){most}: not good yet; train longer, or a larger network"
        )
    words = f"that is {nats(beat - loss)} below the best n-gram ({nats(beat)}, {name(best)})"
    if loss > GOOD * beat:
        return f"{words}: a little better than counting; train longer, or a larger network"
    return f"{words}: {'good' if loss > VERY_GOOD * beat else 'very good for a small network'}"


def neighbours(loss: float, baselines: Baselines) -> tuple[int, int]:
    """The orders whose losses are next above and next at or below `loss`, which is between unigram and best.

    Only orders count that are better than all lower ones.
    """
    better = [
        n
        for n in range(1, baselines.best + 1)
        if baselines.of_order(n) < min((*baselines.losses[: n - 1], float("inf")))
    ]
    below = next(n for n in better if baselines.of_order(n) <= loss)
    return better[better.index(below) - 1], below


def name(order: int) -> str:
    """The name of an order."""
    return "unigram" if order == 1 else f"{order}-gram"
