"""The verdict: how good the best loss is, where it stands among the baselines, and what the training was like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.evaluation import verdict
from charrnn.text import Part, Vocabulary
from charrnn.tools.compare import VAL_LOSS
from charrnn.tools.report.curves import rounded
from charrnn.tools.report.finished import Finished, Metrics

RISE = 0.01
"""The share of the best validation loss by which the last one must be above it to count as overfitting."""
FALL = 0.005
"""The share by which the last quarter of the evaluations must lower the best loss to count as still improving."""


def summary(run: Finished) -> dict[str, Any]:
    """Return the numbers and sentences of the verdict. Losses are in nats; None for a number that is missing."""
    model, config = run.model, run.model.config
    loss = run.row.losses[VAL_LOSS]
    per_char = None if run.part is None else bytes_per_character(run.part, model.vocabulary)
    trained = max([run.row.steps, model.step])
    return {
        "loss": loss,
        "bits_per_char": None if loss is None else loss / math.log(2),
        "bits_per_byte": None if loss is None or per_char is None else loss / math.log(2) / per_char,
        "perplexity": None if loss is None or loss > 50 else math.exp(loss),
        "sentence": sentence(run, loss),
        "overfitting": overfitting(run.evaluations),
        "guard": guard(run.metrics),
        "baselines": ladder(run, loss),
        "best_step": model.step,
        "steps": trained,
        "planned": config.train.steps,
        "seconds": run.metrics[-1]["seconds"] if run.metrics else None,
        "chars_per_second": run.row.chars_per_second,
        "network": f"{config.model.cell}, {config.model.num_layers} × {config.model.hidden_size}",
        "parameters": run.row.parameters,
        "vocabulary": len(model.vocabulary),
        "characters": sum(model.vocabulary.counts),
        "sweeps": sweeps(run, trained),
        "text": run.row.text.name if run.row.text else "",
        "started_from": config.train.init_from,
    }


def bytes_per_character(part: Part, vocabulary: Vocabulary) -> float:
    """Return the mean number of bytes of UTF-8 of a character."""
    lengths = np.array([len(c.encode("utf-8", "surrogatepass")) for c in vocabulary.characters])
    counts = np.bincount(part.ids, minlength=len(vocabulary))
    return float((counts * lengths).sum() / counts.sum())


def sentence(run: Finished, loss: float | None) -> str:
    """Return how good the loss is, in words."""
    if loss is None:
        return f"No validation loss: {run.row.missing[VAL_LOSS]}."
    if run.baselines is None:
        return "The run has no baselines to compare its loss with."
    text = verdict.verdict(loss, run.baselines)
    return text[0].upper() + text[1:] + "."


def ladder(run: Finished, loss: float | None) -> list[dict[str, Any]]:
    """Return name and loss of uniform guessing, of each n-gram and of the network, the worst first."""
    steps = [{"name": "uniform guessing", "loss": math.log(max(1, len(run.model.vocabulary))), "kind": "baseline"}]
    if run.baselines is not None:
        losses = enumerate(run.baselines.losses, 1)
        steps += [{"name": verdict.name(n), "loss": value, "kind": "baseline"} for n, value in losses]
    if loss is not None:
        steps.append({"name": "this network", "loss": loss, "kind": "network"})
    return sorted(steps, key=lambda step: -step["loss"])


def overfitting(evaluations: Metrics) -> dict[str, str]:
    """Return whether the run overfits as {kind: good, bad or none, text}, from the course of its validation loss."""
    if len(evaluations) < 2:
        return {"kind": "none", "text": "Too few evaluations to see whether it overfits."}
    losses = [e["val_loss"] for e in evaluations]
    steps = [e["step"] for e in evaluations]
    best = losses.index(min(losses))
    rise = losses[-1] - losses[best]
    gap = ""
    training = rounded(evaluations[-1].get("train_loss"))
    if training is not None:
        side = "above" if losses[-1] > training else "below"
        gap = f" At the end it is {abs(losses[-1] - training):.3f} {side} the training loss without dropout."
    if rise > RISE * losses[best]:
        text = f"It overfits: the validation loss was lowest at step {steps[best]:,} and rose by {rise:.3f} since."
        return {"kind": "bad", "text": text + gap}
    earlier = min(losses[: max(1, len(losses) * 3 // 4)])
    if earlier - losses[best] > FALL * earlier:
        return {"kind": "good", "text": "No overfitting: the validation loss was still falling at the end." + gap}
    return {"kind": "good", "text": "No overfitting: the validation loss is flat at the end." + gap}


def guard(metrics: Metrics) -> str:
    """Return a sentence about the steps that were skipped because their numbers were not finite."""
    skipped = [m["step"] for m in metrics if m["event"] == "guard"]
    if not skipped:
        return "No step was skipped."
    times = "once" if len(skipped) == 1 else f"{len(skipped):,} times"
    return f"The loss or its gradient was not finite {times}, and the step was skipped: first at step {skipped[0]:,}."


def sweeps(run: Finished, steps: int) -> float | None:
    """Return how often the training text was read: as recorded, else from the sizes of a step."""
    recorded = [value for m in run.metrics if (value := rounded(m.get("sweeps"))) is not None]
    if recorded:
        return recorded[-1]
    train, data = run.model.config.train, run.model.config.data
    characters = sum(run.model.vocabulary.counts) * (1 - data.val_fraction)
    return steps * train.batch_size * train.seq_length / characters if characters else None
