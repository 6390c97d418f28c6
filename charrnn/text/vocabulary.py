"""Characters and their ids. A character is a Unicode code point; ids follow code point order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.errors import TextError

Ids = np.ndarray[Any, np.dtype[Any]]

CODE_POINTS = 0x110000
SHOWN = 10
BLOCK = 1 << 18


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a network knows, sorted by code point, and how often each occurs in its corpus.

    Attributes:
        characters: V distinct characters; the id of a character is its index.
        counts: V occurrences, from which a sample without a prompt draws its first character; 0 for one that only
            the network knew which this one was fine-tuned from.
    """

    characters: str
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.characters)

    @cached_property
    def ids_by_code_point(self) -> Ids:
        """(0x110000,) int32: the id of each code point, -1 for one the vocabulary lacks."""
        table = np.full(CODE_POINTS, -1, np.int32)
        table[code_points(self.characters)] = np.arange(len(self), dtype=np.int32)
        return table

    @property
    def used(self) -> Vocabulary:
        """That of the corpus alone, without characters that only the network knows."""
        pairs = [(c, n) for c, n in zip(self.characters, self.counts, strict=True) if n]
        return Vocabulary("".join(c for c, _ in pairs), tuple(n for _, n in pairs))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(max(len(self) - 1, 0))

    def encode(self, text: str, *, what: str = "the text", unknown: str = "error") -> Ids:
        """The ids (N,) of `text`, in `dtype`.

        Args:
            text: any text.
            what: names the text in the error.
            unknown: what happens to a character that the corpus never had: `error` raises `TextError` showing it,
                `skip` leaves it out, `replace` puts U+FFFD, a space, or the commonest character for it.
        """
        if unknown not in ("error", "skip", "replace"):
            raise TextError(f"unknown must be error, skip or replace, not {unknown!r}")
        table, encoded = self.ids_by_code_point, [np.zeros(0, self.dtype)]
        for first in range(0, len(text), BLOCK):  # in blocks: `take` makes 8 bytes of every index
            ids = table.take(code_points(text[first : first + BLOCK], first=first))
            strange = ids < 0
            if strange.any():
                if unknown == "error":
                    raise self.never_seen(text, what)
                ids = ids[~strange] if unknown == "skip" else np.where(strange, self.substitute, ids)
            encoded.append(ids.astype(self.dtype))
        return np.concatenate(encoded)

    def never_seen(self, text: str, what: str) -> TextError:
        """The error for characters of `text` that the vocabulary lacks."""
        strange = sorted(set(text) - set(self.characters))
        shown = " ".join(map(repr, strange[:SHOWN]))
        more = f" (the first {SHOWN} of them)" if len(strange) > SHOWN else ""
        return TextError(
            f"{what} has characters that the network never saw: {shown}{more}; "
            "leave them out or say --unknown skip or --unknown replace"
        )

    def decode(self, ids: Ids) -> str:
        """The text of ids (N,)."""
        points = code_points(self.characters).astype("<u4")
        return points[np.asarray(ids)].tobytes().decode("utf-32-le")

    @property
    def substitute(self) -> int:
        """The id that stands for an unknown character under `unknown="replace"`."""
        known = [self.characters.index(c) for c in "\ufffd " if c in self.characters]
        return known[0] if known else int(np.argmax(self.counts))


def code_points(text: str, *, first: int = 0) -> Ids:
    """The code points (N,) of `text`: uint8 if all are ASCII, else uint32.

    `first` is the position of `text` in the whole that the error speaks of. Raises `TextError` for a lone surrogate,
    which no file can hold.
    """
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    try:
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        raise TextError(
            f"character {first + error.start} of the text is the lone surrogate {text[error.start]!r}: "
            "it is half a character; decode the text with another encoding"
        ) from None
