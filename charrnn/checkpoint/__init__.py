"""Atomic, safe, device-free checkpoints."""

from charrnn.checkpoint.directory import FOLDER, find, last, path_of, prune, set_aside, steps, unset_aside
from charrnn.checkpoint.file import Best, Checkpoint, Meta, content, load, named, save, write_atomically

__all__ = [
    "FOLDER",
    "Best",
    "Checkpoint",
    "Meta",
    "content",
    "find",
    "last",
    "load",
    "named",
    "path_of",
    "prune",
    "save",
    "set_aside",
    "steps",
    "unset_aside",
    "write_atomically",
]
