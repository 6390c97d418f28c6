"""A corpus in a vocabulary that has more characters than its text."""

from __future__ import annotations

from unittest import mock

from helpers.texts import caching, expected, files
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.text import cache, from_files, from_text, widen


@settings(deadline=None, max_examples=80)
@given(st.text("ab\né日😀", min_size=2, max_size=40), st.text("a\0cé日\U0010ffff", max_size=6), st.integers(1, 9))
@example("ab", "".join(chr(n) for n in range(300, 600)), 3)
def test_a_corpus_in_a_wider_vocabulary(text: str, more: str, block: int) -> None:
    """In memory and in the cache: the union, sorted; ids by it; 0 for characters that the text lacks; the same hash."""
    union = sorted({*text, *more})
    with files(text.encode()) as names:
        for small in (10**6, 1):
            with caching(small=small, block=block), mock.patch("charrnn.text.build.BLOCK", block):
                corpora = [widen(from_files(names), more)]
                if small == 1:
                    with mock.patch.object(cache, "save", side_effect=AssertionError("made again")):
                        corpora.append(widen(from_files(names), more))
                    assert from_files(names).vocabulary.characters == "".join(sorted(set(text)))
                    other = widen(from_files(names), more + "\1")
                    assert other.vocabulary.characters == "".join(sorted({*union, "\1"}))
                    assert other.vocabulary.decode(other.ids) == text
                for corpus in corpora:
                    assert corpus.vocabulary.characters == "".join(union)
                    assert corpus.vocabulary.counts == tuple(map(text.count, union))
                    assert corpus.ids.tolist() == [union.index(c) for c in text]
                    assert corpus.ids.dtype == corpus.vocabulary.dtype
                    assert (corpus.sha256, corpus.starts.tolist()) == (expected(text).sha256, [0])
                    assert corpus.vocabulary.used == from_text(text).vocabulary
