"""An invented checkpoint of a small network, with every kind of tensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend.numpy import NumpyBackend
from charrnn.checkpoint import Best, Checkpoint, Meta, path_of, save
from charrnn.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from charrnn.model import build
from charrnn.text import Vocabulary

MODEL = ModelConfig(hidden_size=3, num_layers=2, dtype="float64")
CHARACTERS = '\n"\\ab\x85é\u2028日🙂'
LAYOUT = build(MODEL, len(CHARACTERS), NumpyBackend()).layout
CONFIG = Config(
    DataConfig(files=("/tmp/é.txt", "b")), MODEL, TrainConfig(batch_size=2), OptimizerConfig(name="adagrad")
)
VOCABULARY = Vocabulary(CHARACTERS, tuple(range(1, len(CHARACTERS) + 1)))
META = Meta(7, 4, CONFIG, VOCABULARY, '"the text"\n', "0" * 64, 0.1 + 0.2, Best(5, 1 / 3), 2**40)


def example(**meta: Any) -> Checkpoint:
    """Return a checkpoint with every kind of tensor; the parameters are 1/7, 2/7, 3/7, ..."""
    vectors = {}
    for prefix in ("parameters", "optimizer/square_sum"):
        for name, shape in LAYOUT.shapes:
            vectors[f"{prefix}/{name}"] = np.arange(1.0, 1 + np.prod(shape)).reshape(shape) / 7
    others = {"state/hidden": np.full((2, 2, 3), -0.5), "guard/scale": np.array(0.25), "guard/bad": np.array(2.0)}
    return Checkpoint(replace(META, **meta), vectors | others)


def run_with_four_checkpoints(folder: Path) -> Path:
    """Write checkpoints of steps 0, 2, 4 and 6 into a run directory, of which 2 is the best; return the directory."""
    (folder / "checkpoints").mkdir()
    for step in (0, 2, 4, 6):
        save(path_of(folder, step), example(step=step, best=Best(min(step, 2), 1.0)))
    return folder
