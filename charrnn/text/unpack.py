"""Unpack files by their first bytes: gzip, bzip2, xz, Zstandard, and the texts in a zip archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast
from zipfile import BadZipFile, ZipExtFile, ZipFile

from charrnn.errors import TextError
from charrnn.text.encodings import HEAD, seems_text

SIGNATURES = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
    b"PK\x05\x06": ".zip",
}
"""The first bytes of a packed file, and the end of its usual name. (`BZh` alone may begin a text: see `packing`.)"""
SIGNATURE_SIZE = 10
"""Bytes at the start of a file that tell how it is packed."""
BZIP2_BLOCK = b"1AY&SY"
ENCRYPTED = 1
"""The flag of an encrypted member of a zip archive."""
DOCUMENTS = {
    "word/document": "a Word document: save it as plain text first",
    "xl/workbook": "a spreadsheet: save it as CSV first",
    "ppt/presentation": "a presentation: save it as plain text first",
    "META-INF/container.xml": "an EPUB book: extract its text first",
    "mimetype": "an OpenDocument file: save it as plain text first",
    "META-INF/MANIFEST.MF": "a Java archive, not a text",
    "AndroidManifest.xml": "an Android package, not a text",
}
"""Formats that are zip archives, by the beginning of a member's name."""
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, BadZipFile, NotImplementedError)
"""The errors of files that are damaged, cut short, or packed in a way that Python does not know."""


def texts(stream: BinaryIO, name: str) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the texts in a file with their names: its unpacked bytes, or those of every text in a zip archive.

    A text is valid until the next one is asked for. Raises `TextError` for a file that holds no text, and the errors of
    `UNREADABLE`, also while a text is read.
    """
    peekable = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    try:
        kind = packing(peekable.peek(SIGNATURE_SIZE), name)
        if kind == ".zip":
            yield from members(peekable, name)
        else:
            yield name, io.BufferedReader(OPENERS[kind](peekable)) if kind else peekable
    finally:
        if peekable is not stream:
            peekable.detach()  # or it would close the stream


def packing(head: bytes, name: str = "") -> str:
    """Return how a file that begins with `head` is packed, as the end of a name such as `.gz`; empty if it is not.

    A file with such a name that does not begin so is damaged: it is packed, too.
    """
    for start, kind in SIGNATURES.items():
        if head.startswith(start) and (kind != ".bz2" or head[4:10] == BZIP2_BLOCK):
            return kind
    return next((kind for kind in SIGNATURES.values() if name.endswith(kind)), "")


def members(stream: BinaryIO, name: str) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the texts in a zip archive, in its order, without hidden ones. Raises as `texts` does."""
    if name == "-" or not stream.seekable():
        raise TextError("a zip archive cannot be read from standard input or a pipe: name the file")
    archive, count = ZipFile(stream), 0
    for start, kind in DOCUMENTS.items():
        if any(member.startswith(start) for member in archive.namelist()):
            raise TextError(f"{name}: this is {kind}")
    for member in archive.infolist():
        if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in member.filename.split("/")):
            continue
        if member.flag_bits & ENCRYPTED:
            raise TextError(f"{name}: {member.filename} is encrypted: extract it first")
        with cast(ZipExtFile, archive.open(member)) as content:
            if seems_text(content.peek(HEAD)[:HEAD]):
                count += 1
                yield f"{name}: {member.filename}", cast(BinaryIO, content)
    if not count:
        raise TextError(f"{name}: this archive holds no text file")


class Zstandard(io.RawIOBase):
    """A Zstandard file, unpacked. Raises `TextError` if this Python cannot unpack it, `OSError` if it is damaged."""

    def __init__(self, stream: BinaryIO) -> None:
        try:
            from compression import zstd  # Python 3.14
        except ImportError:
            try:
                from backports import zstd
            except ImportError:
                remedy = "Python 3.14, or: pip install 'charrnn-xp[zstd]'"
                raise TextError(f"reading a Zstandard file (.zst) needs {remedy}") from None
        self.file, self.error = zstd.ZstdFile(stream), zstd.ZstdError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self.file.readinto(buffer)
        except self.error as error:
            raise OSError(str(error)) from None


OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": Zstandard,
}
