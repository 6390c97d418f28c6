"""Fine-tuning: a new run whose first weights are another run's, character by character.

The new network keeps every character that the old one knew, so that nothing it learnt is lost and old prompts still
work, and has those of the new text besides: its vocabulary is the union. What the old network lacks begins with the
seed's own initial weights. Everything else of the run is new: step, optimiser memory, states, configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn import checkpoint, config, files, text
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config, Table
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.model import build
from charrnn.text import Corpus, Vocabulary
from charrnn.training.step import Trainer

SHAPE = ("cell", "hidden_size", "num_layers")
"""Keys of the model that the weights decide."""
KEYS = ("init_from", "init_sha256", "grow_vocabulary")
"""Keys of `train` that matter at the start of a run, and never again."""
SHOWN = 10


@dataclass(frozen=True)
class Source:
    """Where a run's first weights come from.

    Attributes:
        where: the run directory or checkpoint file, as it was said.
        path: the checkpoint file.
        saved: what is in it.
    """

    where: str
    path: Path
    saved: Checkpoint

    def shaped(self, table: Table) -> Table:
        """`table` with the source's shape, its absolute path and the hash of what it holds.

        Raises `ConfigError` naming each key of the model that was said and differs, and `CheckpointError` for a hash
        in `table` that is of something else.
        """
        said, here = table.get("model", {}), self.saved.meta.config.model
        shape = {key: getattr(here, key) for key in SHAPE}
        wrong = [
            f"model.{key} is {value!r} there, not {said[key]!r}"
            for key, value in shape.items()
            if said.get(key, value) != value
        ]
        if wrong:
            raise ConfigError(f"the weights of {self.where} do not fit: {', '.join(wrong)}; leave it out")
        digest = checkpoint.content(self.saved.tensors)
        if table["train"].get("init_sha256", "") not in ("", digest):
            raise CheckpointError(
                f"{self.path} is not the checkpoint that this configuration began from (train.init_sha256): "
                f"to begin from it as it is now, add --init-from {self.where}"
            )
        pinned = {"init_from": str(Path(self.where).absolute()), "init_sha256": digest}
        return config.merged(table, {"model": shape, "train": pinned})

    def widened(self, corpus: Corpus, table: Table) -> Corpus:
        """`corpus` in the vocabulary of the run: the source's and its own.

        Raises `TextError` for characters that the source never saw, unless `table` has the vocabulary grow.
        """
        new = self.new(corpus.vocabulary)
        if new and not table["train"].get("grow_vocabulary", False):
            counts = dict(zip(corpus.vocabulary.characters, corpus.vocabulary.counts, strict=True))
            shown = ", ".join(f"{c!r} ({counts[c]:,})" for c in new[:SHOWN])
            more = f", the {SHOWN} commonest of {len(new):,}" if len(new) > SHOWN else ""
            raise TextError(
                f"{corpus.name} has characters that the network of {self.where} never saw: {shown}{more}; "
                "add --grow-vocabulary to teach it these, or leave them out of the text"
            )
        return text.widen(corpus, self.saved.meta.vocabulary.characters)

    def new(self, vocabulary: Vocabulary) -> list[str]:
        """The characters that the source never saw, the commonest first."""
        known = set(self.saved.meta.vocabulary.characters)
        pairs = zip(vocabulary.characters, vocabulary.counts, strict=True)
        return [c for c, _ in sorted(pairs, key=lambda pair: -pair[1]) if c not in known]

    def notice(self, vocabulary: Vocabulary, dtype: str) -> str:
        """What is taken over, for the user; `vocabulary` and `dtype` are the run's."""
        meta, new = self.saved.meta, self.new(vocabulary)
        counts = dict(zip(vocabulary.characters, vocabulary.counts, strict=True))
        absent = sum(counts[c] == 0 for c in meta.vocabulary.characters)
        words = f"weights: from {self.where} at step {meta.step:,}"
        if dtype != meta.config.model.dtype:
            words += f", rounded from {meta.config.model.dtype} to {dtype}" if dtype == "float32" else f", as {dtype}"
        words += f"; vocabulary: {len(meta.vocabulary)} known"
        words += f", {absent} of them not in this text" if absent else ""
        more = " ..." if len(new) > SHOWN else ""
        return words + (f", {len(new):,} new ({' '.join(map(repr, new[:SHOWN]))}{more})" if new else "")

    def give(self, trainer: Trainer, vocabulary: Vocabulary) -> None:
        """Lay the weights over the seed's own in `trainer`, whose network is that of `vocabulary`.

        Raises `CheckpointError` for one that is too large for the run's type.
        """
        network, backend, known = trainer.network, trainer.network.backend, self.saved.meta.vocabulary
        old = build(self.saved.meta.config.model, len(known), backend).layout
        weights = old.views(self.saved.weights(old), xp=np)
        places = vocabulary.encode(known.characters)
        vector = np.array(backend.to_host(trainer.vector))
        for name, view in network.layout.views(vector, xp=np).items():
            with np.errstate(over="ignore"):
                if name == "layer0.W_xh":
                    view[places] = weights[name]
                elif name.startswith("output."):  # W_hy (H, V), b_y (V,)
                    view[..., places] = weights[name]
                else:
                    view[...] = weights[name]
        if not np.isfinite(vector).all():
            raise CheckpointError(f"{self.path} holds numbers too large for {network.dtype}: set model.dtype=float64")
        trainer.vector[...] = backend.from_host(vector)
        trainer.average[...] = trainer.vector


def source(table: Table, out: Path | None, notices: list[str]) -> Source | None:
    """The source that a configuration names, if it does; damaged checkpoints that were passed over are noted.

    Raises `CheckpointError` for what is no run or checkpoint, or is the run in `out` itself; `ConfigError`.
    """
    train = table.get("train", {})
    where = train.get("init_from", "")
    if not where:
        if train.get("grow_vocabulary", False):
            raise ConfigError("--grow-vocabulary needs the run that the weights come from: add --init-from RUN")
        return None
    apart(table, out)
    text.check_name(str(Path(where).absolute()))
    path, saved, damaged = checkpoint.find(Path(where))
    notices += damaged
    return Source(where, path, saved)


def apart(table: Table, out: Path | None) -> None:
    """Raise `CheckpointError` where the run in `out` would take its weights from itself."""
    where = table.get("train", {}).get("init_from", "")
    if where and out is not None and not files.is_outside(Path(where), out):
        raise CheckpointError(f"--out and --init-from are the same run, {out}: name another --out")


def unpinned(table: Table) -> Table:
    """`table`; if it names a source without a hash, no hash of a table below it is meant."""
    if "init_from" not in table.get("train", {}):
        return table
    return config.merged({"train": {"init_sha256": ""}}, table)


def passed_over(table: Table, settings: Config) -> list[str]:
    """A line for the user if `table` names another source than the run of `settings` had, which is resumed."""
    where = table.get("train", {}).get("init_from", "")
    if not where or str(Path(where).absolute()) == settings.train.init_from:
        return []
    return [f"--init-from {where} is passed over: the run goes on from its own checkpoint"]


def without(table: Table) -> Table:
    """`table` without the keys that are for the start of a run."""
    return {s: {k: v for k, v in keys.items() if s != "train" or k not in KEYS} for s, keys in table.items()}
