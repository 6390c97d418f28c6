"""One checkpoint, one safetensors file: plain CPU arrays, one JSON string of metadata, nothing executable.

Tensors: `parameters/NAME`, `optimizer/SLOT/NAME`, `state/NAME` (L, B, H), `guard/NAME`, and `average/NAME` where a
running mean of the parameters is kept. The metadata's single key `charrnn` holds everything else as JSON with sorted
keys: the format's own map has no stable order, and without times the same run makes the same bytes. The file appears
under its name only when it is complete and on the disk.
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
from charrnn.config import Config
from charrnn.errors import CharrnnError, CheckpointError
from charrnn.model import Layout, layout_of
from charrnn.model.cells import CELLS
from charrnn.optim import rule
from charrnn.text import Vocabulary

FORMAT = 1
SHA256 = re.compile(r"[0-9a-f]{64}")
PLAIN = ("step", "chunk", "corpus", "sha256", "smooth_loss", "samples_size", "stale", "drops")
FIRST_DEFAULTS: configuration.Table = {
    "model": {"input_std": 0.1},
    "train": {"random_offset": False},
    "optimizer": {"schedule": "constant", "warmup": 0.0},
}
"""Values that the first files left out, because they were the defaults then."""
HostArray = np.ndarray[Any, np.dtype[Any]]


class UnreadableError(CheckpointError):
    """A checkpoint that may be whole: the file system does not give it now, or it is for another version."""


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
        chunk: index in the sweep of the next chunk to train on: the data position.
        config: the resolved configuration.
        vocabulary: of the corpus.
        corpus: its name.
        sha256: its hash.
        smooth_loss: nats/char, after `step`.
        best: the best evaluation up to here, if there was one.
        stale: evaluations since then.
        drops: how often the plateau schedule has lowered the learning rate.
        samples_size: bytes of samples.txt up to here; what follows is cut off on resume.
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
    stale: int = 0
    drops: int = 0


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: `tensors` by full name, on the host."""

    meta: Meta
    tensors: Mapping[str, HostArray]

    def weights(self, layout: Layout) -> HostArray:
        """The weights (P,) of `layout` to predict with: their running mean, where the run keeps one."""
        return self.flat("average" if self.meta.config.optimizer.average else "parameters", layout)

    @property
    def optimizer_state(self) -> Checkpoint:
        """The same checkpoint with the optimizer's tensors only."""
        kept = {name: tensor for name, tensor in self.tensors.items() if name.startswith("optimizer/")}
        return dataclasses.replace(self, tensors=kept)

    def flat(self, prefix: str, layout: Layout) -> HostArray:
        """The tensors `prefix/NAME` as one flat vector (P,) of `layout`. Raises `CheckpointError` for another shape."""
        vector = np.zeros(layout.size, self.meta.config.model.dtype)
        for name, view in layout.views(vector, xp=np).items():
            tensor = self.tensors[f"{prefix}/{name}"]
            if tensor.shape != view.shape:
                raise CheckpointError(f"{prefix}/{name} is of shape {list(tensor.shape)}, not {list(view.shape)}")
            view[...] = tensor
        return vector

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that belong to this metadata, by full name, with their shapes."""
        config, cell = self.meta.config, CELLS[self.meta.config.model.cell]
        prefixes = ["parameters", *(f"optimizer/{slot}" for slot in rule(config.optimizer).slots)]
        if config.optimizer.average:
            prefixes.append("average")
        weights = layout_of(config.model, len(self.meta.vocabulary)).shapes
        state = (config.model.num_layers, config.train.batch_size, config.model.hidden_size)
        return {
            **{f"{prefix}/{name}": shape for prefix in prefixes for name, shape in weights},
            **{f"state/{name}": state for name in cell.STATES},
            **{"guard/scale": (), "guard/bad": ()},
        }

    def check(self) -> None:
        """Raise `CheckpointError` naming a tensor that is missing, too many, of another shape or type, or not finite.

        NaN parameters would otherwise surface much later, as a sampler that fails.
        """
        expected, dtype = self.shapes, np.dtype(self.meta.config.model.dtype)
        for name in sorted(expected.keys() ^ self.tensors.keys()):
            raise CheckpointError(f"the tensor {name} {'is missing' if name in expected else 'does not belong'}")
        for name, tensor in self.tensors.items():
            shape = expected[name]
            if tensor.shape != shape or tensor.dtype != dtype:
                raise CheckpointError(f"{name} is {tensor.dtype}{list(tensor.shape)}, not {dtype}{list(shape)}")
            if not np.isfinite(tensor).all():
                raise CheckpointError(f"{name} holds numbers that are not finite: use an earlier checkpoint")


def named(prefix: str, layout: Layout, vector: HostArray) -> dict[str, HostArray]:
    """The inverse of `Checkpoint.flat`: `prefix/NAME` -> the part of `vector` (P,)."""
    return {f"{prefix}/{name}": view for name, view in layout.views(vector, xp=np).items()}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` atomically: a reader, or a crash, meets the whole file or none.

    Raises `CheckpointError` where the file system refuses; a file that was there before is then untouched.
    """
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in checkpoint.tensors.items()}
    values = encode(checkpoint.meta) | {"content": content(tensors)}
    write_atomically(path, safetensors.numpy.save(tensors, metadata={"charrnn": json.dumps(values, sort_keys=True)}))


def content(tensors: Mapping[str, HostArray]) -> str:
    """The SHA-256 of names and bytes of all tensors: a flipped bit in a weight would otherwise load without a word."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0")
        digest.update(np.asarray(tensors[name], order="C").tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, *blocks: bytes) -> None:
    """`files.write` with a `CheckpointError` for what the file system refuses."""
    try:
        files.write(path, *blocks)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises `CheckpointError` for a file that is not one or is damaged."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise CheckpointError("it is not a file")
        with safetensors.safe_open(path, framework="numpy") as file:
            values = json.loads((file.metadata() or {})["charrnn"])
            digest = values.pop("content", None)  # not yet in the first files
            meta = decode(values)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if digest is not None and content(tensors) != digest:
            raise CheckpointError("its tensors are damaged: they are not what was saved")
        checkpoint = Checkpoint(meta, tensors)
        checkpoint.check()
        return checkpoint
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    except CharrnnError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror or error}") from None
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or not a charrnn checkpoint ({error})") from None


def encode(meta: Meta) -> dict[str, Any]:
    """`meta` as JSON values."""
    return {
        **{name: getattr(meta, name) for name in PLAIN},
        "format": FORMAT,
        "config": configuration.table(meta.config),
        "vocabulary": dataclasses.asdict(meta.vocabulary),
        "best": dataclasses.asdict(meta.best) if meta.best else None,
    }


def decode(values: dict[str, Any]) -> Meta:
    """The inverse of `encode`. Raises `CheckpointError` for a format of another version."""
    values = dict(values)
    version = values.pop("format")
    if version != FORMAT:
        raise UnreadableError(f"its format is version {version}, this charrnn reads version {FORMAT}: update charrnn")
    vocabulary = Vocabulary(values["vocabulary"]["characters"], tuple(values["vocabulary"]["counts"]))
    vocabulary.characters.encode()  # a string without half characters
    distinct = sorted(set(vocabulary.characters))
    if not distinct or list(vocabulary.characters) != distinct or len(vocabulary.counts) != len(distinct):
        raise CheckpointError("its vocabulary is damaged")
    values = {"stale": 0, "drops": 0} | values  # not yet in the first files
    whole = [*(values[name] for name in ("step", "chunk", "samples_size", "stale", "drops")), *vocabulary.counts]
    losses = [values["smooth_loss"]]
    if values["best"]:
        whole.append(values["best"]["step"])
        losses.append(values["best"]["val_loss"])
    counted = all(type(n) is int and 0 <= n < 2**63 for n in whole)
    named = isinstance(values["corpus"], str) and SHA256.fullmatch(values["sha256"])
    if not named or not counted or not all(type(x) is float and isfinite(x) for x in losses):
        raise CheckpointError("its metadata is damaged")
    values |= {
        "config": configuration.build(
            configuration.merged(FIRST_DEFAULTS, configuration.checked(values["config"], "its configuration"))
        ),
        "vocabulary": vocabulary,
        "best": Best(**values["best"]) if values["best"] else None,
    }
    return Meta(**values)
