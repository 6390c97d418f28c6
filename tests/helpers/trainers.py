"""Trainers of small networks, their configurations and texts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from charrnn import config, text
from charrnn.backend import Backend, ThreadPool
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import Config
from charrnn.model import build
from charrnn.run.resolve import start
from charrnn.training.step import Trainer

TINY = {
    "model": {"hidden_size": 6, "num_layers": 2, "dropout": 0.0, "input_std": 0.1},
    "train": {"batch_size": 4, "seq_length": 5, "shards": 2, "seed": 3},
    "optimizer": {
        "name": "adagrad",
        "clip_norm": 1.0,
        "clip_value": 0.1,
        "learning_rate": 0.05,
        "schedule": "constant",
        "warmup": 0.0,
    },
}
EVERYTHING = {
    "model": {"dropout": 0.2, "input_dropout": 0.1, "recurrent_dropout": 0.3},
    "train": {"random_offset": True},
    "optimizer": {"name": "adam", "weight_decay": 0.1, "average": 0.9, "schedule": "cosine", "warmup": 0.1},
}


def trainer(settings: Config, corpus: text.Corpus, backend: Backend | None = None, *, threads: int = 1) -> Trainer:
    """Return a trainer at step 0."""
    network = build(settings.model, len(corpus.vocabulary), backend or NumpyBackend())
    return start(settings, network, corpus.part(0, len(corpus.ids)), ThreadPool(threads))


def tiny_config(dtype: str, cell: str) -> Config:
    """Return the configuration of a tiny network."""
    return config.build(config.merged(TINY, {"model": {"dtype": dtype, "cell": cell}}))


def three_documents(words: str) -> text.Corpus:
    """Return a corpus of three documents, so that states are reset inside chunks, too."""
    builder = text.build.Builder()
    for part in (words[:100], words[100:333], words[333:]):
        builder.add_document([text.sources.Piece.from_text(part)])
    return builder.corpus("test")


def one_document(words: str) -> text.Corpus:
    """Return a corpus of one document."""
    return text.from_text(words)


def poison_gradients(patch: pytest.MonkeyPatch, bad: Callable[[int], bool], value: float = np.nan) -> None:
    """Write `value` into the last shard's gradient in every step for which `bad(finished steps)` is true."""
    original = Trainer.compute

    def compute(self: Trainer, part: int, step: int) -> None:
        original(self, part, step)
        if part == len(self.shards) - 1 and bad(step):
            self.shards[part].grad[0] = value

    patch.setattr(Trainer, "compute", compute)


def one_layer_config(cell: str, T: int, **more: config.Table) -> Config:
    """Return the configuration of one layer with the default optimizer."""
    model = {"hidden_size": 8, "cell": cell, "dropout": 0.0, "dtype": "float32", "start_symbol": False}
    train = {"batch_size": 4, "seq_length": T, "shards": 1, "seed": 3}
    return config.build(config.merged({"model": model, "train": train}, more))
