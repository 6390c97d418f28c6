"""Reading and vocabulary, against plain-Python oracles."""

import gzip
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.properties import modest
from helpers.texts import MARK, documents, files
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import blocks, from_files, from_text, sources

texts = st.text(st.characters(codec="utf-8"), max_size=40)


def block_size(size: int) -> mock._patch:
    """Read `size` bytes or characters at a time."""
    return mock.patch.object(sources, "BLOCK", size)


@modest
@given(texts.filter(lambda text: len(text) >= 2), st.integers(1, 9))
def test_ids_follow_code_points_and_come_back(text: str, size: int) -> None:
    """The vocabulary is the sorted characters with their counts, ids index it, and decoding undoes encoding."""
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


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "u1"), (2, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")]
)
def test_ids_take_the_smallest_type(size: int, dtype: str) -> None:
    """Ids are of the smallest unsigned type that holds every one, and survive in it."""
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
    """The error names the text and up to ten of its unknown characters, and mentions --unknown."""
    with pytest.raises(TextError) as caught:
        from_text("ab").vocabulary.encode(text, what="the prompt")
    assert shown in str(caught.value)
    assert "--unknown" in str(caught.value)


@modest
@given(st.text("ab cxyz\ufffd€"), st.sampled_from([("aab \ufffd", "\ufffd"), ("aab ", " "), ("abbc", "b")]))
def test_unknown_characters_are_skipped_or_replaced(text: str, case: tuple[str, str]) -> None:
    """`skip` leaves unknown characters out; `replace` puts U+FFFD, else a space, else the commonest character."""
    known, substitute = case
    vocabulary = from_text(known).vocabulary
    skipped = vocabulary.decode(vocabulary.encode(text, unknown="skip"))
    replaced = vocabulary.decode(vocabulary.encode(text, unknown="replace"))
    assert skipped == "".join(c for c in text if c in known)
    assert replaced == "".join(c if c in known else substitute for c in text)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_lone_surrogate_is_an_error(size: int) -> None:
    """Half a character is refused with its position in the whole text."""
    with block_size(size), pytest.raises(TextError, match=r"character 5 .*'\\udc80'"):
        from_text("abcde\udc80f")
    with pytest.raises(TextError, match=r"character 1 .*'\\ud800'"):
        from_text("ab").vocabulary.encode("a\ud800", unknown="skip")


@modest
@given(texts, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "latin-1", "gb18030"]), st.integers(1, 9))
@example("é€😀\r\n", "utf-8", 1)
@example("é€😀\r\n", "utf-16", 3)
@example("ï»¿a", "latin-1", 2)
@example("abcdef\ufeffx", "utf-8", 3)
def test_blocks_join_to_the_whole_text(text: str, encoding: str, size: int) -> None:
    """Reading block by block equals decoding at once, wherever the blocks part a character."""
    content = text.encode(encoding, "ignore")
    with files(content) as (name,), block_size(size):
        read = list(blocks(name, encoding))
    assert "".join(read) == content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    assert "" not in read


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_bom_is_dropped(encoding: str, size: int) -> None:
    """One byte order mark at the start of UTF-8 goes; a second one and CRLF stay."""
    with files(MARK + MARK + b"a\r\nb\r") as (name,), block_size(size):
        assert "".join(blocks(name, encoding)) == "\ufeffa\r\nb\r"


@modest
@given(texts, texts, st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "U8"]), st.integers(1, 9))
def test_wrong_byte_is_named(before: str, after: str, marked: bool, encoding: str, size: int) -> None:
    """A byte that UTF-8 never has gives an error with the file, the byte's offset in it and another encoding."""
    head = MARK * marked + before.encode()
    with files(head + b"\xff" + after.encode()) as (name,):
        with block_size(size), pytest.raises(TextError) as caught:
            list(blocks(name, encoding))
        assert str(caught.value).startswith(f"{name}: byte {len(head)} (0xFF) is not {encoding}; ")
    assert str(caught.value).endswith("--encoding latin-1")


@pytest.mark.parametrize(
    ("content", "encoding", "where", "hint"),
    [
        (b"ab\xe2\x82", "utf-8", "byte 2 (0xE2)", "latin-1"),
        (b"ab\xe2\x82cd", "utf-8", "byte 2 (0xE2)", "latin-1"),
        (b"abc\x81", "cp1252", "byte 3 (0x81)", "utf-8"),
        (b"a\0b\0c", "utf-16-le", "byte 4 (0x63)", "utf-8"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_broken_character_is_named(content: bytes, encoding: str, where: str, hint: str, size: int) -> None:
    """A character cut short, or a byte without meaning, is named by its first byte, with another encoding to try."""
    with files(content) as (name,), block_size(size), pytest.raises(TextError) as caught:
        list(blocks(name, encoding))
    assert f"{where} is not {encoding}; " in str(caught.value)
    assert str(caught.value).endswith(f"--encoding {hint}")


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "rot13", "", "a\0", "\udcff"])
def test_unknown_encoding_is_an_error(encoding: str) -> None:
    """A name that is no text encoding is an error that shows it."""
    with files(b"abc") as (name,), pytest.raises(TextError) as caught:
        from_files([name], encoding)
    assert f"no text encoding {encoding!r}" in str(caught.value)


@modest
@given(st.data())
def test_gzip_gives_its_text_or_an_error(data: st.DataObject) -> None:
    """A .gz file is unpacked; cut short or with a byte changed it gives a TextError, never other text."""
    text = "".join(chr(n) for n in range(32, 400))
    whole = gzip.compress(text.encode(), mtime=0)
    with files(whole, suffix=".gz") as (name,):
        assert "".join(blocks(name, "utf-8")) == text
        Path(name).write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
        with pytest.raises(TextError, match=r"000\.gz: cannot be read"):
            list(blocks(name, "utf-8"))
        damaged = bytearray(whole)
        damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        Path(name).write_bytes(damaged)
        with suppress(TextError):
            assert "".join(blocks(name, "utf-8")) == text


@pytest.mark.parametrize("text", ["", "é"])
def test_too_short_is_an_error(text: str) -> None:
    """Less than two characters are refused, with their number, from a string or a file."""
    with pytest.raises(TextError, match=f"here: {len(text)} characters"):
        from_text(text, "here")
    with files(text.encode()) as names, pytest.raises(TextError, match=f"000.txt: {len(text)} characters"):
        from_files(names)


@modest
@given(st.lists(texts, min_size=1, max_size=4).filter(lambda contents: len("".join(contents)) >= 2))
def test_each_file_is_a_document(contents: list[str]) -> None:
    """Files follow one another; each that has a character begins a document."""
    contents = [content.replace("\ufeff", "") + "ab" * (n == 0) for n, content in enumerate(contents)]
    corpus = documents(*contents)
    assert corpus.vocabulary.decode(corpus.ids) == "".join(contents)
    assert corpus.starts.tolist() == [len("".join(contents[:n])) for n, content in enumerate(contents) if content]


@modest
@given(texts.filter(lambda text: len(text) >= 3), st.integers(1, 9), st.data())
def test_hash_is_of_text_and_cuts(text: str, size: int, data: st.DataObject) -> None:
    """The hash is the same from a string or a file in blocks of any size, and another when a document's cut moves."""
    text = text.replace("\ufeff", "x")
    with block_size(size):
        whole = documents(text).sha256
    first, second = data.draw(st.lists(st.integers(1, len(text) - 1), min_size=2, max_size=2, unique=True))
    cut = [documents(text[:at], text[at:]).sha256 for at in (first, second)]
    assert whole == from_text(text, "another name").sha256
    assert len({whole, *cut, from_text(text + "x").sha256}) == 4
