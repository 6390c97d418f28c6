"""A checkpoint as a safetensors file: plain CPU arrays and one JSON string of metadata, nothing executable.

The metadata's single key `charrnn` holds JSON with sorted keys: the format's own map has no stable order. The file has
no times, so the same run writes the same bytes. It appears under its name when it is complete and on the disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from charrnn import config as configuration
from charrnn import files
from charrnn.checkpoint.schema import HostArray, check_tensors, to_vector
from charrnn.config import Config
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.model import Layout
from charrnn.text import Fingerprint, Vocabulary

FORMAT = 2
"""Version 1 had the names in `RENAMED`; the first files of it also lacked a digest and two keys."""
RENAMED = {"optimizer/memory/": "optimizer/square_sum/", "state/memory": "state/cell_state"}
"""The start of a tensor's name in version 1 -> in version 2."""
RENAMED_KEYS = {"stale": "stale_evaluations", "drops": "lr_reductions"}
"""Keys of the metadata in version 1 -> in version 2."""
HELD_OUT = ("val_text", "test_text")
"""Keys of the metadata that only runs with these texts have."""
FIRST_DEFAULTS: configuration.Table = {
    "data": {"shuffle_documents": False},
    "model": {"input_std": 0.1, "start_symbol": False},
    "train": {"random_offset": False},
    "optimizer": {"schedule": "constant", "warmup": 0.0},
}
"""Values that earlier files left out, because they were the defaults then."""
SHA256 = re.compile(r"[0-9a-f]{64}")


class UnreadableError(CheckpointError):
    """A checkpoint that may be undamaged: it cannot be read now, or it has a newer format."""


@dataclasses.dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    step: int
    val_loss: float  # nats/char


@dataclasses.dataclass(frozen=True)
class Meta:
    """Everything in a checkpoint that is not an array.

    Attributes:
        step: updates done.
        chunk: the index, in its sweep over the text, of the next chunk to train on.
        config: the resolved configuration.
        vocabulary: the characters that the network knows, with their counts in the corpus.
        corpus: the name of the corpus.
        sha256: the hash of the corpus.
        smooth_loss: nats/char, after `step`.
        best: the best evaluation so far, if there was one.
        samples_size: bytes of samples so far; a resumed run cuts `samples.txt` to them.
        stale_evaluations: evaluations since the best.
        lr_reductions: how often the plateau schedule has reduced the learning rate.
        val_text: the text of `data.val_files`, if there is one.
        test_text: the text of `data.test_files`, if there is one.
    """

    step: int
    chunk: int
    config: Config
    vocabulary: Vocabulary
    corpus: str
    sha256: str
    smooth_loss: float
    best: Best | None
    samples_size: int
    stale_evaluations: int = 0
    lr_reductions: int = 0
    val_text: Fingerprint | None = None
    test_text: Fingerprint | None = None


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        meta: the metadata.
        tensors: by name, on the host; see `charrnn.checkpoint.schema`.
        digest: of the tensors as they are in the file it was loaded from; empty for one that was not loaded.
    """

    meta: Meta
    tensors: Mapping[str, HostArray]
    digest: str = ""

    def weights(self, layout: Layout) -> HostArray:
        """Return the weights (P,) for predictions: their running mean if the run keeps one."""
        return self.vector("average" if self.meta.config.optimizer.average else "parameters", layout)

    def vector(self, name: str, layout: Layout) -> HostArray:
        """Return the vector `name` (P,). Raise `CheckpointError` for a tensor of another shape."""
        return to_vector(name, self.tensors, layout, self.meta.config.model.dtype)

    @property
    def optimizer_state(self) -> Checkpoint:
        """The same checkpoint with the optimizer's tensors only."""
        kept = {name: tensor for name, tensor in self.tensors.items() if name.startswith("optimizer/")}
        return dataclasses.replace(self, tensors=kept)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` atomically: a reader, or a crash, sees the whole file or none.

    Raise `CheckpointError` if the file system fails; an older file at `path` is then unchanged.
    """
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in checkpoint.tensors.items()}
    values = encode(checkpoint.meta) | {"content": digest_of(tensors)}
    write_atomically(path, safetensors.numpy.save(tensors, metadata={"charrnn": json.dumps(values, sort_keys=True)}))


def digest_of(tensors: Mapping[str, HostArray]) -> str:
    """Return the SHA-256 of the names and bytes of all tensors. It detects a flipped bit in a weight."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0")
        digest.update(np.asarray(tensors[name], order="C").tobytes())
    return digest.hexdigest()


def has_digest(saved: Checkpoint, digest: str) -> bool:
    """Return whether a checkpoint has this digest, by its names of tensors now or by those in format 1."""
    former = dict(saved.tensors)
    for old, new in RENAMED.items():
        former = {old + n.removeprefix(new) if n.startswith(new) else n: tensor for n, tensor in former.items()}
    return digest == saved.digest or digest in (digest_of(saved.tensors), digest_of(former))


def write_atomically(path: Path, *blocks: bytes) -> None:
    """Do what `files.write_atomically` does, and turn its `OSError` into a `CheckpointError`."""
    try:
        files.write_atomically(path, *blocks)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raise `CheckpointError` for a file that is damaged or not a checkpoint, and its subclass `UnreadableError` for a
    file that cannot be read or has a newer format.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe could wait forever
            raise CheckpointError("it is not a file")
        with safetensors.safe_open(path, framework="numpy") as file:
            values = json.loads((file.metadata() or {})["charrnn"])
            check_format(values["format"])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        digest = digest_of(stored)
        if values.pop("content", digest) != digest:
            raise CheckpointError("its tensors are damaged: their digest differs from the saved one")
        meta = decode(values)
        tensors = {current_name(name): tensor for name, tensor in stored.items()}
        check_tensors(tensors, meta.config, len(meta.vocabulary))
        return Checkpoint(meta, tensors, digest)
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    except CharrnnError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror or error}") from None
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or not a charrnn checkpoint ({error})") from None


def current_name(name: str) -> str:
    """Return the name that a tensor has in the current format."""
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def encode(meta: Meta) -> dict[str, Any]:
    """Return `meta` as JSON values."""
    values = {field.name: getattr(meta, field.name) for field in dataclasses.fields(Meta)}
    for name in HELD_OUT:
        fingerprint = values.pop(name)
        values |= {name: dataclasses.asdict(fingerprint)} if fingerprint else {}
    return values | {
        "format": FORMAT,
        "config": configuration.table(meta.config),
        "vocabulary": dataclasses.asdict(meta.vocabulary),
        "best": dataclasses.asdict(meta.best) if meta.best else None,
    }


def decode(values: dict[str, Any]) -> Meta:
    """Return the metadata that `encode` wrote. Raise `CheckpointError` for a newer format or damaged values."""
    values = {RENAMED_KEYS.get(key, key): value for key, value in values.items()}
    check_format(values.pop("format"))
    values = {"stale_evaluations": 0, "lr_reductions": 0} | values  # the first files lack them
    config = configuration.checked(values["config"], "its configuration")
    meta = Meta(
        **values
        | {
            "config": configuration.build(configuration.merged(FIRST_DEFAULTS, config)),
            "vocabulary": decode_vocabulary(values["vocabulary"]),
            "best": Best(**values["best"]) if values["best"] else None,
            **{name: Fingerprint(**values[name]) for name in HELD_OUT if name in values},
        }
    )
    counts = [meta.step, meta.chunk, meta.samples_size, meta.stale_evaluations, meta.lr_reductions]
    counts += [meta.best.step] if meta.best else []
    held_out = [text for text in (meta.val_text, meta.test_text) if text]
    counts += [text.characters for text in held_out]
    hashes = [meta.sha256, *(text.sha256 for text in held_out)]
    losses = [meta.smooth_loss, *([meta.best.val_loss] if meta.best else [])]
    names_text = isinstance(meta.corpus, str) and all(map(SHA256.fullmatch, hashes))
    if not names_text or not all(map(is_count, counts)) or not all(type(x) is float and isfinite(x) for x in losses):
        raise CheckpointError("its metadata is damaged")
    return meta


def check_format(version: object) -> None:
    """Raise `UnreadableError` for a format of a later version: the file may be undamaged."""
    if version not in (1, FORMAT):
        raise UnreadableError(
            f"it has format version {version}; this charrnn reads versions 1 to {FORMAT}: update charrnn"
        )


def decode_vocabulary(values: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary. Raise `CheckpointError` unless it has sorted, distinct characters, each with a count."""
    vocabulary = Vocabulary(values["characters"], tuple(values["counts"]))
    vocabulary.characters.encode()  # a UnicodeEncodeError, a ValueError, for a lone surrogate
    distinct = sorted(set(vocabulary.characters))
    if not distinct or list(vocabulary.characters) != distinct or len(vocabulary.counts) != len(distinct):
        raise CheckpointError("its vocabulary is damaged")
    if not all(map(is_count, vocabulary.counts)):
        raise CheckpointError("its metadata is damaged")
    return vocabulary


def is_count(value: object) -> bool:
    """Return whether a value is a whole number that fits 63 bits."""
    return type(value) is int and 0 <= value < 2**63
