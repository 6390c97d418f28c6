"""Make up runs: one checkpoint with any metadata, and with the right digest."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy
from helpers.damage import rebuilt, values_of

from charrnn.checkpoint import digest_of

NEWEST = Path("r/checkpoints/step-00000010.safetensors")


def craft(trained: Path, known: int | None = None, data: dict[str, Any] | None = None, **meta: Any) -> None:
    """Copy the run `r` of `trained` into the current directory, with one checkpoint only, and change its metadata.

    Args:
        trained: where the run is.
        known: the characters to which its tensors are cut.
        data: other keys of the section of its configuration.
        meta: other metadata.
    """
    shutil.copytree(trained / "r", "r")
    good = NEWEST.read_bytes()
    for path in NEWEST.parent.iterdir():
        path.unlink()
    if data is not None:
        config = values_of(good)["config"]
        meta["config"] = config | {"data": config["data"] | data}
    NEWEST.write_bytes(rebuilt(good, lambda tensors: cut(tensors, known), **meta))


def cut(tensors: dict[str, np.ndarray], known: int | None) -> None:
    """Cut the tensors of a network of one layer to `known` characters."""
    for name, tensor in tensors.items() if known is not None else ():
        if name.endswith("layer0.W_xh"):
            tensors[name] = tensor[:known].copy()
        elif "/output." in name:
            tensors[name] = tensor[..., :known].copy()


VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2, 5, 2**31, 2**62, 2**63, 10**400, 0.5, -0.0, 1e-300, 0.999999999, 1e308),
    *(float("nan"), float("inf"), "", "s", "a\nb\x1b", "\ud800", "\0", "x" * 300, "-", "/", "utf-16", "rnn", [], {}),
    *([0], ["-"], ["/"], ["/usr/**/*"], ["/dev/zero"], ["/etc/passwd"], [[]], {"a": 1}, {"step": 1, "val_loss": 0.0}),
]


def mutated(random: Random, good: bytes) -> bytes:
    """Return a checkpoint file in which one or two values of the metadata are of any kind, or missing.

    In some, the characters are fewer, and the tensors are cut to them.
    """
    values, tensors = values_of(good), safetensors.numpy.load(good)
    for _ in range(random.choice([1, 1, 2])):
        place, key = picked(random, values)
        alike = [value for value in VALUES if type(value) is type(place[key])]
        if random.random() < 0.05:
            del place[key]
        else:
            place[key] = deepcopy(random.choice(alike if alike and random.random() < 0.6 else VALUES))
    if random.random() < 0.1:
        known = random.choice([0, 1, 2])
        values["vocabulary"] = {"characters": " ,."[:known], "counts": [100] * known}
        cut(tensors, known)
    return safetensors.numpy.save(tensors, {"charrnn": json.dumps(values | {"content": digest_of(tensors)})})


def picked(random: Random, values: Any) -> tuple[Any, Any]:
    """Return a dictionary or list somewhere in `values`, and one of its keys."""
    key = random.choice(list(values) if isinstance(values, dict) else range(len(values)))
    deeper = isinstance(values[key], (dict, list)) and values[key] and random.random() < 0.8
    return picked(random, values[key]) if deeper else (values, key)
