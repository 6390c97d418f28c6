"""The n-gram baselines of a run: counted once, between two events of the training loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from charrnn import files
from charrnn.config import Config
from charrnn.evaluation.baselines import Baselines, Split, count_baselines, split_of
from charrnn.run_files import BASELINES
from charrnn.text import Part, Vocabulary
from charrnn.training.events import BaselinesCounted, Evaluated, Event
from charrnn.training.loop import Loop


def with_baselines(loop: Loop, run: Path, counted: Baselines | None = None) -> Iterator[Event]:
    """Yield the events of `loop`, and one `BaselinesCounted` among them if the run has baselines.

    A resumed run reads them from `baselines.json` in its directory `run` and yields them first. Otherwise they are
    counted after the first evaluation, unless they are `counted` already. The loop waits meanwhile, and this time is
    not in `chars_per_second`.
    """
    split = split_to_count(loop.config, loop.corpus.vocabulary, loop.train, loop.validation)
    recorded = read_baselines(run, split) if split is not None and loop.resumed else None
    if recorded is not None:
        yield BaselinesCounted(loop.moment(loop.trainer.done), recorded)
        split = None
    for event in loop.events():
        yield event
        if split is not None and isinstance(event, Evaluated):
            baselines = counted or count(split)
            if baselines is not None:
                yield BaselinesCounted(loop.moment(event.at.step), baselines)
            split = None


def split_to_count(config: Config, vocabulary: Vocabulary, training: Part, validation: Part | None) -> Split | None:
    """Return the split that baselines are counted on, or None if the run evaluates nothing or wants no baselines.

    `validation` holds the characters that are evaluated while training.
    """
    if validation is None or not config.log.eval_every or not config.log.baselines:
        return None
    # A network without a start symbol learns from the separator where a document begins, so the n-grams know it, too.
    # It does not predict the first character of the text.
    start_symbol = config.model.start_symbol or config.data.document_separator != ""
    if not config.model.start_symbol:
        validation = replace(validation, begins=False)
    return split_of(len(vocabulary), training, validation, start_symbol=start_symbol)


def count(split: Split | None) -> Baselines | None:
    """Return the baselines of a split, or None if there is no split or too little memory: training needs none."""
    with suppress(MemoryError):
        return None if split is None else count_baselines(split)
    return None


def read_baselines(run: Path, split: Split) -> Baselines | None:
    """Return the baselines in `baselines.json`, or None if the file is missing, damaged, or does not fit the split."""
    path = run / BASELINES
    if not path.is_file() or files.is_outside(path, run):
        return None
    try:
        baselines = Baselines.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None
    return baselines if baselines.sizes == split.sizes else None
