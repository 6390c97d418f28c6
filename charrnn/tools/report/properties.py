"""Properties of a text that a unit may follow, for each of its characters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from charrnn.text import Ids, Part, Vocabulary
from charrnn.tools.report.reading import HostArray

OPENING, CLOSING = "([{（「『【", ")]}）」』】"
QUOTES_OPENING, QUOTES_CLOSING = "“«‹", "”»›"
GERMAN_OPENING, GERMAN_CLOSING = "„‚", "“”‘’"
"""Where a text has „, the sign “ closes."""
LONGEST_LINE = 100
"""Positions in a line above this count as this."""


def properties(part: Part, vocabulary: Vocabulary) -> dict[str, HostArray]:
    """Return the name of each property -> its value (N,) after each character, float32: 0 or 1 but for the position.

    Quotes and brackets are open until they are closed, and at most until an empty line or the end of the document.
    """
    ids, characters = part.ids, vocabulary.characters
    is_newline = belongs(ids, characters, "\n".__eq__)
    is_space = belongs(ids, characters, str.isspace)
    starts = np.zeros(len(ids), bool)
    starts[part.starts] = True
    starts[:1] = True
    starts_line = starts | shifted(is_newline)
    starts_paragraph = starts | (shifted(is_newline) & shifted(shifted(is_newline)))
    in_line = np.arange(len(ids)) - last_true(starts_line)
    only_space = since(~is_space, starts_line) == 0
    signs = (GERMAN_OPENING, GERMAN_CLOSING) if "„" in characters else (QUOTES_OPENING, QUOTES_CLOSING)
    straight = since(belongs(ids, characters, '"'.__eq__), starts_paragraph) % 2 == 1
    quoted = straight | inside(ids, characters, *signs, starts_paragraph)
    values = {
        "inside quotes": quoted,
        "inside brackets": inside(ids, characters, OPENING, CLOSING, starts_paragraph),
        "position in the line": np.where(is_newline, 0, np.minimum(in_line + 1, LONGEST_LINE)),
        "after a newline": is_newline,
        "upper case": belongs(ids, characters, str.isupper),
        "digit": belongs(ids, characters, str.isdigit),
        "inside a word": belongs(ids, characters, str.isalpha),
        "indentation": only_space & is_space & ~is_newline,
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def belongs(ids: Ids, characters: str, is_one: Callable[[str], bool]) -> HostArray:
    """Return for each id (N,) whether `is_one` of its character is true."""
    return np.array([is_one(c) for c in characters], bool)[ids]


def inside(ids: Ids, characters: str, opening: str, closing: str, resets: HostArray) -> HostArray:
    """Return whether an opening sign is not closed yet. A closing sign without an opening one changes nothing."""
    opens, closes = (belongs(ids, characters, signs.__contains__).astype(np.int64) for signs in (opening, closing))
    depth = since(opens - closes, resets)
    # The lowest depth since the last reset: a running minimum, in which each reset begins far below all before it.
    below = np.cumsum(resets) * (2 * len(ids) + 1)
    lowest = np.minimum.accumulate(np.minimum(depth, 0) - below) + below
    return depth > lowest


def since(values: HostArray, resets: HostArray) -> HostArray:
    """Return the sum of `values` (N,) since the last true element of `resets`, this one and the last included."""
    sums = np.cumsum(values, dtype=np.int64)
    before = np.append(0, sums[:-1])
    return sums - before[last_true(resets)]


def last_true(mask: HostArray) -> Ids:
    """Return for each position the last position up to it where `mask` (N,) is true; the first is assumed to be."""
    return np.maximum.accumulate(np.where(mask, np.arange(len(mask)), 0))


def shifted(mask: HostArray) -> HostArray:
    """Return `mask` (N,) one position later, with False first."""
    return np.append(False, mask[:-1])[: len(mask)]
