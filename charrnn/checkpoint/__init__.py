"""Checkpoints: atomic files of plain arrays, independent of the device."""

from charrnn.checkpoint.directory import (
    Marks,
    find,
    is_name,
    last,
    marks,
    path_of,
    prune,
    quarantine,
    quarantine_paths,
    remove_quarantined,
    steps,
)
from charrnn.checkpoint.file import Best, Checkpoint, Meta, digest_of, has_digest, load, save, write_atomically
from charrnn.checkpoint.schema import tensor_shapes

__all__ = [
    "Best",
    "Checkpoint",
    "Marks",
    "Meta",
    "digest_of",
    "find",
    "has_digest",
    "is_name",
    "last",
    "load",
    "marks",
    "path_of",
    "prune",
    "quarantine",
    "quarantine_paths",
    "remove_quarantined",
    "save",
    "steps",
    "tensor_shapes",
    "write_atomically",
]
