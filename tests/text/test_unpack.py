"""Packed files are read by their first bytes, and a damaged or foreign one is a TextError of one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.commands import TRAIN, Call
from helpers.texts import check, files

from charrnn.errors import TextError
from charrnn.text import blocks, expand, from_files

zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
TEXT = "".join(chr(n) for n in range(32, 400))
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
    ".zip": lambda content: zipped({"a.txt": content}),
}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


@pytest.mark.parametrize("kind", PACK)
def test_packed_texts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed text is read under any name, one member after another, and through a pipe unless it is a zip archive."""
    packed = PACK[kind](TEXT.encode())
    more = b"" if kind == ".zip" else PACK[kind](b"more")
    for suffix in (kind, ".txt"):
        with files(packed + more, suffix=suffix) as names:
            check(from_files(names), TEXT + ("more" if more else ""))
    if kind != ".zip":
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(packed)))
        check(from_files(["-"]), TEXT)


@pytest.mark.parametrize("kind", PACK)
def test_damaged_files(kind: str) -> None:
    """Cut short, or with a changed byte, a packed file is a TextError with its name, never another text."""
    whole = PACK[kind](TEXT.encode())
    for place in range(1, len(whole), 7):
        with files(whole[:place], suffix=kind) as (name,):
            with pytest.raises(TextError) as caught:
                list(blocks(name, "utf-8"))
            assert str(caught.value).startswith(f"{name}: ")
            assert "\n" not in str(caught.value)
            Path(name).write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            with suppress(TextError):
                assert "".join(blocks(name, "utf-8")) == TEXT


def test_a_text_that_begins_as_a_packed_file() -> None:
    """Only the whole beginning of a packed file counts."""
    with files(b"BZh9 is how bzip2 begins", b"PK is short for player kill") as names:
        check(from_files(names), "BZh9 is how bzip2 begins", "PK is short for player kill")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_archive(method: int, tmp_path: Path) -> None:
    """Each text in an archive is a document, in the archive's order; hidden and binary members are left out."""
    members = {"b/two.txt": b"two\n", "b/": b"", "one.md": b"one", ".hidden": b"x", "__MACOSX/one.md": b"x"}
    members |= {"image.png": b"\x89PNG\0", "paper.pdf": b"%PDF-1.4 x", "empty.txt": b"", "é.txt": "é".encode()}
    path = tmp_path / "texts.zip"
    path.write_bytes(zipped(members, method))
    (tmp_path / "plain.txt").write_text("plain")
    check(from_files([str(path)]), "two\n", "one", "é")
    check(from_files([str(tmp_path)]), "plain", "two\n", "one", "é")
    check(from_files([str(path)], separator="n"), "two\n", "on", "e", "é")


ARCHIVES = {
    "word/document.xml": "this is a Word document: save it as plain text first",
    "xl/workbook.xml": "this is a spreadsheet: save it as CSV first",
    "ppt/presentation.xml": "this is a presentation: save it as plain text first",
    "META-INF/container.xml": "this is an EPUB book: extract its text first",
    "mimetype": "this is an OpenDocument file: save it as plain text first",
    "META-INF/MANIFEST.MF": "this is a Java archive, not a text",
    "image.png\0": "this archive holds no text file",
}


@pytest.mark.parametrize("member", ARCHIVES)
def test_zip_archives_that_are_no_texts(member: str, tmp_path: Path) -> None:
    """A document that is a zip archive is refused by name, and a folder leaves it out."""
    path = tmp_path / "letter.txt"
    path.write_bytes(zipped({"[Content_Types].xml": b"\0", member: b"\0"}))
    with pytest.raises(TextError) as caught:
        from_files([str(path)])
    assert str(caught.value) == f"{path}: {ARCHIVES[member]}"
    (tmp_path / "text.txt").write_text("text")
    assert expand([str(tmp_path)]) == [str(tmp_path / "text.txt")]


def test_an_encrypted_archive(tmp_path: Path) -> None:
    """An encrypted member is an error that names it."""
    content = bytearray(zipped({"secret.txt": b"text"}))
    for start, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(start) + place] |= 1
    with (
        files(bytes(content)) as (name,),
        pytest.raises(TextError, match=r"secret\.txt is encrypted: extract it first"),
    ):
        from_files([name])


def test_a_zip_archive_through_a_pipe(call: Call, tmp_path: Path) -> None:
    """It is refused in one line, because its list of members is at its end."""
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[zipped({"a.txt": b"text"})])
    thread.start()
    assert (
        "a zip archive cannot be read from standard input or a pipe: name the file"
        in call("train", "pipe", status=2)[1]
    )
    thread.join()


def test_zstandard_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with files(PACK[".zst"](b"text")) as (name,), pytest.raises(TextError) as caught:
        from_files([name])
    assert str(caught.value) == (
        "reading a Zstandard file (.zst) needs Python 3.14, or: pip install 'charrnn-xp[zstd]'"
    )


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_is_read_in_blocks(kind: str) -> None:
    """A file that unpacks to a thousand times its size takes no more memory than a few blocks."""
    packed = PACK[kind](b"a" * 30_000_000)
    assert len(packed) < 40_000
    with files(packed) as (name,):
        tracemalloc.start()
        try:
            assert sum(map(len, blocks(name, "utf-8"))) == 30_000_000
            assert tracemalloc.get_traced_memory()[1] < 12_000_000  # the window of xz has 8 MB
        finally:
            tracemalloc.stop()


def test_a_run_finds_its_packed_text_again(call: Call, tmp_path: Path) -> None:
    """A run on a packed text without a telling name evaluates and resumes."""
    (tmp_path / "book").write_bytes(lzma.compress(b"she sells sea shells by the sea shore;\n" * 40))
    call("train", "book", *TRAIN[2:], "--out=run", "--stop-after=5")
    call("train", "--resume", "--out=run")
    assert "nats_per_char" in call("eval", "run")[0]
