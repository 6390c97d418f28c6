"""A corpus is the same in RAM, from the disk, or mapped from the cache."""

import gzip
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import BinaryIO
from unittest import mock

import pytest
from helpers.properties import modest
from helpers.texts import MARK, caching, check, documents, expected, files, split_text, texts_with_separators
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import cache, from_files, from_text, sources, widen

ALPHABETS = ["ab \n", "\1aé", "aé\u0416", "x日\u4e00😀\U0010ffff", "".join(chr(n) for n in range(32, 900))]
texts = st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, max_size=60))
unicode_texts = st.text(st.characters(codec="utf-8"), max_size=40)
file_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\r\n\1"), max_size=31)
many = settings(modest, max_examples=150)


def block_size(size: int) -> mock._patch:
    """Read `size` bytes or characters at a time."""
    return mock.patch.object(sources, "BLOCK", size)


@modest
@given(st.lists(texts, min_size=1, max_size=4).filter(lambda t: sum(map(len, t)) >= 2), st.integers(1, 9))
@example(["ab", "", "é" * 9], 1)
@example(["\1é", "é\1x"], 9)
@example(["".join(chr(n) for n in range(0x100, 0x190)) + "abc", "a😀b"], 4)
def test_every_way_gives_the_same_corpus(contents: list[str], block: int) -> None:
    """In RAM, from the disk and from the cache: ids, type, starts, vocabulary, counts and hash of plain Python."""
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


@modest
@given(unicode_texts.filter(lambda text: len(text) >= 2), st.integers(1, 9))
def test_ids_follow_code_points(text: str, size: int) -> None:
    """The vocabulary is the sorted characters with their counts; decoding the ids gives the text."""
    with block_size(size):
        corpus = from_text(text)
    characters = sorted(set(text), key=ord)
    assert corpus.vocabulary.characters == "".join(characters)
    assert corpus.vocabulary.counts == tuple(text.count(c) for c in characters)
    assert len(corpus.vocabulary) == len(characters)
    assert corpus.ids.tolist() == [characters.index(c) for c in text]
    assert corpus.starts.tolist() == [0]
    assert corpus.vocabulary.encode(text).tolist() == corpus.ids.tolist()
    assert corpus.vocabulary.decode(corpus.ids) == text


@pytest.mark.parametrize(("first", "last"), [(0, 300), (128, 300), (0x100, 0x1F4), (0x4E00, 0x4E00 + 60_000)])
def test_many_characters(first: int, last: int) -> None:
    """Vocabularies of about 256 characters, with ASCII or not, and of 60,000, in RAM and from the disk."""
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
    """A text in another encoding, or with a byte order mark, gives the corpus of the text in UTF-8 without one."""
    with files(text.encode(encoding)) as names, caching():
        for _ in range(2):
            check(from_files(names, encoding), text)


def test_files_with_byte_order_marks_are_cached() -> None:
    """They share the entry of the same text without marks; a file with only a mark is no document."""
    with files(MARK + "aé".encode(), MARK, MARK + MARK + b"b") as names, caching():
        for again in range(2):
            hidden = mock.patch.object(sources, "pieces", side_effect=AssertionError) if again else mock.Mock()
            with hidden if again else TemporaryDirectory():
                check(from_files(names), "aé", "\ufeffb")


@pytest.mark.parametrize("suffix", [".gz", "pipe", "-"])
def test_sources_of_unknown_size_are_cached(suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Gzip, a pipe and standard input are cached too, and use the entry the second time.

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
    """An entry is found by its text: a changed file of the same size is another text."""
    with files(b"abcabc") as names, caching():
        for text in ("abcabc", "abcabd", "abcabc"):
            Path(names[0]).write_text(text)
            check(from_files(names), text)
        assert from_files(names * 2).starts.tolist() == [0]


@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_shrinks_while_it_is_read(known: bool, tmp_path: Path) -> None:
    """The corpus is what was read, whether the text is cached or not."""
    path = tmp_path / "t.txt"
    path.write_bytes(b"abcdefgh" * 9000)
    with caching(block=9000):
        if known:
            from_files([str(path)])
        right = sources.chunks_of

        def shrinking(name: str, stream: BinaryIO) -> Iterator[bytes]:
            for number, chunk in enumerate(right(name, stream)):
                if number == 1:
                    os.truncate(name, 20_000)
                yield chunk

        with mock.patch.object(sources, "chunks_of", shrinking):
            corpus = from_files([str(path)])
        check(corpus, corpus.vocabulary.decode(corpus.ids))
        assert 9000 < len(corpus.ids) < 72_000


@pytest.mark.parametrize("text", ["", "é"])
def test_a_text_that_is_too_short(text: str) -> None:
    """A text of fewer than two characters is an error with their number, from a string or a file."""
    with pytest.raises(TextError, match=f"here: {len(text)} characters"):
        from_text(text, "here")
    with files(text.encode()) as names, pytest.raises(TextError, match=f"000.txt: {len(text)} characters"):
        from_files(names)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_lone_surrogate_is_an_error(size: int) -> None:
    """A lone surrogate is an error with its position in the whole text."""
    with block_size(size), pytest.raises(TextError, match=r"character 5 .*'\\udc80'"):
        from_text("abcde\udc80f")
    with pytest.raises(TextError, match=r"character 1 .*'\\ud800'"):
        from_text("ab").vocabulary.encode("a\ud800", unknown="skip")


@modest
@given(st.lists(file_texts, min_size=1, max_size=4).filter(lambda contents: len("".join(contents)) >= 2))
def test_each_file_is_a_document(contents: list[str]) -> None:
    """A document starts with each file that is not empty."""
    contents = [content.replace("\ufeff", "") + "ab" * (n == 0) for n, content in enumerate(contents)]
    corpus = documents(*contents)
    assert corpus.vocabulary.decode(corpus.ids) == "".join(contents)
    assert corpus.starts.tolist() == [len("".join(contents[:n])) for n, content in enumerate(contents) if content]


@modest
@given(file_texts.filter(lambda text: len(text) >= 3), st.integers(1, 9), st.data())
def test_the_hash_is_of_text_and_documents(text: str, size: int, data: st.DataObject) -> None:
    """The hash does not depend on the source or its blocks; it changes when the end of a document moves."""
    text = text.replace("\ufeff", "x")
    with block_size(size):
        whole = documents(text).sha256
    first, second = data.draw(st.lists(st.integers(1, len(text) - 1), min_size=2, max_size=2, unique=True))
    cut = [documents(text[:at], text[at:]).sha256 for at in (first, second)]
    assert whole == from_text(text, "another name").sha256
    assert len({whole, *cut, from_text(text + "x").sha256}) == 4


@many
@given(texts_with_separators(), st.text("ab\n", min_size=2, max_size=9), st.integers(1, 9))
@example(("a\n\nb", "\n"), "ab", 1)
def test_a_separator_splits_files(case: tuple[str, str], other: str, block: int) -> None:
    """The corpus is that of one file for each document: in RAM, from the disk and from the cache."""
    text, separator = case
    parts = split_text(text, separator) + split_text(other, separator)
    with files(text.encode(), other.encode()) as names:
        for small in (10**6, 1):
            with caching(small=small, block=block):
                check(from_files(names, separator=separator), *parts)
                if small == 1:
                    with mock.patch.object(sources, "pieces", side_effect=AssertionError("encoded again")):
                        check(from_files(names, separator=separator), *parts)
                    check(from_files(names), text, other)
        with caching(small=10**6, block=block):
            check(from_text(other, separator=separator), *split_text(other, separator))


def test_line_ends_are_not_converted() -> None:
    """A separator of two newlines does not split a text with carriage returns."""
    assert from_text("ab\r\n\r\ncd", separator="\n\n").starts.tolist() == [0]
    assert from_text("ab\r\n\r\ncd", separator="\r\n\r\n").starts.tolist() == [0, 6]


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name `-` stands for standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("\ufeffhé\r\n".encode())))
    corpus = from_files(["-"])
    assert (corpus.name, corpus.vocabulary.decode(corpus.ids)) == ("standard input", "hé\r\n")


def test_the_embedded_corpus() -> None:
    """Without names the corpus is Python's reference topics, over 400,000 characters."""
    corpus = from_files([])
    assert corpus.name == "python-topics"
    assert len(corpus.ids) > 400_000
    assert corpus.vocabulary.decode(corpus.ids).startswith('The "assert" statement')


@settings(deadline=None, max_examples=80)
@given(st.text("ab\né日😀", min_size=2, max_size=40), st.text("a\0cé日\U0010ffff", max_size=6), st.integers(1, 9))
@example("ab", "".join(chr(n) for n in range(300, 600)), 3)
def test_a_wider_vocabulary(text: str, more: str, block: int) -> None:
    """In RAM and in the cache: the sorted union and its ids, counts of 0 for unknown characters, the same hash."""
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
