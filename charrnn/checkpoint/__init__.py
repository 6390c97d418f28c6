"""Atomic, safe, device-free checkpoints."""

from charrnn.checkpoint.directory import (
    FOLDER,
    Marks,
    aside,
    find,
    is_name,
    last,
    marks,
    path_of,
    prune,
    set_aside,
    steps,
    unset_aside,
)
from charrnn.checkpoint.file import Best, Checkpoint, Meta, content, load, named, save, write_atomically

__all__ = [
    "FOLDER",
    "Best",
    "Checkpoint",
    "Marks",
    "Meta",
    "aside",
    "content",
    "find",
    "is_name",
    "last",
    "load",
    "marks",
    "named",
    "path_of",
    "prune",
    "save",
    "set_aside",
    "steps",
    "unset_aside",
    "write_atomically",
]
