"""The measured facts about a network that an export shows: its loss, the baselines, its training, a sample."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charrnn import checkpoint, files
from charrnn.api import Model
from charrnn.errors import CheckpointError
from charrnn.evaluation.baselines import Baselines
from charrnn.run import logs
from charrnn.run_files import BASELINES

SAMPLE_LENGTH, SAMPLE_SEED = 400, 1
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, and characters that turn the direction of a text; tabs and line ends stay."""


@dataclass(frozen=True)
class Facts:
    """What is known about a network.

    Attributes:
        run: the name of the run.
        text: the name of the training text; empty if unknown.
        sha256: the hash of the training text.
        step: updates done.
        seconds: how long the training took to this step; None if unknown.
        nats: the validation loss of these weights, in nats per character; None if it was not measured.
        baselines: the losses of n-grams on the same split; None if unknown.
        sample: a text that the network wrote.
    """

    run: str
    text: str
    sha256: str
    step: int
    seconds: float | None
    nats: float | None
    baselines: Baselines | None
    sample: str

    @property
    def bits(self) -> float | None:
        """The validation loss in bits per character."""
        return None if self.nats is None else self.nats / math.log(2)


def facts_of(model: Model, run: Path) -> Facts:
    """Return the facts of a loaded model. `run` is the run directory, or the checkpoint file, that it came from.

    Raises `OverflowingError` if the network overflows.
    """
    assert model.source is not None
    meta = checkpoint.load(model.source).meta
    metrics = logs.metrics(run) if run.is_dir() else []
    evaluations = [metric for metric in metrics if metric["event"] == "eval" and metric["step"] == model.step]
    nats = float(evaluations[-1]["val_loss"]) if evaluations else None
    if nats is None and meta.best is not None and meta.best.step == model.step:
        nats = meta.best.val_loss
    until = [float(metric["seconds"]) for metric in metrics if metric["step"] <= model.step]
    return Facts(
        run=Path(run).resolve().name.removesuffix(".safetensors"),
        text=files.name_of(meta.corpus),  # without the folders of this machine
        sha256=meta.sha256,
        step=model.step,
        seconds=max(until) if until and model.step else None,
        nats=nats,
        baselines=baselines_of(run),
        sample=model.sample(length=SAMPLE_LENGTH, seed=SAMPLE_SEED),
    )


def baselines_of(run: Path) -> Baselines | None:
    """Return the baselines that a run recorded; None if it has none, or if the file is damaged."""
    path = run / BASELINES
    if run.is_dir() and path.is_file():
        if files.is_outside(path, run):
            raise CheckpointError(f"{path} leads out of its run directory, so it is not read: remove the link")
        with suppress(OSError, ValueError, RecursionError):
            return Baselines.from_json(json.loads(path.read_bytes()))
    return None


def visible(text: str) -> str:
    """Return `text` with its hidden characters as escapes."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
