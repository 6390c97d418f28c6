"""Checkpoint files that are changed on purpose, with the right digest of their changed tensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy

from charrnn.checkpoint import digest_of

NEWEST = Path("r/checkpoints/step-00000010.safetensors")
BIAS = "parameters/output.b_y"


def metadata_of(content: bytes) -> dict[str, Any]:
    """Return the metadata of a checkpoint file."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["charrnn"])


def with_changes(content: bytes, change: Callable[[dict[str, np.ndarray]], object], /, **meta: Any) -> bytes:
    """Return a checkpoint file after `change(tensors)`, with the metadata `meta` and the right digest."""
    tensors = safetensors.numpy.load(content)
    change(tensors)
    metadata = metadata_of(content) | {"content": digest_of(tensors)} | meta
    return safetensors.numpy.save(tensors, {"charrnn": json.dumps(metadata)})


def with_flipped_byte(content: bytes, position: int) -> bytes:
    """Return a file in which some bits of one byte are flipped."""
    return content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]


def craft(trained: Path, known: int | None = None, data: dict[str, Any] | None = None, **meta: Any) -> None:
    """Copy the run in `trained` to `r` in the current directory, with one checkpoint whose metadata are changed.

    Args:
        trained: the directory of the run `r`.
        known: the number of characters that the tensors keep.
        data: changed keys of the configuration's section `data`.
        meta: changed metadata.
    """
    shutil.copytree(trained / "r", "r")
    content = NEWEST.read_bytes()
    for path in NEWEST.parent.iterdir():
        path.unlink()
    if data is not None:
        config = metadata_of(content)["config"]
        meta["config"] = config | {"data": config["data"] | data}
    NEWEST.write_bytes(with_changes(content, lambda tensors: keep_characters(tensors, known), **meta))


def keep_characters(tensors: dict[str, np.ndarray], count: int | None) -> None:
    """Cut the tensors of a network of one layer to its first `count` characters."""
    for name, tensor in tensors.items() if count is not None else ():
        if name.endswith("layer0.W_xh"):
            tensors[name] = tensor[:count].copy()
        elif "/output." in name:
            tensors[name] = tensor[..., :count].copy()


VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2, 5, 2**31, 2**62, 2**63, 10**400, 0.5, -0.0, 1e-300, 0.999999999, 1e308),
    *(float("nan"), float("inf"), "", "s", "a\nb\x1b", "\ud800", "\0", "x" * 300, "-", "/", "utf-16", "rnn", [], {}),
    *([0], ["-"], ["/"], ["/usr/**/*"], ["/dev/zero"], ["/etc/passwd"], [[]], {"a": 1}, {"step": 1, "val_loss": 0.0}),
]


def randomly_changed(random: Random, content: bytes) -> bytes:
    """Return a checkpoint file in which one or two random entries of the metadata are replaced or deleted.

    One file in ten has fewer characters, and tensors that are cut to them.
    """
    metadata, tensors = metadata_of(content), safetensors.numpy.load(content)
    for _ in range(random.choice([1, 1, 2])):
        container, key = random_entry(random, metadata)
        same_type = [value for value in VALUES if type(value) is type(container[key])]
        if random.random() < 0.05:
            del container[key]
        else:
            container[key] = deepcopy(random.choice(same_type if same_type and random.random() < 0.6 else VALUES))
    if random.random() < 0.1:
        known = random.choice([0, 1, 2])
        metadata["vocabulary"] = {"characters": " ,."[:known], "counts": [100] * known}
        keep_characters(tensors, known)
    return safetensors.numpy.save(tensors, {"charrnn": json.dumps(metadata | {"content": digest_of(tensors)})})


def random_entry(random: Random, container: Any) -> tuple[Any, Any]:
    """Return a random dictionary or list inside `container`, and one of its keys."""
    key = random.choice(list(container) if isinstance(container, dict) else range(len(container)))
    deeper = isinstance(container[key], (dict, list)) and container[key] and random.random() < 0.8
    return random_entry(random, container[key]) if deeper else (container, key)
