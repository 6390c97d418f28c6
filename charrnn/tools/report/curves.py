"""The course of training: losses, learning rate, gradient norm and speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from charrnn.evaluation import verdict
from charrnn.tools.report.finished import Finished

MOST = 500
"""Most points of a curve."""
TRAIN = ("loss", "smooth_loss", "grad_norm", "learning_rate", "chars_per_second")
EVAL = ("val_loss", "train_loss")


def curves(run: Finished) -> dict[str, Any]:
    """Return the columns of the training lines and of the evaluations, the skipped steps and the baselines.

    Every column begins with `step`, `minutes` and `chars`. A number that is missing or not finite is None.
    """
    updates, evaluations = thinned(run.updates), thinned(run.evaluations)
    guarded = [m["step"] for m in run.metrics if m["event"] == "guard"]
    lines = [] if run.baselines is None else enumerate(run.baselines.losses, 1)
    return {
        "train": columns(updates, TRAIN),
        "eval": columns(evaluations, EVAL),
        "guard": guarded[:MOST],
        "baselines": [{"name": verdict.name(n), "loss": loss} for n, loss in lines],
        "dropout": run.model.config.model.has_dropout,
    }


def columns(metrics: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, list[float | None]]:
    """Return name -> the value of each metric, with at most six significant digits."""
    result = {name: [rounded(metric.get(name)) for metric in metrics] for name in ("step", "chars", *names)}
    result["minutes"] = [rounded(metric["seconds"] / 60) for metric in metrics]
    return result


def rounded(value: Any) -> float | None:
    """Return a number with six significant digits, or None for anything but a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")


def thinned(items: list[Any], most: int = MOST) -> list[Any]:
    """Return at most `most` items, evenly spaced, with the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
