"""Where text comes from: files, gzip, standard input, a string, the embedded corpus. For names see `names`.

A source is turned into pieces of text, one after the other, and is nowhere whole in memory.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from charrnn import opening
from charrnn.errors import TextError

BLOCK = 1 << 18
"""Bytes, or characters of a string, taken at a time: what is made of them on the way fits the processor's cache."""
BOM = b"\xef\xbb\xbf"
EMBEDDED = "python-topics"


def embedded() -> str:
    """The default corpus: the reference topics that every Python carries for `help()`.

    `pydoc_data.topics` holds chapters of the Python language reference as plain text, about 465,000 characters of
    English prose with code in it; copyright Python Software Foundation, under the PSF License Version 2.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError("this Python lacks pydoc_data, the embedded corpus: name a text file to train on") from None
    return "\n\n".join(topics[name] for name in sorted(topics))


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if its name ends in `.gz`. Raises `OSError` as `opening.opened` does."""
    with opening.opened(name) as stream:
        yield io.BufferedReader(gzip.GzipFile(fileobj=stream)) if name.endswith(".gz") else stream


def blocks(name: str, encoding: str) -> Iterator[str]:
    """The text of one file, or of standard input for `-`, block by block; a UTF-8 byte order mark is dropped.

    Raises `TextError` naming file, byte offset and remedy for bytes that are not in `encoding`, and for a file that
    cannot be read.
    """
    return map(text_of, pieces(name, encoding))


@dataclass(frozen=True)
class Piece:
    """A stretch of text; the UTF-8 that was read is kept, so that a hash of it costs no encoding.

    Attributes:
        text: its characters; None where all are ASCII and `utf8` has them.
        utf8: its bytes; None where they were in another encoding.
    """

    text: str | None
    utf8: bytes | None


def text_of(piece: Piece) -> str:
    """The characters of a piece."""
    return str(piece.utf8 or b"", "ascii") if piece.text is None else piece.text


def piece_of(text: str) -> Piece:
    """A piece from a string."""
    return Piece(None, text.encode()) if text.isascii() else Piece(text, None)


def pieces(name: str, encoding: str) -> Iterator[Piece]:
    """The same text as `blocks`, with the bytes it came from. ASCII in a UTF-8 file never becomes a string."""
    check_encoding(encoding)
    return utf8_pieces(name, encoding) if is_utf8(encoding) else decoded_pieces(name, encoding)


def utf8_pieces(name: str, encoding: str) -> Iterator[Piece]:
    """The pieces of a UTF-8 source; a character that two chunks share belongs to the second."""
    offset, rest = 0, b""
    for chunk in chunks(name):
        if offset == 0 and chunk.startswith(BOM):
            offset, chunk = len(BOM), chunk[len(BOM) :]
        raw = rest + chunk
        if raw.isascii():
            text, used = None, len(raw)
        else:
            text, used = utf8_decoded(name, encoding, offset, raw, final=False)
        if used:
            yield Piece(text, raw[:used])
        offset, rest = offset + used, raw[used:]
    utf8_decoded(name, encoding, offset, rest, final=True)  # an error, if a character was cut short


def utf8_decoded(name: str, encoding: str, offset: int, raw: bytes, *, final: bool) -> tuple[str, int]:
    """The text of the whole characters in `raw`, which begins at the byte `offset`, and how many bytes they are."""
    try:
        return codecs.utf_8_decode(raw, "strict", final)
    except UnicodeError as error:
        raise undecodable(name, encoding, offset, error) from None


def decoded_pieces(name: str, encoding: str) -> Iterator[Piece]:
    """The pieces of a source in an encoding other than UTF-8."""
    offset, decoder = 0, codecs.getincrementaldecoder(encoding)("strict")
    for chunk in chain(chunks(name), [b""]):
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            raise undecodable(name, encoding, offset - held, error) from None
        offset += len(chunk)
        if text:
            yield piece_of(text)


def chunks(name: str) -> Iterator[bytes]:
    """The bytes of one file, unpacked, or of standard input; the first chunk holds a whole byte order mark.

    Raises `TextError` for a file that cannot be read.
    """
    if name == "-" and sys.stdin is None:
        raise TextError("standard input is closed: name a file")
    try:
        if name == "-":
            opening.check(sys.stdin.buffer)
        with nullcontext(sys.stdin.buffer) if name == "-" else opened(name) as stream:
            chunk = stream.read(len(BOM)) + stream.read(BLOCK)
            while chunk:
                yield chunk
                chunk = stream.read(BLOCK)
    except (OSError, EOFError, zlib.error) as error:
        raise TextError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def size_of(names: list[str]) -> int | None:
    """The bytes of these files together, unpacked, as far as they can be known without reading; None for a pipe.

    A `.gz` says its size in its last four bytes, and what it says need not be true.
    """
    total = 0
    try:
        for name in names:
            if name == "-" or not Path(name).is_file():
                return None
            with Path(name).open("rb") as stream:
                packed = name.endswith(".gz")
                end = stream.seek(-4 if packed else 0, io.SEEK_END)
                total += int.from_bytes(stream.read(4), "little") if packed else end
    except OSError:
        return None
    return total


def plain(names: Iterable[str], characters: int) -> list[str]:
    """`names` as they are, each of a file: as a run writes them down, without patterns, folders and pipes.

    None is opened. Raises `TextError` for a name of anything else, and for files of fewer bytes than `characters`: in
    no encoding do they hold so many, and a file of the system that says it is empty may have no end.
    """
    names = list(names)
    for name in names:
        if name == "-" or not os.path.isfile(name):  # noqa: PTH113 (pathlib's raises for a name that is too long)
            raise TextError(f"{name}: there is no such file")
    size = None if any(name.endswith(".gz") for name in names) else sum(Path(name).stat().st_size for name in names)
    if names and size is not None and size < characters:
        what = names[0] if len(names) == 1 else f"{len(names)} files"
        raise TextError(f"{what} is not the text that the run was trained on")
    return names


def is_utf8(encoding: str) -> bool:
    """Whether `encoding`, which Python knows, is UTF-8 under any of its names, with or without a byte order mark."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def check_encoding(encoding: str) -> None:
    """Raise `TextError` for what is no text encoding that Python knows and can read in pieces."""
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
        codecs.getincrementaldecoder(encoding)("strict")
    except (LookupError, ValueError):
        raise TextError(f"there is no text encoding {encoding!r}; try utf-8, latin-1, cp1252 or utf-16") from None


def undecodable(name: str, encoding: str, start: int, error: UnicodeError) -> TextError:
    """The error for bytes that are not in `encoding`; `start` is the file offset of the bytes that were decoded."""
    where = f"byte {start + error.start}" if isinstance(error, UnicodeDecodeError) else f"after byte {start}"
    what = f" (0x{error.object[error.start]:02X})" if isinstance(error, UnicodeDecodeError) else ""
    other = "latin-1" if is_utf8(encoding) else "utf-8"
    if (
        isinstance(error, UnicodeDecodeError)
        and start == 0
        and error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ):
        other = "utf-16"
    return TextError(f"{name}: {where}{what} is not {encoding}; name the file's encoding, as in --encoding {other}")
