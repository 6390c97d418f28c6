"""Fine-tuning: a new run whose first weights are those of another run, its source.

The new network keeps every character that the source knows, so that nothing it learned is lost and old prompts still
work. The vocabulary is the union of the source's and the text's. The weights of new characters begin with the seed's
own initial values. Step, optimizer state, cell state and configuration are those of a new run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn import checkpoint, config, files, text
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config, Table
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.model import build, character_axes
from charrnn.text import Corpus, Vocabulary
from charrnn.training.step import Trainer

SHAPE = ("cell", "hidden_size", "num_layers", "embedding_size", "tie_weights")
"""Keys of [model] whose values must be those of the source."""
KEYS = ("init_from", "init_sha256", "grow_vocabulary")
"""Keys of [train] that matter only at the start of a run."""
SHOWN = 10
"""The most new characters that a message shows."""


@dataclass(frozen=True)
class Source:
    """The run that the first weights come from.

    Attributes:
        where: the run directory or checkpoint file, as the user named it.
        path: the checkpoint file.
        saved: its content.
        notices: lines for the user about newer checkpoints that are damaged.
    """

    where: str
    path: Path
    saved: Checkpoint
    notices: tuple[str, ...]

    def complete(self, table: Table) -> Table:
        """Return `table` with the source's shape, its absolute path and its hash.

        Raises `ConfigError` naming each key of the model that `table` sets to another value, and `CheckpointError` if
        `table` has the hash of another checkpoint.
        """
        wanted, model = table.get("model", {}), self.saved.meta.config.model
        shape = {key: getattr(model, key) for key in SHAPE}
        wrong = [
            f"model.{key} is {value!r} there, not {wanted[key]!r}"
            for key, value in shape.items()
            if wanted.get(key, value) != value
        ]
        if wrong:
            raise ConfigError(
                f"the weights of {self.where} do not fit: {', '.join(wrong)}; set the same value, or none"
            )
        wanted_digest = table["train"].get("init_sha256", "")
        if wanted_digest and not checkpoint.has_digest(self.saved, wanted_digest):
            raise CheckpointError(
                f"{self.path} is not the checkpoint that this configuration began from (train.init_sha256): "
                f"to begin from it as it is now, add --init-from {self.where}"
            )
        train = {"init_from": str(Path(self.where).absolute()), "init_sha256": self.saved.digest}
        return config.merged(table, {"model": shape, "train": train})

    def widen(self, corpus: Corpus, table: Table) -> Corpus:
        """Return `corpus` in the union of its vocabulary and the source's.

        Raises `TextError` for characters that the source does not know, unless `table` allows the vocabulary to grow.
        """
        new = self.new_characters(corpus.vocabulary)
        if new and not table["train"].get("grow_vocabulary", False):
            counts = dict(zip(corpus.vocabulary.characters, corpus.vocabulary.counts, strict=True))
            shown = ", ".join(f"{c!r} ({counts[c]:,})" for c in new[:SHOWN])
            more = f", the {SHOWN} commonest of {len(new):,}" if len(new) > SHOWN else ""
            raise TextError(
                f"{corpus.name} has characters that the network of {self.where} never saw: {shown}{more}; "
                "add --grow-vocabulary to teach it these, or leave them out of the text"
            )
        return text.widen(corpus, self.saved.meta.vocabulary.characters)

    def new_characters(self, vocabulary: Vocabulary) -> list[str]:
        """Return the characters that the source does not know, the commonest first."""
        known = set(self.saved.meta.vocabulary.characters)
        pairs = zip(vocabulary.characters, vocabulary.counts, strict=True)
        return [c for c, _ in sorted(pairs, key=lambda pair: -pair[1]) if c not in known]

    def notice(self, vocabulary: Vocabulary, dtype: str) -> str:
        """Describe for the user what is copied into the network of this vocabulary and dtype."""
        meta, new = self.saved.meta, self.new_characters(vocabulary)
        counts = dict(zip(vocabulary.characters, vocabulary.counts, strict=True))
        absent = sum(counts[c] == 0 for c in meta.vocabulary.characters)
        words = f"weights: from {self.where} at step {meta.step:,}"
        if dtype != meta.config.model.dtype:
            words += f", rounded from {meta.config.model.dtype} to {dtype}" if dtype == "float32" else f", as {dtype}"
        words += f"; vocabulary: {len(meta.vocabulary)} known"
        words += f", {absent} of them not in this text" if absent else ""
        more = " ..." if len(new) > SHOWN else ""
        return words + (f", {len(new):,} new ({' '.join(map(repr, new[:SHOWN]))}{more})" if new else "")

    def copy_weights(self, trainer: Trainer, vocabulary: Vocabulary) -> None:
        """Copy the source's weights over the initial weights of `trainer`, whose network has this vocabulary.

        Raises `CheckpointError` for a weight that is too large for the dtype of the network.
        """
        network, backend, known = trainer.network, trainer.network.backend, self.saved.meta.vocabulary
        old = build(self.saved.meta.config.model, len(known), backend).layout
        weights = old.views(self.saved.weights(old), xp=np)
        ids, axes = vocabulary.encode(known.characters), character_axes(old)
        vector = np.array(backend.to_host(trainer.vector))
        for name, view in network.layout.views(vector, xp=np).items():
            with np.errstate(over="ignore"):
                if name in axes:  # for instance W_hy (H, V), b_y (V,)
                    np.moveaxis(view, axes[name], 0)[ids] = np.moveaxis(weights[name], axes[name], 0)
                else:
                    view[...] = weights[name]
        if not np.isfinite(vector).all():
            raise CheckpointError(f"{self.path} holds numbers too large for {network.dtype}: set model.dtype=float64")
        trainer.vector[...] = backend.from_host(vector)
        trainer.average[...] = trainer.vector


def find_source(table: Table, out: Path | None) -> Source | None:
    """Return the source that a configuration names, or None if it names no source.

    Raises `CheckpointError` for a path that is no run or checkpoint, or is the run in `out` itself; `ConfigError` if
    the vocabulary is to grow without a source.
    """
    train = table.get("train", {})
    where = train.get("init_from", "")
    if not where:
        if train.get("grow_vocabulary", False):
            raise ConfigError("--grow-vocabulary needs the run that the weights come from: add --init-from RUN")
        return None
    check_out(table, out)
    text.check_name(str(Path(where).absolute()))
    path, saved, notices = checkpoint.find(Path(where))
    return Source(where, path, saved, tuple(notices))


def check_out(table: Table, out: Path | None) -> None:
    """Raise `CheckpointError` if the source that `table` names is the run in `out`."""
    where = table.get("train", {}).get("init_from", "")
    if where and out is not None and not files.is_outside(Path(where), out):
        raise CheckpointError(f"--out and --init-from are the same run, {out}: name another --out")


def reset_hash(table: Table) -> Table:
    """Return `table` with an empty `init_sha256` if it names a source and no hash.

    When it is merged over a table with another source, the hash of that source then does not apply.
    """
    if "init_from" not in table.get("train", {}):
        return table
    return config.merged({"train": {"init_sha256": ""}}, table)


def ignored(table: Table, recorded: Config) -> tuple[str, ...]:
    """Return a line for the user if `table` names another source than that of the run that is resumed."""
    where = table.get("train", {}).get("init_from", "")
    if not where or str(Path(where).absolute()) == recorded.train.init_from:
        return ()
    return (f"--init-from {where} is ignored: the run continues from its own checkpoint",)
