"""A corpus is the same by whichever way it is made: from memory, spilled to the disk, or mapped from the cache."""

import gzip
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from helpers.properties import modest
from helpers.texts import MARK, caching, check, expected, files
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import cache, from_files, from_text, sources, vocabulary

ALPHABETS = ["ab \n", "\0aé", "aé\u0416", "x日\u4e00😀\U0010ffff", "".join(chr(n) for n in range(32, 900))]
texts = st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, max_size=60))


@modest
@given(st.lists(texts, min_size=1, max_size=4).filter(lambda t: sum(map(len, t)) >= 2), st.integers(1, 9))
@example(["ab", "", "é" * 9], 1)
@example(["\0é", "é\0x"], 9)
@example(["".join(chr(n) for n in range(0x100, 0x190)) + "abc", "a😀b"], 4)
def test_every_way_gives_the_same_corpus(contents: list[str], block: int) -> None:
    """Memory, spill and cache agree with a dictionary loop: ids, type, starts, vocabulary, counts, hash."""
    with files(*(content.encode() for content in contents)) as names:
        with caching(small=10**6, block=block) as folder:
            check(from_files(names), *contents)
            assert not folder.exists()
        with caching(small=1, block=block) as folder:
            check(from_files(names), *contents)
            assert [path.name for path in folder.iterdir()] == [expected(*contents).sha256]
            with mock.patch.object(sources, "pieces", side_effect=AssertionError("encoded again")):
                mapped = from_files(names)
            check(mapped, *contents)
            assert not mapped.ids.flags.writeable
            assert mapped.name == from_files(names).name == (names[0] if len(names) == 1 else f"{len(names)} files")
    if len(contents) == 1:
        with caching(small=1, block=block):
            check(from_text(contents[0]), *contents)


@pytest.mark.parametrize(("first", "last"), [(0, 300), (128, 300), (0x100, 0x1F4), (0x4E00, 0x4E00 + 60_000)])
def test_many_characters(first: int, last: int) -> None:
    """Vocabularies around 256 characters, with and without ASCII, and of 60,000, in memory and spilled."""
    text = "".join(chr(n) for n in range(first, last + 2048) if not 0xD800 <= n < 0xE000)[: last - first]
    text = text + text[::-1] + text[0]
    for small in (1, 10**9):
        with caching(small=small, block=5000):
            corpus = from_text(text)
            assert corpus.vocabulary.decode(corpus.ids) == text
            assert corpus.vocabulary.characters == "".join(sorted(set(text)))
            assert corpus.vocabulary.counts == (3, *[2] * (last - first - 1))
            assert corpus.ids.dtype == expected(text).dtype


@modest
@given(texts.filter(lambda text: len(text) >= 2), st.sampled_from(["utf-16", "utf-32-be", "gb18030", "utf-8-sig"]))
def test_other_encodings_and_marks(text: str, encoding: str) -> None:
    """A text in another encoding, or with a byte order mark, gives the corpus of the same text without."""
    with files(text.encode(encoding)) as names, caching():
        for _ in range(2):
            check(from_files(names, encoding), text)


def test_a_marked_file_is_found_again() -> None:
    """Files with byte order marks are mapped from the entry of the same text without; a mark alone is no document."""
    with files(MARK + "aé".encode(), MARK, MARK + MARK + b"b") as names, caching():
        for again in range(2):
            hidden = mock.patch.object(sources, "pieces", side_effect=AssertionError) if again else mock.Mock()
            with hidden if again else TemporaryDirectory():
                check(from_files(names), "aé", "\ufeffb")


@pytest.mark.parametrize("suffix", [".gz", "pipe", "-"])
def test_streams_of_unknown_size_are_spilled(suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Gzip, a pipe and standard input go through the same spill, and a second time give the entry that is there.

    A .gz is not even encoded again.
    """
    text = "Zwölf Boxkämpfer 😀\n" * 9
    for again in range(2):
        if again:
            monkeypatch.setattr(cache, "save", None)
        if again and suffix == ".gz":
            monkeypatch.setattr(sources, "pieces", None)
        if suffix == ".gz":
            name = str(tmp_path / "t.gz")
            Path(name).write_bytes(gzip.compress(text.encode()))
        elif suffix == "pipe":
            name = str(tmp_path / "pipe")
            Path(name).unlink(missing_ok=True)
            os.mkfifo(name)
            threading.Thread(target=Path(name).write_bytes, args=(text.encode(),)).start()
        else:
            name = "-"
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(cache, "SMALL", 20)
        check(from_files([name]), text)
        assert len(list((tmp_path / "charrnn").iterdir())) == 1


def test_another_text_of_the_same_size_is_encoded() -> None:
    """An entry is found by its content: an equal size alone, or the same file changed, is another text."""
    with files(b"abcabc") as names, caching():
        for text in ("abcabc", "abcabd", "abcabc"):
            Path(names[0]).write_text(text)
            check(from_files(names), text)
        assert from_files(names * 2).starts.tolist() == [0]


@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_shrinks_while_it_is_read(known: bool, tmp_path: Path) -> None:
    """What was read counts, whether the file was in the cache or not."""
    path = tmp_path / "t.txt"
    path.write_bytes(b"abcdefgh" * 9000)
    with caching(block=9000):
        if known:
            from_files([str(path)])
        right = sources.chunks

        def shrinking(name: str) -> Iterator[bytes]:
            for number, chunk in enumerate(right(name)):
                if number == 1:
                    os.truncate(name, 20_000)
                yield chunk

        with mock.patch.object(sources, "chunks", shrinking):
            corpus = from_files([str(path)])
        check(corpus, corpus.vocabulary.decode(corpus.ids))
        assert 9000 < len(corpus.ids) < 72_000


@modest
@given(st.text("abé日😀x", max_size=50), st.integers(1, 9), st.sampled_from(["error", "skip", "replace"]))
def test_vocabulary_encodes_in_blocks(text: str, block: int, unknown: str) -> None:
    """Encoding a text gives what a dictionary gives, whatever the size of the blocks."""
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


@modest
@given(texts.filter(lambda text: len(text) >= 2), st.integers(1, 9))
def test_a_corpus_gives_its_text_back(text: str, block: int) -> None:
    """`utf8` is the text as it was, in blocks."""
    with mock.patch("charrnn.text.corpus.BLOCK", block):
        parts = list(from_text(text).utf8())
    assert b"".join(parts) == text.encode()
    assert len(parts) == -(-len(text) // block)


def test_a_lone_surrogate_is_counted_from_the_start() -> None:
    """Half a character in a text to encode is named by its place in the whole text."""
    with mock.patch.object(vocabulary, "BLOCK", 2), pytest.raises(TextError, match=r"character 5 .*'\\udc80'"):
        from_text("abé").vocabulary.encode("aabéa\udc80")
