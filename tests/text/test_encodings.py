"""Bytes that are not UTF-8: the error names their encoding or what they are, and nothing else becomes a text."""

import codecs
import re
import sys
from pathlib import Path

import pytest
from helpers.commands import TRAIN, Call
from helpers.texts import caching, files

from charrnn.errors import TextError
from charrnn.text import blocks, expand, from_files

FRENCH = "Le vieux meunier écoutait la rivière, où l’été déposait ses reflets. « Où vas-tu ? » demanda l’enfant. "
GERMAN = "Der alte Müller hörte dem Fluß zu, während die Bäume sich über das Wasser beugten. Er wußte es nicht. "
POLISH = "Stary młynarz słuchał rzeki. Nie wiedział, lecz ścieżka wiodła go przez most ku dalekiemu lasowi. "
RUSSIAN = "Старый мельник слушал реку, пока деревья склонялись над водой. Дорога вела его через мост. "
GREEK = "Ο γέρος μυλωνάς άκουγε το ποτάμι, ενώ τα δέντρα έσκυβαν πάνω από το νερό. "
CHINESE = "老磨坊主坐在河边，听着流水的声音。树木在水面上弯下腰来。小女孩问他：你要到哪里去？\n"
TAIWANESE = "老磨坊主坐在河邊，聽著流水的聲音。樹木在水面上彎下腰來。小女孩問他：你要到哪裡去？\n"
JAPANESE = "年老いた粉屋は川のほとりに座り、水の音を聞いていた。「どこへ行くの」と少女がたずねた。\n"
KOREAN = "늙은 방앗간 주인은 강가에 앉아 물소리를 듣고 있었다. 나무들은 물 위로 몸을 굽혔다.\n"
ENGLISH = "The old miller listened to the river, past the café. " + "The road led him over the bridge, and on. " * 9
WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
CASES = [
    *((FRENCH, "cp1252"), (ENGLISH, "latin-1"), (GERMAN, "latin-1"), (GERMAN, "cp1252"), (POLISH, "cp1250")),
    *((POLISH, "iso8859-2"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (RUSSIAN, "cp866"), (RUSSIAN, "iso8859-5")),
    *((GREEK, "cp1253"), (CHINESE, "gbk"), (CHINESE, "gb18030"), (TAIWANESE, "big5"), (JAPANESE, "shift_jis")),
    *((JAPANESE, "euc_jp"), (KOREAN, "euc_kr"), ("BMW fährt über Brücken. " + GERMAN, "cp1252")),
    *((text, encoding) for text in (FRENCH, RUSSIAN, CHINESE, JAPANESE, ENGLISH) for encoding in WIDE),
]


def error_of(content: bytes, encoding: str = "utf-8") -> str:
    """Return the error for a file with these bytes, without the file's name."""
    with files(content) as (name,), pytest.raises(TextError) as caught:
        from_files([name], encoding)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{name}: ")


def likely_in(error: str) -> str:
    """Return the encoding that an error advises."""
    match = re.search(
        r"it is probably (\S+): add --encoding (\S+) \(data.encoding in Python and in TOML files\)$", error
    )
    assert match is not None, error
    assert match[1] == match[2]
    return match[1]


@pytest.mark.parametrize("repeats", [1, 20])
@pytest.mark.parametrize(("text", "encoding"), CASES)
def test_the_likely_encoding(text: str, encoding: str, repeats: int) -> None:
    """The error for a text that is read as UTF-8 names an encoding in which it is the text."""
    content = (text * repeats).encode(encoding)
    with files(content) as (name,):
        assert "".join(blocks(name, likely_in(error_of(content)))).removeprefix("\ufeff") == text * repeats


def test_another_encoding_than_the_named_one() -> None:
    """The error for a wrong --encoding names the right one, also UTF-8."""
    assert likely_in(error_of((RUSSIAN * 9).encode(), "cp1252")) == "utf-8"
    for text in (FRENCH, "The old miller listened to the river. "):
        assert likely_in(error_of(text.encode("utf-32-le"), "utf-16-le")) == "utf-32-le"
        assert likely_in(error_of(text.encode("utf-32"), "utf-16")) == "utf-32"
    assert likely_in(error_of((RUSSIAN * 9).encode("cp1251"), "gbk")) == "cp1251"


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff", b"Gr\xfc\xdfe aus K\xf6ln\n", b"abc\x81def", b"ab\0c"])
def test_a_short_text_gets_no_guess(content: bytes) -> None:
    """Too few bytes to guess by are no reason to name an encoding that may be absurd."""
    assert "probably" not in error_of(content)


def test_bytes_of_no_encoding() -> None:
    """Random bytes get no guess, and neither does any text without chardet."""
    noise = bytes((n * n * 7919 + n * 104729) >> 5 & 255 for n in range(9000))
    assert error_of(noise).endswith(
        "if you know the encoding of the text, add --encoding NAME (data.encoding in Python and in TOML files)"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "chardet", None)
        assert "add --encoding NAME" in error_of(FRENCH.encode("cp1252"))


KINDS = {
    b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n": "this is a PDF: extract its text first",
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n": "this is a PDF: extract its text first",
    rb"{\rtf1\ansi Dear reader}": "this is a Rich Text document: save it as plain text first",
    codecs.decode("d0cf11e0a1b11ae1", "hex") + bytes(600): "this is an Office document: save it as plain text first",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(99): "this is an image, not a text",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(99): "this is an image, not a text",
    b"ID3\4\0\0\0\0\0\x23TSSE" + bytes(99): "this is a sound file, not a text",
    b"RIFF\x24\0\0\0WAVEfmt " + bytes(99): "this is a sound file, not a text",
    b"\0\0\0\x20ftypisom" + bytes(99): "this is a video, not a text",
    b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(999): "this is a tar archive: extract its files first",
    b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99): "this is a 7z archive: extract its files first",
    b"SQLite format 3\0" + bytes(99): "this is a database: export its texts as JSON Lines first",
}  # fmt: skip


@pytest.mark.parametrize("content", KINDS)
def test_files_that_are_no_text(content: bytes, tmp_path: Path) -> None:
    """A file of another kind is refused by its first bytes, under any name; a folder leaves it out."""
    assert error_of(content) == KINDS[content]
    (tmp_path / "notes.txt").write_bytes(content)
    (tmp_path / "text.txt").write_text("text")
    assert expand([str(tmp_path)]) == [str(tmp_path / "text.txt")]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_nul_anywhere(size: int) -> None:
    """A NUL in any block is refused in any encoding but those of single bytes, which say that it is meant."""
    for encoding in ("utf-8", "gb18030", "utf-16"):
        for text in ("ab" * 40 + "c\0d", "é" * 40 + "c\0d"):
            with caching(small=10**6, block=size):
                error = error_of(text.encode(encoding), encoding)
            assert error.startswith(f"it has NUL characters as {encoding}; remove them")
            if size == 1000:  # the advice is for the block with the NUL
                assert ("or if they are meant, add --encoding latin-1" in error) == text.encode(encoding).isascii()
    for encoding in ("latin-1", "cp1252", "koi8-r", "ascii"):
        with files(b"ab" * 40 + b"c\0d") as names:
            assert from_files(names, encoding).vocabulary.characters == "\0abcd"
    with files(b"ab\0c\0") as names:  # what `find -print0` writes
        assert list(from_files(names, separator="\0").documents()) == ["ab\0", "c\0"]


def test_control_characters() -> None:
    """A text is refused from a tenth of control characters on; white space and the colors of a terminal are none."""
    for control in ("\1", "\7", "\x7f", "\x9b"):
        assert error_of((f"{control}abcdefghi" * 9).encode()).startswith("it has many control characters as utf-8; ")
        with files((f"{control}abcdefghij" * 9).encode(), b"\t\r\n\f\v\x1b[0m" * 99, b"\1\2") as names:
            from_files(names)


def test_a_text_with_nuls_is_resumed(call: Call, tmp_path: Path) -> None:
    """A run that was trained on NULs by intention reads its own copy again, to evaluate and to go on."""
    (tmp_path / "t.txt").write_bytes(b"she\0sells\0sea\0shells\n" * 40)
    with (tmp_path / "t.txt").open() as stream:
        call("train", "-", *TRAIN[2:], "--encoding=latin-1", "--out=run", "--stop-after=5", stdin=stream.read())
    call("train", "--resume", "--out=run")
    assert "nats_per_char" in call("eval", "run")[0]
