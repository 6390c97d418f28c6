"""The samples of a run, from noise to words, and how much of each stands in the training text."""

from __future__ import annotations

from typing import Any

from charrnn.tools.report.copied import copied
from charrnn.tools.report.curves import thinned
from charrnn.tools.report.finished import Finished

MOST = 40
"""Most samples in the report."""
LONGEST = 2000
"""Most characters of a sample."""


def samples(run: Finished) -> list[dict[str, Any]]:
    """Return step, text and copied passages of at most `MOST` samples.

    `copied` is None without a training text, else {first, length, share}; `share` is None for a text that is too short.
    Positions count characters. In an unknown Unicode form they would not fit, so only known characters are searched.
    """
    shown = [(step, text[:LONGEST]) for step, text in thinned(run.samples, MOST)]
    part, vocabulary = run.training, run.model.vocabulary
    results: list[dict[str, Any] | None] = [None] * len(shown)
    known = [i for i, (_, text) in enumerate(shown) if not vocabulary.unknown_count(text)]
    if part is not None:
        for i, result in zip(known, copied(part.ids, [vocabulary.encode(shown[i][1]) for i in known]), strict=True):
            results[i] = {"first": result.first, "length": result.length, "share": result.share}
    return [{"step": step, "text": text, "copied": c} for (step, text), c in zip(shown, results, strict=True)]
