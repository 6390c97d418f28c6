"""Check the arguments of the Python API: a wrong one is a `CharrnnError` of one line, not a `TypeError` from inside."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import ConfigError, TextError

LONGEST_FILE_NAME = 256
"""A text of at least this many characters is never the name of a file."""
FILE_NAME = re.compile(
    r"\S+\.[a-z]\w{0,4}"  # input.txt, texts/book.md
    r"|.+\.(txt|md|csv|tsv|jsonl?|abc|log|tex|html?|xml|gz|bz2|xz|zst|zip)"  # my book.txt
    r"|\S*[\\/]\S+[\\/]\S*",  # data/texts/shakespeare
    re.IGNORECASE,
)
"""A line that looks like the name of a file: with an ending, with folders, or a pattern."""
SHOWN = 60
"""Characters of a wrong value that an error shows."""


def shown(value: Any) -> str:
    """Return the beginning of `repr(value)`, on one line, and its type."""
    kind = type(value).__name__
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a `repr` of a user can raise anything
        return f"a {kind}"
    return f"{text if len(text) <= SHOWN else text[:SHOWN] + '...'} ({kind})"


def string(value: Any, what: str) -> str:
    """Return a string. Raises `TextError` for anything else."""
    if isinstance(value, (bytes, bytearray)):
        raise TextError(f"{what} is bytes: decode it first, as in {what}.decode('utf-8')")
    if isinstance(value, os.PathLike):
        raise TextError(f"{what} is a path: read the file first, as in Path(...).read_text()")
    if not isinstance(value, str):
        raise TextError(f"{what} must be a string, not {shown(value)}")
    return value


def text_or_texts(value: Any, what: str) -> str | list[str]:
    """Return a text, or several. Raises `TextError` for anything else, also for an open file."""
    if isinstance(value, (str, bytes, bytearray, Mapping)) or hasattr(value, "read") or not isinstance(value, Iterable):
        return string(value, what)
    return [string(one, f"every item of {what}") for one in value]


def whole(value: Any, what: str, least: int | None = None) -> int:
    """Return a whole number, of Python or NumPy, as an `int`. Raises `ConfigError` for anything else."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"{what} must be a whole number, not {shown(value)}") from None
    if least is not None and number < least:
        raise ConfigError(f"{what} must be at least {least}, not {number}")
    return number


def number(value: Any, what: str) -> float:
    """Return a number, of Python or NumPy, as a `float`. Raises `ConfigError` for anything else."""
    with suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, (str, bytes, bool)):
            return float(value)
    raise ConfigError(f"{what} must be a number, not {shown(value)}")


def array(value: Any, what: str, shape: tuple[int | None, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return finite numbers as an array (float64). Raises `ConfigError` for another shape; None matches any size."""
    with suppress(TypeError, ValueError):
        numbers = np.asarray(value, dtype=np.float64)
        fits = numbers.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, numbers.shape, strict=True))
        if fits and np.isfinite(numbers).all():
            return numbers
    sizes = ", ".join("any" if n is None else str(n) for n in shape)
    raise ConfigError(f"{what} must be finite numbers of shape ({sizes}), not {shown(value)}")


def path(value: Any, what: str) -> Path:
    """Return a path. Raises `ConfigError` for anything but a string or a path."""
    if not isinstance(value, (str, Path)):
        raise ConfigError(f"{what} must be a string or a Path, not {shown(value)}")
    return Path(value)


def paths(value: Any, what: str) -> list[str]:
    """Return the names in a list of paths, or the single one. Raises `ConfigError` for anything else."""
    if isinstance(value, (str, Path)):
        return [str(value)]
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise ConfigError(f"{what} must be a path or a list of paths, not {shown(value)}")
    return [str(path(item, f"every item of {what}")) for item in value]


def strings(value: Any, what: str) -> tuple[str, ...]:
    """Return the strings of an argument that is a string or several. Raises `ConfigError` for anything else."""
    items = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for item in items:
        if not isinstance(item, str):
            raise ConfigError(f"{what} must be a string or several, not {shown(item)}")
    return items


def settings(value: Any) -> dict[str, Any]:
    """Return settings by key, with Python's numbers for NumPy's. Raises `ConfigError` unless they are a mapping."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"settings must be a dict such as {{'train.steps': 1000}}, not {shown(value)}")
    return {
        key: item.item() if type(item).__module__ == "numpy" and hasattr(item, "item") else item
        for key, item in value.items()
    }


def training_text(value: Any) -> str | list[str]:
    """Return the text to train on, or its documents. Raises `TextError` for anything else, also for a file's name.

    A list, a generator or any other iterable of strings is a list of documents.
    """
    if isinstance(value, os.PathLike):
        raise TextError(f"{value} is a path, not the text to learn: write files=[{str(value)!r}]")
    if hasattr(value, "read"):
        raise TextError(f"text is an open file: write text=file.read(), or files=[{getattr(value, 'name', 'name')!r}]")
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        text = string(value, "text")
        if names_file(text):
            raise TextError(f"{text} is a file, not the text to learn: write files=[{text!r}]")
        if len(text) < LONGEST_FILE_NAME and FILE_NAME.fullmatch(text):
            raise TextError(
                f"{text!r} looks like a file name, not a text to learn, and no such file exists: "
                "write files=[...] with the right name"
            )
        return text
    documents = list(value)
    for n, document in enumerate(documents):
        if isinstance(document, os.PathLike):
            raise TextError(f"document {n} of text is a path: write files=[...] to read files")
        string(document, f"document {n} of text")
    if not any(documents):
        raise TextError("text has no documents with a character in them")
    return documents


def names_file(text: str) -> bool:
    """Return whether `text` is the name of an existing file or directory."""
    with suppress(OSError, ValueError):
        return 0 < len(text) < LONGEST_FILE_NAME and Path(text).exists()
    return False
