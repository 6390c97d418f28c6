"""Make other well-formed checkpoint files out of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.numpy

from charrnn.checkpoint.file import digest_of

BIAS = "parameters/output.b_y"


def values_of(good: bytes) -> dict[str, Any]:
    """Return the metadata of a checkpoint file."""
    size = int.from_bytes(good[:8], "little")
    return json.loads(json.loads(good[8 : 8 + size])["__metadata__"]["charrnn"])


def rebuilt(good: bytes, change: Callable[[dict[str, np.ndarray]], object], **meta: Any) -> bytes:
    """Return a checkpoint file with other tensors and metadata, and their right digest."""
    tensors = safetensors.numpy.load(good)
    change(tensors)
    values = values_of(good) | {"content": digest_of(tensors)} | meta
    return safetensors.numpy.save(tensors, {"charrnn": json.dumps(values)})


def flipped(good: bytes, place: int) -> bytes:
    """Return a file with one byte changed."""
    return good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]
