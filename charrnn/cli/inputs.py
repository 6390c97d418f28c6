"""Read what commands need: a trained model, or a whole text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.output import print_notice
from charrnn.errors import TextError

if TYPE_CHECKING:
    from charrnn.api import Model

LONGEST_PROMPT = 1 << 24
"""Most characters of a prompt from a file: the network needs minutes to read this many."""
LONGEST_STOP = 10_000
"""Most characters of a stop string from a file."""
DEFAULT_MEMORY = 8 << 30
"""Bytes of memory that are assumed if the system does not report its memory."""
BYTES_PER_CHARACTER = 8
"""Most bytes per character while a text is read: its pieces, and the joined text, at 4 bytes each."""


def load_model(run: Path, checkpoint: str, device: str, no_fallback: bool) -> Model:
    """Return the model of RUN, after printing on standard error which checkpoint it is."""
    from charrnn.api import load

    model = load(run, checkpoint=checkpoint, device=device, fallback=not no_fallback)
    for line in model.notices:
        print_notice(line)
    print_notice(f"checkpoint: {model.source} on {model.network.backend.name}")
    return model


def read_prompt(name: str, encoding: str) -> str:
    """Return the text of a prompt file, `-` for standard input."""
    return read_text(name, encoding, LONGEST_PROMPT, "use only its end")


def read_stop(name: str, encoding: str) -> str:
    """Return the stop string of a file, which is its whole text. Raises `TextError` for an empty file."""
    stop = read_text(name, encoding, LONGEST_STOP, "a stop string is short")
    if not stop:
        raise TextError(f"{name}: the file is empty: write the stop string into it")
    return stop


def read_text(name: str, encoding: str, most: int | None = None, advice: str = "use only a part of it") -> str:
    """Return the whole text of a file, `-` for standard input.

    Raises `TextError` for more than `most` characters, because a pipe may be endless. None means as many as fit into
    half of the machine's memory.
    """
    from charrnn import backend
    from charrnn.text import blocks

    if name != "-" and not Path(name).exists():
        raise TextError(f"{name}: there is no such file")
    most = (backend.total_ram() or DEFAULT_MEMORY) // 2 // BYTES_PER_CHARACTER if most is None else most
    parts, length = [], 0
    for part in blocks(name, encoding):
        parts.append(part)
        length += len(part)
        if length > most:
            raise TextError(f"{name}: the text is longer than {most:,} characters: {advice}")
    return "".join(parts)
