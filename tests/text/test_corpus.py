"""A corpus, its splits and the start of its documents, compared with plain Python."""

from itertools import pairwise
from unittest import mock

import numpy as np
from helpers.properties import modest
from helpers.texts import documents, split_text, texts_with_separators
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from charrnn.text import Part, document_starts, from_text
from charrnn.text.corpus import split_documents

many = settings(modest, max_examples=150)


@modest
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
@example([20], 0.1)
@example([10], 0.1)
@example([4], 0.75)
def test_split(lengths: list[int], fraction: float) -> None:
    """The validation split starts at int(N * (1 - f)); it is None if one of the two would have under two characters."""
    assume(sum(lengths) >= 2)
    corpus = documents(*("abcdefghijklmnopqrst"[:n] for n in lengths))
    size = sum(lengths)
    cut = int(size * (1 - fraction))
    cut = cut if 2 <= cut <= size - 2 else size
    train, validation = corpus.split(fraction)
    assert (validation is None) == (cut == size)
    for part, first, last in [(train, 0, cut), (validation, cut, size)][: 2 - (validation is None)]:
        assert part.ids.tolist() == corpus.ids.tolist()[first:last]
        assert part.starts.tolist() == [n - first for n in range(first + 1, last) if n in corpus.starts]


@modest
@given(st.text("\0aé日😀\U0010ffff", min_size=2, max_size=60), st.integers(1, 9))
def test_utf8(text: str, block: int) -> None:
    """`utf8` yields the text in blocks."""
    with mock.patch("charrnn.text.corpus.BLOCK", block):
        parts = list(from_text(text).utf8())
    assert b"".join(parts) == text.encode()
    assert len(parts) == -(-len(text) // block)


@many
@given(st.sets(st.integers(1, 60), max_size=9), st.lists(st.integers(0, 60), min_size=1, max_size=9))
def test_is_start(starts: set[int], positions: list[int]) -> None:
    """A document starts at position 0 and at each start; the head of a part has no start behind its end."""
    part = Part(np.zeros(61, np.uint8), np.array(sorted(starts), int))
    assert part.is_start(np.array([positions])).tolist() == [[n == 0 or n in starts for n in positions]]
    assert part.head(30).starts.tolist() == sorted(n for n in starts if n < 30)


@many
@given(texts_with_separators(), st.lists(st.integers(0, 30)))
@example(("ab--cd", "--"), [3])
@example(("------a------b--", "--"), [1, 2, 3, 4, 5, 6, 7, 8])
@example(("aaaaab", "aa"), [2, 3])
def test_split_documents_in_any_blocks(case: tuple[str, str], cuts: list[int]) -> None:
    """Blocks of any size, of characters or UTF-8, give the text and the documents that `str.find` gives."""
    text, separator = case
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    blocks = [text[a:b] for a, b in pairwise(places)]
    expected = split_text(text, separator)
    for given_blocks, mark in ((blocks, separator), ([b.encode() for b in blocks], separator.encode())):
        whole, found = mark[:0], [0]
        for block, begun in split_documents(given_blocks, mark):
            assert block
            found += [len(whole) + at for at in begun]
            whole += block
        assert whole == mark[:0].join(given_blocks)
        assert [whole[a:b] for a, b in zip(found, [*found[1:], None], strict=True) if whole] == [
            d if isinstance(whole, str) else d.encode() for d in expected
        ]
    assert document_starts(text, separator).tolist() == [len("".join(expected[:n])) for n in range(1, len(expected))]
