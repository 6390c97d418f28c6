"""Which passages are copied, against Python's own search for substrings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.tools.report import copied as module
from charrnn.tools.report.copied import Copied, copied

LETTERS = "abcdefghijklmnopqrstuvwxyz ."


def ids(text: str) -> np.ndarray:
    return np.array([LETTERS.index(c) for c in text], np.uint8)


def longest(training: str, text: str) -> int:
    """Return the length of the longest common substring, by trying all."""
    return max(n for n in range(len(text) + 1) for i in range(len(text) - n + 1) if text[i : i + n] in training)


def share(training: str, text: str) -> float | None:
    windows = [text[i : i + 20] for i in range(len(text) - 19)]
    return sum(w in training for w in windows) / len(windows) if windows else None


def test_a_copied_passage_is_found_with_its_place():
    """The longest passage is marked where it begins, also when it is inside other text, at an end or the whole text."""
    rng = np.random.default_rng(0)
    training = "".join(rng.choice(list(LETTERS), 5000))
    middle, end, whole = training[1000:1042], training[4970:], training[:30]
    other = "".join(rng.choice(list(LETTERS), 40))
    results = copied(ids(training), [ids(other + middle + other), ids(other + end), ids(whole), ids("")])
    assert results[0].length >= 42
    assert results[0].first <= 40 < results[0].first + results[0].length
    assert results[0].place - results[0].first == 1000 - 40
    assert results[0].share == pytest.approx(share(training, other + middle + other))
    assert (results[1].length, results[1].place + results[1].length) == (30, 5000)
    assert results[2] == Copied(0, 30, 0, 1.0)
    assert results[3] == Copied(0, 0, 0, None)


@given(st.text("abc", max_size=300), st.lists(st.text("abc", max_size=60), max_size=4), st.data())
def test_length_and_share_are_those_of_a_search_for_all_substrings(
    training: str, texts: list[str], data: st.DataObject
):
    """Repetitive texts of three letters, with pieces of the training text in them."""
    if len(training) > 30:
        at = data.draw(st.integers(0, len(training) - 30))
        texts = [*texts, "c" * 5 + training[at : at + 30] + "b"]
    for text, result in zip(texts, copied(ids(training), [ids(text) for text in texts]), strict=True):
        right = longest(training, text)
        assert result.length == (right if right >= 5 else 0)
        assert result.share == (None if len(text) < 20 else pytest.approx(share(training, text)))
        passage = text[result.first : result.first + result.length]
        assert passage == training[result.place : result.place + result.length]


def test_blocks_and_large_vocabularies(monkeypatch: pytest.MonkeyPatch):
    """A passage across the limit of two blocks counts whole, and ids above 255 stay distinct."""
    monkeypatch.setattr(module, "BLOCK", 64)
    rng = np.random.default_rng(1)
    training = rng.integers(0, 6000, 1000).astype(np.uint16)
    (result,) = copied(training, [training[50:130]])
    assert result == Copied(0, 80, 50, 1.0)
    (result,) = copied(training, [training[50:130] & 255])
    assert result.share == 0.0


def test_a_text_of_one_letter_ends_in_time(monkeypatch: pytest.MonkeyPatch):
    """Every window is at every place; only some of the pairs are compared, and the result is right."""
    monkeypatch.setattr(module, "PAIRS", 1000)
    assert copied(np.zeros(50_000, np.uint8), [np.zeros(300, np.uint8)]) == [Copied(0, 300, 0, 1.0)]
