"""Read what commands need: a trained model, or a whole text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.output import print_notice
from charrnn.errors import TextError

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.text import Rows

LONGEST_PROMPT = 1 << 24
"""Most characters of a prompt from a file: the network needs minutes to read this many."""
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
