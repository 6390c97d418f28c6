"""The properties of a text that units are compared with, written out by hand for each character."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.text import Part, from_text
from charrnn.tools.report.properties import properties

#        a line, then what each of its characters has
EXAMPLES = {
    "inside quotes": ['say "ab" c\n\n"d', "00001110000011"],
    "inside brackets": ["a(b[c]d)e)f(\n\n g", "0111111000011100"],
    "after a newline": ["a\nb\n\n", "01011"],
    "upper case": ["aB1É?", "01010"],
    "digit": ["a1²٣?", "01110"],
    "inside a word": ["ab, é1x", "1100101"],
    "indentation": [" a b\n\t c\n d", "10000110010"],
}


def values(text: str, name: str, part: Part | None = None) -> list[float]:
    corpus = from_text(text)
    return properties(part or corpus.part(0, len(text)), corpus.vocabulary)[name].tolist()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_value_after_each_character(name: str):
    """A quote or bracket counts from its opening sign up to its closing sign, and ends at an empty line."""
    text, expected = EXAMPLES[name]
    assert values(text, name) == [float(c) for c in expected]


def test_the_position_in_the_line():
    """A newline is position 0, the first character of a line 1, and positions end at 100."""
    assert values("ab\n\ncd", "position in the line") == [1, 2, 0, 0, 1, 2]
    assert values("x" * 120, "position in the line")[98:] == [99, 100] + [100] * 20


def test_typographic_quotes():
    """English, French and German quotes."""
    assert values("“a” b", "inside quotes") == [1, 1, 0, 0, 0]
    assert values("«a» b", "inside quotes") == [1, 1, 0, 0, 0]
    assert values("„a“ b", "inside quotes") == [1, 1, 0, 0, 0]


def test_a_document_begins_anew():
    """Quotes, lines and brackets end with a document."""
    text = '"a(bc'
    part = Part(from_text(text).part(0, 5).ids, np.array([3]), True)
    assert values(text, "inside quotes", part) == [1, 1, 1, 0, 0]
    assert values(text, "inside brackets", part) == [0, 0, 1, 0, 0]
    assert values(text, "position in the line", part) == [1, 2, 3, 1, 2]
