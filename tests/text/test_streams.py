"""Streams, compared with plain Python: each is read as min-char-rnn reads its text."""

import numpy as np
import pytest
from helpers.properties import modest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.backend.base import Backend
from charrnn.backend.numpy import NumpyBackend
from charrnn.text import Corpus, Part, Streams, fit_batch, from_text, streams


def ancestor(ids: list[int], T: int, steps: int) -> list[tuple[list[int], list[int], bool]]:
    """Return inputs, targets and whether the state is reset for each step, by the loop of min-char-rnn.py."""
    p, result = 0, []
    for n in range(steps):
        reset = p + T + 1 >= len(ids) or n == 0
        if reset:
            p = 0
        result.append((ids[p : p + T], ids[p + 1 : p + T + 1], reset))
        p += T
    return result


def column(stream: Streams, b: int, steps: int) -> list[tuple[list[int], list[int], bool]]:
    """Return what stream b gives for each step, in the form of `ancestor`."""
    result = []
    for step in range(steps):
        index, row = stream.chunk(step)
        keep = stream.keep(step)
        ids = stream.ids[row : row + stream.seq_length + 1, b].tolist()
        result.append((ids[:-1], ids[1:], not keep[0, b]))
        assert keep[1:].all()
        assert stream.resets(step) == (not keep.all()) == (index == 0)
    return result


@modest
@given(st.integers(2, 200), st.integers(1, 5), st.integers(1, 40))
@example(52, 1, 25)
@example(51, 1, 25)
@example(2, 1, 1)
def test_streams_are_read_as_min_char_rnn_reads(length: int, B: int, T: int) -> None:
    """Each stream has the inputs, targets and resets of min-char-rnn on its part of the text, in several sweeps."""
    B, T = fit_batch(length, B, T)
    part = Part(np.arange(length, dtype=np.uint8))
    stream = streams(part, B, T)
    span, steps = length // B, 3 * stream.chunks + 2
    for b in range(B):
        assert column(stream, b, steps) == ancestor(list(range(b * span, (b + 1) * span)), T, steps)


@modest
@given(st.integers(2, 120), st.integers(1, 4), st.integers(1, 20), st.sets(st.integers(1, 119), max_size=30))
def test_documents_start_from_a_zero_state(length: int, B: int, T: int, starts: set[int]) -> None:
    """The state is reset exactly before the first chunk and before each character that starts a document."""
    B, T = fit_batch(length, B, T)
    stream = streams(Part(np.zeros(length, np.uint8), np.array(sorted(s for s in starts if s < length), int)), B, T)
    for index in range(stream.chunks):
        expected = [
            [int(index * T + t > 0 and b * (length // B) + index * T + t not in starts) for b in range(B)]
            for t in range(T)
        ]
        assert stream.keep(index).tolist() == expected
        assert stream.resets(index) == any(0 in row for row in expected)


@modest
@given(
    st.integers(2, 300),
    st.integers(1, 4),
    st.integers(1, 20),
    st.sets(st.integers(1, 299), max_size=30),
    st.integers(0, 9),
)
@example(2, 1, 1, set(), 0)
def test_sweeps_with_an_offset(length: int, B: int, T: int, starts: set[int], seed: int) -> None:
    """Chunks of a sweep follow one another in the stream, from a row below T; states are reset at documents' starts."""
    B, T = fit_batch(length, B, T)
    span = length // B
    part = Part(np.arange(length, dtype=np.uint16), np.array(sorted(s for s in starts if s < length), int))
    stream = streams(part, B, T, seed)
    firsts = set()
    for step in range(12 * stream.chunks):
        index, row = stream.chunk(step)
        sweep, index_there = divmod(step, stream.chunks)
        first = stream.chunk(sweep * stream.chunks)[1]
        firsts.add(first)
        assert (index, row) == (index_there, first + index * T)
        assert 0 <= row <= span - T - 1
        expected = [
            [int(not (index == t == 0) and (b * span + row + t not in starts)) for b in range(B)] for t in range(T)
        ]
        assert stream.keep(step).tolist() == expected
        assert stream.resets(step) == any(0 in line for line in expected)
    assert max(firsts) < 2 * T
    if span > 3 * T > 9:
        assert len(firsts) > 1
    late = [stream.chunk(sweep * stream.chunks)[1] for sweep in range(40 * T)]
    assert max(late) + stream.chunks * T == span - 1, "the end of the text is never reached"


@modest
@given(st.integers(2, 3000), st.integers(1, 100), st.integers(1, 200))
@example(2, 32, 64)
def test_fit_batch(length: int, B: int, T: int) -> None:
    """B is reduced as far as a chunk of each stream needs, then T; a batch that fits is not changed."""
    fitting = [(b, T) for b in range(1, B + 1) if b * (T + 1) <= length]
    assert fit_batch(length, B, T) == (fitting[-1] if fitting else (1, length - 1))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_streams_copy_nothing(dtype: str) -> None:
    """Streams, also those of a part of a corpus, are views of its ids, which may be read-only."""
    ids = np.arange(103).astype(dtype)
    ids.flags.writeable = False
    corpus = Corpus("c", ids, np.zeros(1, int), from_text("ab").vocabulary, "")
    train, validation = corpus.split(0.2)
    for part in (train, validation):
        stream = streams(part, 5, 3)
        assert np.shares_memory(stream.ids, ids)
        assert stream.ids.tolist() == [
            [int(part.ids[b * (len(part.ids) // 5) + n]) for b in range(5)] for n in range(len(part.ids) // 5)
        ]


def test_ids_are_not_copied_on_the_cpu() -> None:
    """Steps on the CPU read the streams themselves; every other device gets a copy."""
    ids = np.arange(6, dtype=np.uint8).reshape(2, 3).T
    assert NumpyBackend().resident(ids) is ids
    copied = Backend(np, None, name="other", label="other").resident(ids)
    assert copied.tolist() == ids.tolist()
    assert not np.shares_memory(copied, ids)
