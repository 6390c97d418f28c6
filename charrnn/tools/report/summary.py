"""The verdict: how good the best loss is, where it stands among the baselines, and what the training was like."""

from __future__ import annotations

import math
from typing import Any

from charrnn.evaluation import verdict
from charrnn.evaluation.verdict import Course, conclusion, rise
from charrnn.run import logs
from charrnn.tools.compare import VAL_LOSS
from charrnn.tools.report.curves import rounded
from charrnn.tools.report.finished import Finished, Metrics

FALL = 0.005
"""The share by which the last quarter of the evaluations must lower the best loss to count as still improving."""


def summary(run: Finished) -> dict[str, Any]:
    """Return the numbers and sentences of the verdict. Losses are in nats; None for a number that is missing."""
    model, config = run.model, run.model.config
    loss = run.row.losses[VAL_LOSS]
    course = course_of(run)
    tested = [m["test_loss"] for m in run.metrics if m["event"] == "test"]
    trained = max([run.row.steps, model.step])
    return {
        "loss": loss,
        "bits_per_char": None if loss is None else loss / math.log(2),
        "bits_per_byte": bits_per_byte(run, loss),
        "test_loss": tested[-1] if tested else None,
        "perplexity": None if loss is None or loss > 50 else math.exp(loss),
        "sentences": sentences(run, course),
        "overfitting": overfitting(course),
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


def bits_per_byte(run: Finished, loss: float | None) -> float | None:
    """Return the best loss in bits per byte: as recorded, else from the mean length of a character of the text."""
    recorded = run.row.bits_per_byte.get(VAL_LOSS)
    if loss is None or recorded is not None or run.part is None:
        return recorded
    return loss / math.log(2) * len(run.part.ids) / run.model.vocabulary.utf8_size(run.part.ids)


def course_of(run: Finished) -> Course | None:
    """Return how the losses went; None without an evaluation of a trained network."""
    fine_tuned = run.model.config.train.init_from != ""
    evaluations = logs.losses(run.metrics)
    if not any(e.step or fine_tuned for e in evaluations):
        return None
    return Course(evaluations, run.row.steps, characters(run), fine_tuned)


def characters(run: Finished) -> int:
    """Return the length of the training split."""
    if run.training is not None:
        return len(run.training.ids)
    data = run.model.config.data
    return round(sum(run.model.vocabulary.counts) * (1 if data.val_files else 1 - data.val_fraction))


def sentences(run: Finished, course: Course | None) -> list[str]:
    """Return how good the loss is and what to do, in words, without the line about a loss that has risen."""
    if course is None:
        return [f"No validation loss: {run.row.missing.get(VAL_LOSS, 'nothing was evaluated')}."]
    lines = [line for line in conclusion(course, run.baselines) if not course.risen or line != rise(course)]
    if run.baselines is None:
        lines.append("the run has no baselines to compare its loss with")
    return [line[0].upper() + line[1:] + "." for line in lines]


def ladder(run: Finished, loss: float | None) -> list[dict[str, Any]]:
    """Return name and loss of uniform guessing, of each n-gram and of the network, the worst first."""
    steps = [{"name": "uniform guessing", "loss": math.log(max(1, len(run.model.vocabulary))), "kind": "baseline"}]
    if run.baselines is not None:
        losses = enumerate(run.baselines.losses, 1)
        steps += [{"name": verdict.name(n), "loss": value, "kind": "baseline"} for n, value in losses]
    if loss is not None:
        steps.append({"name": "this network", "loss": loss, "kind": "network"})
    return sorted(steps, key=lambda step: -step["loss"])


def overfitting(course: Course | None) -> dict[str, str]:
    """Return whether the run overfits as {kind: good, bad or none, text}, from the course of its losses."""
    if course is None or len(course.evaluations) < 2:
        return {"kind": "none", "text": "Too few evaluations to see whether it overfits."}
    if course.risen:
        line = rise(course)
        return {"kind": "bad", "text": line[0].upper() + line[1:] + "."}
    last, losses = course.evaluations[-1], [e.validation for e in course.evaluations]
    earlier = min(losses[: max(1, len(losses) * 3 // 4)])
    how = "was still falling" if earlier - min(losses) > FALL * earlier else "is flat"
    text = f"No sign of overfitting: the validation loss {how} at the end."
    if last.training is None:
        return {"kind": "good", "text": text}
    gap = last.validation - last.training
    side = "above" if gap > 0 else "below"
    return {"kind": "good", "text": f"{text} It is {abs(gap):.3f} {side} the training loss without dropout."}


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
    train, length = run.model.config.train, characters(run)
    return steps * train.batch_size * train.seq_length / length if length else None
