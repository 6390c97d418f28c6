"""Vocabulary: ids, encoding and decoding, compared with plain Python."""

from unittest import mock

import numpy as np
import pytest
from helpers.properties import modest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import from_text, vocabulary


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (2, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")]
)
def test_ids_have_the_smallest_type(size: int, dtype: str) -> None:
    """Ids have the smallest unsigned type that holds every id, and decoding them gives the text."""
    text = "".join(chr(n) for n in range(size + 2048) if not 0xD800 <= n < 0xE000)[:size] + "\0"
    corpus = from_text(text)
    assert len(corpus.vocabulary) == size
    assert corpus.ids.dtype == corpus.vocabulary.encode(text).dtype == np.dtype(dtype)
    assert corpus.vocabulary.decode(corpus.ids) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("axbyx", "the prompt has characters that the network never saw: 'x' 'y'; "),
        ("\n\u20ac", r"never saw: '\n' '€'; "),
        ("9876543210", "saw: '0' '1' '2' '3' '4' '5' '6' '7' '8' '9'; "),
        ("x9876543210", "saw: '0' '1' '2' '3' '4' '5' '6' '7' '8' '9' (the first 10 of them); "),
    ],
)
def test_unknown_characters_are_shown(text: str, shown: str) -> None:
    """The error names the text, shows up to ten of its unknown characters, and mentions --unknown."""
    with pytest.raises(TextError) as caught:
        from_text("ab").vocabulary.encode(text, what="the prompt")
    assert shown in str(caught.value)
    assert "--unknown" in str(caught.value)


@modest
@given(st.text("ab cxyz\ufffd€"), st.sampled_from([("aab \ufffd", "\ufffd"), ("aab ", " "), ("abbc", "b")]))
def test_unknown_characters_are_skipped_or_replaced(text: str, case: tuple[str, str]) -> None:
    """`skip` leaves unknown characters out; `replace` puts U+FFFD, a space, or the most frequent character."""
    known, substitute = case
    vocabulary = from_text(known).vocabulary
    skipped = vocabulary.decode(vocabulary.encode(text, unknown="skip"))
    replaced = vocabulary.decode(vocabulary.encode(text, unknown="replace"))
    assert skipped == "".join(c for c in text if c in known)
    assert replaced == "".join(c if c in known else substitute for c in text)


@modest
@given(st.text("abé日😀x", max_size=50), st.integers(1, 9), st.sampled_from(["error", "skip", "replace"]))
def test_encoding_in_blocks(text: str, block: int, unknown: str) -> None:
    """Encoding in blocks of any size gives what a dictionary gives."""
    known = from_text("bé日 b").vocabulary
    table = {character: n for n, character in enumerate(" bé日")}
    strange = sorted(set(text) - set(table))
    with mock.patch.object(vocabulary, "BLOCK", block):
        if strange and unknown == "error":
            with pytest.raises(TextError) as caught:
                known.encode(text)
            assert f"never saw: {' '.join(map(repr, strange))}; " in str(caught.value)
            return
        ids = known.encode(text, unknown=unknown)
    assert ids.tolist() == [table.get(c, 0) for c in text if c in table or unknown != "skip"]
    assert ids.dtype == np.uint8


def test_the_position_of_a_lone_surrogate() -> None:
    """A lone surrogate is named by its position in the whole text, also in a later block."""
    with mock.patch.object(vocabulary, "BLOCK", 2), pytest.raises(TextError, match=r"character 5 .*'\\udc80'"):
        from_text("abé").vocabulary.encode("aabéa\udc80")


COMPOSED, DECOMPOSED = "déjà vu, ô", "de\u0301ja\u0300 vu, o\u0302"


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        (DECOMPOSED, "é à ô", "e\u0301 a\u0300 o\u0302"),
        (COMPOSED, "e\u0301 a\u0300 o\u0302", "é à ô"),
        (COMPOSED + DECOMPOSED, "é a\u0300", "é a\u0300"),
        (COMPOSED, "é à", "é à"),
        ("deja vu", "é e\u0301 ñ", "é e\u0301 ñ"),
        (COMPOSED, "e\u0301 n\u0303", "é ñ"),
        (DECOMPOSED, "é €", "e\u0301 €"),
        ("\u2126 a", "\u2126", "\u2126"),
        ("\u1112\u1161\u11ab", "한", "\u1112\u1161\u11ab"),
    ],
)
def test_accents_are_composed_as_the_vocabulary_has_them(known: str, text: str, expected: str) -> None:
    """A text takes the form, composed or decomposed, in which fewer characters are unknown; otherwise it stays."""
    vocabulary = from_text(known).vocabulary
    assert vocabulary.normalized(text) == expected
    skipped = vocabulary.decode(vocabulary.encode(text, unknown="skip"))
    assert skipped == "".join(c for c in expected if c in known)
    assert vocabulary.unknown_count(text) == sum(c not in known for c in text)
