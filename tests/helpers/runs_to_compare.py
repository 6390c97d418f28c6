"""Runs to compare, and the metrics of an invented run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.commands import TEXT

import charrnn

KEYS = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.device": "cpu"}
OFTEN = {"log.every": 5, "log.eval_every": 5, "log.keep": 9, "log.sample_every": 0}
LINES = [
    {"event": "eval", "step": 0, "seconds": 1.0, "val_loss": 0.1},
    {"event": "train", "step": 5, "seconds": 30.0, "chars_per_second": 10.0},
    {"event": "eval", "step": 5, "seconds": 31.0, "val_loss": 2.5},
    {"event": "train", "step": 8, "seconds": 60.0, "chars_per_second": 40.0},
    {"event": "eval", "step": 8, "seconds": 61.0, "val_loss": 2.25},
    {"event": "guard", "step": 9, "seconds": 70.0},
    {"event": "train", "step": 20, "seconds": 90.0, "chars_per_second": 20.0},
]


def train_run(folder: Path, name: str, steps: int = 10, text: str = TEXT, **keys: Any) -> Path:
    """Train the run `name` in `folder` on the file t.txt, which this function writes; return the run directory."""
    (folder / "t.txt").write_text(text)
    settings = KEYS | OFTEN | {"train.steps": steps} | {k.replace("_", ".", 1): v for k, v in keys.items()}
    charrnn.train(files=[folder / "t.txt"], settings=settings, out=folder / name)
    return folder / name
