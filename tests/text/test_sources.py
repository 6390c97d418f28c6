"""Names of texts, and reading them, compared with plain Python."""

import gzip
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from unittest import mock

import pytest
from helpers.properties import modest
from helpers.texts import MARK, files
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import TextError
from charrnn.text import blocks, expand, from_files, sources

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=31)


def block_size(size: int) -> mock._patch:
    """Read `size` bytes or characters at a time."""
    return mock.patch.object(sources, "BLOCK", size)


def test_names_expand_in_order(tmp_path: Path) -> None:
    """A folder stands for its visible text files, a pattern for its matches, both sorted; no file appears twice."""
    kept = ["a/deep/y.txt", "a/z.txt", "b.gz", "c.txt", "d[1].md"]
    left_out = [".hidden", ".git/config", "a/.x.txt", "image.bin", "damaged.gz"]
    for name in [*kept, *left_out]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"PNG\0" if name == "image.bin" else b"text")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"text"))
    paths = [str(tmp_path / name) for name in kept]
    assert expand([str(tmp_path)]) == paths
    assert expand([str(tmp_path / "**" / "*.txt")]) == [p for p in paths if p.endswith(".txt")]
    assert expand([paths[4], paths[3], str(tmp_path / "?.txt"), "-"]) == [paths[4], paths[3], "-"]


def test_the_order_is_the_same_on_windows() -> None:
    """Paths of Windows and of POSIX have one order, so that a folder is the same text on both."""
    names = ["B.txt", "a/Z.txt", "a/b.txt", "a-b.txt", "c.txt"]
    for kind in (PurePosixPath, PureWindowsPath):
        assert [path.as_posix() for path in sources.in_order(map(kind, reversed(names)))] == names


def test_names_that_stand_for_no_file(tmp_path: Path) -> None:
    """A missing file, a pattern or folder without a text, and a very long name are errors that name them."""
    (tmp_path / ".hidden").write_text("text")
    for name in [str(tmp_path / "none.txt"), str(tmp_path / "*.txt"), "a\0b", "x" * 5000]:
        with pytest.raises(TextError, match=r"no such file|cannot be read") as caught:
            from_files([name])
        assert str(caught.value).startswith(f"{name}: ")
    with pytest.raises(TextError, match="holds no text file"):
        from_files([str(tmp_path)])
    with pytest.raises(TextError, match="cannot be read"):
        list(blocks(str(tmp_path), "utf-8"))


@modest
@given(texts, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "latin-1", "gb18030"]), st.integers(1, 9))
@example("é€😀\r\n", "utf-8", 1)
@example("é€😀\r\n", "utf-16", 3)
@example("ï»¿a", "latin-1", 2)
@example("abcdef\ufeffx", "utf-8", 3)
def test_blocks_are_the_whole_text(text: str, encoding: str, size: int) -> None:
    """Reading block by block equals decoding at once, also where a block ends inside a character."""
    content = text.encode(encoding, "ignore")
    with files(content) as (name,), block_size(size):
        read = list(blocks(name, encoding))
    assert "".join(read) == content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    assert "" not in read


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_byte_order_mark_is_dropped(encoding: str, size: int) -> None:
    """One byte order mark at the start of UTF-8 is dropped; a second one and line ends stay."""
    with files(MARK + MARK + b"a\r\nb\r") as (name,), block_size(size):
        assert "".join(blocks(name, encoding)) == "\ufeffa\r\nb\r"


@modest
@given(texts, texts, st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "U8"]), st.integers(1, 9))
def test_a_wrong_byte(before: str, after: str, marked: bool, encoding: str, size: int) -> None:
    """A byte that UTF-8 never has is an error with the file, the byte's offset and the option for another encoding."""
    head = MARK * marked + before.encode()
    with files(head + b"\xff" + after.encode()) as (name,):
        with block_size(size), pytest.raises(TextError) as caught:
            list(blocks(name, encoding))
        assert str(caught.value).startswith(f"{name}: byte {len(head)} (0xFF) is not {encoding}; ")
    assert "add --encoding " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "encoding", "where"),
    [
        (b"ab\xe2\x82", "utf-8", "byte 2 (0xE2)"),
        (b"ab\xe2\x82cd", "utf-8", "byte 2 (0xE2)"),
        (b"abc\x81", "cp1252", "byte 3 (0x81)"),
        (b"a\0b\0c", "utf-16-le", "byte 4 (0x63)"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_an_incomplete_character(content: bytes, encoding: str, where: str, size: int) -> None:
    """An incomplete character, or a byte without a meaning, is an error with its first byte and no guess."""
    with files(content) as (name,), block_size(size), pytest.raises(TextError) as caught:
        list(blocks(name, encoding))
    assert f"{where} is not {encoding}; " in str(caught.value)
    assert "; if you know the encoding of the text, add --encoding NAME" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "rot13", "", "a\0", "\udcff"])
def test_an_unknown_encoding(encoding: str) -> None:
    """A name that is no text encoding is an error that shows it."""
    with files(b"abc") as (name,), pytest.raises(TextError) as caught:
        from_files([name], encoding)
    assert f"no text encoding {encoding!r}" in str(caught.value)


@modest
@given(st.data())
def test_gzip(data: st.DataObject) -> None:
    """A .gz file is unpacked; cut short or with a changed byte it is a TextError, never another text."""
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
