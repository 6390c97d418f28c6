"""Read what commands need: a trained model, or a whole text."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.output import print_notice
from charrnn.errors import TextError

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.text import Rows

SMALL = 2**20
"""Most parameters times streams that a CPU samples faster than a GPU. At this size (an LSTM of 512 units, one stream) a
character takes it as long as Python needs to start the launches and copies of a GPU."""
LONGEST_PROMPT = 1 << 24
"""Most characters of a prompt from a file: the network needs minutes to read this many."""
LONGEST_STOP = 10_000
"""Most characters of a stop string from a file."""
DEFAULT_MEMORY = 8 << 30
"""Bytes of memory that are assumed if the system does not report its memory."""
BYTES_PER_CHARACTER = 8
"""Most bytes per character while a text is read: its pieces, and the joined text, at 4 bytes each."""


def load_model(run: Path, checkpoint: str, device: str, no_fallback: bool, kernels: str | None) -> Model:
    """Return the model of RUN, after printing on standard error which checkpoint it is."""
    from charrnn.api import load

    return introduced(load(run, checkpoint=checkpoint, device=device, fallback=not no_fallback, kernels=kernels))


def load_sampler(
    run: Path, checkpoint: str, device: str, no_fallback: bool, kernels: str | None, streams: int
) -> Model:
    """Return the model of RUN to sample `streams` texts with: for few of a small network, `auto` is the CPU."""
    from charrnn.api import load
    from charrnn.backend import gpu_is_possible

    if device == "auto" and gpu_is_possible():
        model = load(run, checkpoint=checkpoint, device="cpu")
        if model.network.layout.size * streams <= SMALL:
            print_notice("device: cpu, faster than a GPU for few texts of a small network (--device cuda uses one)")
            return introduced(model)
    return load_model(run, checkpoint, device, no_fallback, kernels)


def introduced(model: Model) -> Model:
    """Return `model` after printing its notices, its checkpoint and its device."""
    for line in model.notices:
        print_notice(line)
    print_notice(f"checkpoint: {model.source} on {model.network.backend.name}")
    return model


def warn_of_unread_input() -> None:
    """Print that standard input is not read, if it is a file or a pipe with something in it.

    It is no error: in `ssh host bash -s < script.sh`, the rest of the script is in the standard input of every command.
    """
    with suppress(AttributeError, OSError, ValueError):  # closed, or a stream in memory
        descriptor = sys.stdin.fileno()
        if unread_bytes(descriptor):
            print_notice("standard input is not read: write - in the place of FILES to train on it")


def unread_bytes(descriptor: int) -> int:
    """Return how many bytes a file or pipe still has; 0 for anything else, such as a terminal. Reads nothing."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return max(0, status.st_size - os.lseek(descriptor, 0, os.SEEK_CUR))
    with suppress(ImportError):  # Windows has neither module
        import fcntl
        import termios

        if stat.S_ISFIFO(status.st_mode):
            return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
    return 0


def read_prompt(name: str, encoding: str) -> str:
    """Return the text of a prompt file, `-` for standard input."""
    return read_text(name, encoding, LONGEST_PROMPT, "use only its end")


def read_stop(name: str, encoding: str) -> str:
    """Return the stop string of a file, which is its whole text. Raises `TextError` for an empty file."""
    stop = read_text(name, encoding, LONGEST_STOP, "a stop string is short")
    if not stop:
        raise TextError(f"{name}: the file is empty: write the stop string into it")
    return stop


def normalized(model: Model, text: str, what: str) -> str:
    """Return `text` in the Unicode form that the model knows, after a line on standard error if that is another."""
    return all_normalized(model, [text], what)[0]


def all_normalized(model: Model, texts: list[str], what: str) -> list[str]:
    """Return `texts` as `normalized` does, after one line for all."""
    results = [model.vocabulary.normalized(text) for text in texts]
    if results != texts:
        form = "composed" if sum(map(len, results)) < sum(map(len, texts)) else "decomposed"
        print_notice(f"{what}: accented letters are {form}, as the network knows them")
    return results


def read_documents(model: Model, name: str, encoding: str, rows: Rows) -> str | list[str]:
    """Return the whole text of a file as `read_text` does, or the text of each of its `rows`, `normalized`."""
    from charrnn.text import sources

    if not rows:
        return normalized(model, read_text(name, encoding), name)
    check_exists(name)
    texts = list(bounded(name, chain.from_iterable(sources.rows_of(name, encoding, rows))))
    return all_normalized(model, texts, name)


def read_text(name: str, encoding: str, most: int | None = None, advice: str = "use only a part of it") -> str:
    """Return the whole text of a file, `-` for standard input.

    Raises `TextError` for more than `most` characters, because a pipe may be endless. None means as many as fit into
    half of the machine's memory.
    """
    from charrnn.text import blocks

    check_exists(name)
    return "".join(bounded(name, blocks(name, encoding), most, advice))


def check_exists(name: str) -> None:
    """Raise `TextError` unless `name` is that of a file, or `-`."""
    if name != "-" and not Path(name).exists():
        raise TextError(f"{name}: there is no such file")


def bounded(
    name: str, parts: Iterable[str], most: int | None = None, advice: str = "use only a part of it"
) -> Iterator[str]:
    """Yield the parts of the text of `name`. Raises as `read_text` does."""
    from charrnn import backend

    most = (backend.total_ram() or DEFAULT_MEMORY) // 2 // BYTES_PER_CHARACTER if most is None else most
    length = 0
    for part in parts:
        yield part
        length += len(part)
        if length > most:
            raise TextError(f"{name}: the text is longer than {most:,} characters: {advice}")
