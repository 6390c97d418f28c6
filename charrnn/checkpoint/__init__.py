"""Atomic, safe, device-free checkpoints."""

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
from charrnn.checkpoint.file import Best, Checkpoint, Meta, content, load, named, save, write_atomically

__all__ = [
    "Best",
    "Checkpoint",
    "Marks",
    "Meta",
    "content",
    "find",
    "is_name",
    "last",
    "load",
    "marks",
    "named",
    "path_of",
    "prune",
    "quarantine",
    "quarantine_paths",
    "remove_quarantined",
    "save",
    "steps",
    "write_atomically",
]
