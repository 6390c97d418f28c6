"""A run that somebody made up: one checkpoint, of which every word may be another, with the right digest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from test_disk import rebuilt, values_of

NEWEST = Path("r/checkpoints/step-00000010.safetensors")


def craft(trained: Path, known: int | None = None, data: dict[str, Any] | None = None, **meta: Any) -> None:
    """Make the run `r` in the current directory, of that in `trained`, with one checkpoint only.

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
    """Leave `known` characters of a network of one layer."""
    for name, tensor in tensors.items() if known is not None else ():
        if name.endswith("layer0.W_xh"):
            tensors[name] = tensor[:known].copy()
        elif "/output." in name:
            tensors[name] = tensor[..., :known].copy()
