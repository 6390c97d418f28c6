"""A finished run as the report reads it: the best model, the logs, the baselines and the text."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import files, seeds
from charrnn.api import Model, device_params, load, training_text
from charrnn.errors import CheckpointError, TextError
from charrnn.evaluation.baselines import Baselines
from charrnn.model.initial import initial_weights
from charrnn.run import environment, logs
from charrnn.run_files import BASELINES, CHECKPOINTS
from charrnn.text import Part
from charrnn.tools import compare

Metrics = list[dict[str, Any]]


@dataclass(frozen=True)
class Finished:
    """What a run left behind.

    Attributes:
        path: the run directory or checkpoint file, as the user named it.
        model: the best model.
        first: the model before the first step: from its checkpoint, else drawn from the seed again.
        metrics: the objects of `metrics.jsonl`, up to the step of a checkpoint file.
        samples: (step, text) of each sample that is kept.
        baselines: None if there are none.
        environment: the content of `environment.json`.
        training: the training split; None if the text cannot be read.
        part: the text that the network is shown: the validation split, else the end of the training split.
        held_out: whether `part` is the validation split.
        missing: why a text is missing, or is not held out; empty if there is nothing to report.
        row: the run's row in `charrnn compare`.
    """

    path: Path
    model: Model
    first: Model
    metrics: Metrics
    samples: list[tuple[int, str]]
    baselines: Baselines | None
    environment: dict[str, Any]
    training: Part | None
    part: Part | None
    held_out: bool
    missing: str
    row: compare.Row

    @property
    def evaluations(self) -> Metrics:
        """The evaluations on the validation split."""
        return [metric for metric in self.metrics if metric["event"] == "eval"]

    @property
    def updates(self) -> Metrics:
        """The lines with the training loss."""
        return [metric for metric in self.metrics if metric["event"] == "train"]


@dataclass(frozen=True)
class Texts:
    """The attributes `training`, `part`, `held_out` and `missing` of a run."""

    training: Part | None
    part: Part | None
    held_out: bool
    missing: str


LAST = 1_000_000
"""Characters at the end of the training text that are shown if nothing is held out."""
NOTHING_HELD_OUT = "The run held no text out, so the network is shown the end of its training text."


def read(path: Path, *, device: str = "auto", fallback: bool = True, kernels: str | None = None) -> Finished:
    """Read a run directory, with its best checkpoint, or a checkpoint file.

    Raises `CheckpointError` for a path without a checkpoint that can be read.
    """
    row = compare.row(path, evaluate=False)
    model = load(path, device=device, fallback=fallback, kernels=kernels)
    run = directory_of(path)
    texts = texts_of(model)
    return Finished(
        path=path,
        model=model,
        first=before_training(model, path),
        metrics=compare.metrics_of(path, model),
        samples=[] if run is None else logs.samples(run),
        baselines=None if run is None else baselines(run),
        environment={} if run is None else environment.read(run),
        training=texts.training,
        part=texts.part,
        held_out=texts.held_out,
        missing=texts.missing,
        row=row,
    )


def texts_of(model: Model) -> Texts:
    """Read the texts of a model's run again."""
    data, training, held_out, missing = model.config.data, None, None, ""
    try:
        corpus = training_text(model)
        shuffle = data.shuffle_documents
        training, held_out = (
            (corpus.whole, None) if data.val_files else corpus.split(data.val_fraction, shuffle=shuffle)
        )
    except TextError as error:
        missing = str(error)
    if data.val_files:
        try:
            return Texts(training, model.validation(), True, missing)
        except TextError as error:
            missing = str(error)
    if held_out is not None or training is None:
        return Texts(training, held_out, held_out is not None, missing)
    return Texts(training, training.tail(LAST), False, missing or NOTHING_HELD_OUT)


def directory_of(path: Path) -> Path | None:
    """Return the run directory of a run or checkpoint file; None for a checkpoint outside of a run."""
    if path.is_dir():
        return path
    folder = path.absolute().parent
    return folder.parent if folder.name == CHECKPOINTS else None


def before_training(model: Model, path: Path) -> Model:
    """Return the model of step 0: of its checkpoint, or drawn again from the seed of the run."""
    run, config = directory_of(path), model.config
    if run is not None:
        with suppress(CheckpointError):
            first = load(run, checkpoint=0, device=model.network.backend.name)
            if first.config.model == config.model and first.vocabulary == model.vocabulary:
                return first
    weights = initial_weights(model.network, config.model, seeds.stream(config.train.seed, "weights"))
    return Model(model.network, device_params(model.network, weights), config, model.vocabulary, step=0)


def baselines(run: Path) -> Baselines | None:
    """Return the baselines of a run; None if the file is missing or damaged."""
    path = run / BASELINES
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and not files.is_outside(path, run):
            return Baselines.from_json(json.loads(path.read_bytes()))
    return None
