"""Baselines in words: the loss that a network has to beat, and how good its loss is."""

from __future__ import annotations

from charrnn.evaluation.baselines import Baselines

GOOD, VERY_GOOD = 0.95, 0.90
"""A network's loss is good, or very good, if it is at most this share of the best n-gram's loss.

A share and not a difference, because the losses of different texts differ by a factor of three. On Tiny Shakespeare,
with the last tenth held out, the best n-gram has 1.669 nats/char. A transformer of ten million parameters with dropout
has 1.47 (nanoGPT's `shakespeare_char`), a share of 0.88. `GOOD` is near the middle between the two (1.585), and
`VERY_GOOD` is close to the transformer (1.502).
"""

LEARNED = 0.01
"""Loss in nats/char below which more training is not worth its time."""


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


def verdict(loss: float, baselines: Baselines) -> str:
    """Return a line that compares a validation loss (nats/char) with the baselines: how good it is and what to do."""
    best = baselines.best_loss
    best_name = name(baselines.best_order)
    if loss < LEARNED:
        return f"this loss is almost zero: the network has learned the text (best n-gram: {nats(best)}, {best_name})"
    if loss >= baselines.loss_of(1):
        return (
            f"this loss is not below the unigram ({nats(baselines.loss_of(1))}), which knows only how often each "
            "character occurs: not good; train longer, or change optimizer.learning_rate"
        )
    if loss >= best:
        above, below = neighbors(loss, baselines)
        lowest = "" if below == baselines.best_order else f", and the best n-gram has {nats(best)} ({best_name})"
        return (
            f"this loss is between the {name(above)} ({nats(baselines.loss_of(above))}) and the {name(below)} "
            f"({nats(baselines.loss_of(below))}){lowest}: not good yet; train longer, or use a larger network"
        )
    line = f"this loss is {nats(best - loss)} below the best n-gram ({nats(best)}, {best_name})"
    if loss > GOOD * best:
        return f"{line}: a little better than counting; train longer, or use a larger network"
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
