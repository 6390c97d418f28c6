"""Characters and their ids. A character is a Unicode code point; ids follow the order of code points."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charrnn.errors import TextError

Ids = np.ndarray[Any, np.dtype[Any]]

CODE_POINTS = 0x110000
JOINERS = "\u200c\u200d\u2060"
SHOWN = 10
"""Unknown characters that an error shows."""
BLOCK = 1 << 18
"""Characters that are encoded or decoded at once."""


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a network has, sorted by code point, and how often each occurs in its corpus.

    Attributes:
        characters: V distinct characters; the id of a character is its index.
        counts: V counts. A sample without a prompt draws its first character by them. 0 for a character that comes
            only from the network which this one was fine-tuned from.
    """

    characters: str
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.characters)

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[str, tuple[int, ...]]]:
        return type(self), (self.characters, self.counts)  # without the cached table, which has 4 MB

    @cached_property
    def ids_by_code_point(self) -> Ids:
        """(0x110000,) int32: the id of each code point, -1 for one that is not in the vocabulary."""
        table = np.full(CODE_POINTS, -1, np.int32)
        table[code_points(self.characters)] = np.arange(len(self), dtype=np.int32)
        return table

    @property
    def used(self) -> Vocabulary:
        """The vocabulary of the corpus alone: the characters with a count above 0."""
        pairs = [(c, n) for c, n in zip(self.characters, self.counts, strict=True) if n]
        return Vocabulary("".join(c for c, _ in pairs), tuple(n for _, n in pairs))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(max(len(self) - 1, 0))

    def encode(self, text: str, *, what: str = "the text", unknown: str = "error") -> Ids:
        """Return the ids (N,) of `text`, in `dtype`. If it has unknown characters, `normalized(text)` is encoded.

        Args:
            text: any text.
            what: the name of the text in an error.
            unknown: how to treat a character that is not in the vocabulary: `error` raises a `TextError` that shows
                it, `skip` leaves it out, `replace` puts U+FFFD, a space, or the most frequent character in its place.
        """
        if unknown not in ("error", "skip", "replace"):
            raise TextError(f"unknown must be error, skip or replace, not {unknown!r}")
        table, encoded = self.ids_by_code_point, [np.zeros(0, self.dtype)]
        for first in range(0, len(text), BLOCK):  # in blocks, because `take` converts indices to 8 bytes each
            ids = table.take(code_points(text[first : first + BLOCK], offset=first))
            is_unknown = ids < 0
            if is_unknown.any():
                if (other := self.normalized(text)) != text:
                    return self.encode(other, what=what, unknown=unknown)
                if unknown == "error":
                    raise self.unknown_error(text, what)
                ids = ids[~is_unknown] if unknown == "skip" else np.where(is_unknown, self.replacement_id, ids)
            encoded.append(ids.astype(self.dtype))
        return np.concatenate(encoded)

    def normalized(self, text: str) -> str:
        """Return `text` in the Unicode form, NFC or NFD, in which it has fewer unknown characters; else unchanged.

        A letter with an accent is then known if the vocabulary has the letter and a combining accent, or the reverse. A
        vocabulary that has both forms knows every letter as it is written.
        """
        fewest, best = self.unknown_count(text), text
        for form in ("NFC", "NFD") if fewest else ():
            other = unicodedata.normalize(form, text)
            if (count := self.unknown_count(other)) < fewest:
                fewest, best = count, other
        return best

    def unknown_count(self, text: str) -> int:
        """Return how many characters of `text` are not in the vocabulary. A lone surrogate is not."""
        count = 0
        for first in range(0, len(text), BLOCK):
            utf32 = text[first : first + BLOCK].encode("utf-32-le", "surrogatepass")
            count += int((self.ids_by_code_point.take(np.frombuffer(utf32, "<u4")) < 0).sum())
        return count

    def unknown_error(self, text: str, what: str) -> TextError:
        """Return the error for the characters of `text` that are not in the vocabulary."""
        unknown = sorted(set(text) - set(self.characters))
        shown = " ".join(map(repr, unknown[:SHOWN]))
        more = f" (the first {SHOWN} of them)" if len(unknown) > SHOWN else ""
        return TextError(
            f"{what} has characters that the network never saw: {shown}{more}; "
            "remove them, or add --unknown skip or --unknown replace"
        )

    def decode(self, ids: Ids) -> str:
        """Return the text of ids (N,)."""
        points = code_points(self.characters).astype("<u4")
        return points[np.asarray(ids)].tobytes().decode("utf-32-le")

    def utf8_size(self, ids: Ids) -> int:
        """Return how many bytes the text of ids (N,) has in UTF-8."""
        sizes = np.array([len(c.encode()) for c in self.characters], np.int64)
        return int(sum(sizes[ids[n : n + BLOCK]].sum() for n in range(0, len(ids), BLOCK)))

    def ids_of(self, text: str) -> tuple[int, ...]:
        """Return the ids of a string; none if a character of it is not in the vocabulary."""
        known = set(text) <= set(self.characters)
        return tuple(self.characters.index(c) for c in text) if known else ()

    def never_first(self, separator: str = "") -> tuple[int, ...]:
        """Return the ids of the characters that do not begin a document; none if the text has nothing else.

        They are combining marks, joiners, and a separator of one character, because no document is empty.
        """
        characters = enumerate(self.characters)
        ids = tuple(n for n, c in characters if c == separator or c in JOINERS or unicodedata.category(c)[0] == "M")
        return ids if self.counts and sum(self.counts[n] for n in ids) < sum(self.counts) else ()

    @property
    def replacement_id(self) -> int:
        """The id that `unknown="replace"` puts in the place of an unknown character."""
        ids = [self.characters.index(c) for c in "\ufffd " if c in self.characters]
        return ids[0] if ids else int(np.argmax(self.counts))


def code_points(text: str, *, offset: int = 0) -> Ids:
    """Return the code points (N,) of `text`: uint8 if all are ASCII, else uint32.

    Raises `TextError` for a lone surrogate, which no file can hold. `offset` is the position of `text` in the whole
    text, for the error.
    """
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    try:
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    except UnicodeEncodeError as error:
        raise TextError(
            f"character {offset + error.start} of the text is the lone surrogate {text[error.start]!r}: "
            "it is half a character; decode the text with another encoding"
        ) from None
