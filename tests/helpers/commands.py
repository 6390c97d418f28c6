"""Words, texts and functions that the tests of the command line share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import charrnn

TEXT = "she sells sea shells by the sea shore;\nthe shells she sells are sea shells, sure.\n" * 5
TINY = [
    "--config=quickstart",
    "--device=cpu",
    *("--set", "model.hidden_size=8", "--set", "train.seq_length=8", "--set", "train.batch_size=2"),
]
OFTEN = ["--set=log.every=5", "--set=log.eval_every=5", "--set=log.checkpoint_every=5", "--set=log.sample_length=9"]
TRAIN = ["train", "t.txt", *TINY, *OFTEN, "--steps=10"]
FINETUNE = [
    *("--device=cpu", "--set=train.seq_length=8", "--set=train.batch_size=2", "--set=log.sample_every=0"),
    *("--set=log.eval_every=5", "--set=log.checkpoint_every=5", "--steps=10"),
]
FRENCH = "sèche, l'été, les halles; hé! les elles\n" * 9
DASHES = "\n" + "-" * 40 + "\n"
NO_GPU = "no GPU here: buy one"

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

Call = Callable[..., tuple[str, str]]


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, which must be strict JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return [json.loads(line, parse_constant=refuse) for line in (run / "metrics.jsonl").read_text().splitlines()]


def api_samples(trained: Path, prompt: str, count: int, **options: Any) -> list[str]:
    """Return `count` texts that the API samples from the run `r` in `trained`."""
    options = {"length": 30, "seed": 1} | options
    pieces = charrnn.load(trained / "r", device="cpu").sample_many(prompt, count=count, **options)
    return ["".join(parts) for parts in zip(*pieces, strict=True)] or [""] * count
