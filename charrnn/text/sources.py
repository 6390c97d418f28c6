"""Find and read texts: files, folders, patterns, pipes, standard input, a string, the embedded corpus.

A source is read piece by piece, so that no text is ever in memory as a whole.
"""

from __future__ import annotations

import codecs
import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain, takewhile
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar

from charrnn import config, files
from charrnn.errors import TextError
from charrnn.run_files import CHECKPOINTS, CONFIG, ENVIRONMENT, METRICS, SAMPLES
from charrnn.text import unpack
from charrnn.text.encodings import HEAD, check_encoding, check_text, decoding_error, is_single_byte, is_utf8, seems_text
from charrnn.text.rows import Rows

BLOCK = 1 << 18
"""Bytes, or characters of a string, that are read at once: a block and what is computed from it fit the CPU's cache."""
BOM = b"\xef\xbb\xbf"
EMBEDDED = "python-topics"


def embedded() -> str:
    """Return the embedded corpus: the reference topics that every Python has for `help()`.

    `pydoc_data.topics` holds chapters of the Python language reference as plain text, about 465,000 characters of
    English prose with code in it; copyright Python Software Foundation, under the PSF License Version 2.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError("this Python lacks pydoc_data, the embedded corpus: name a text file to train on") from None
    return "\n\n".join(topics[name] for name in sorted(topics))


# Names


def expand(names: list[str]) -> list[str]:
    """Return the files that `names` stand for, in a fixed order: patterns and folders expanded, files and `-` kept.

    A folder stands for every file in it and below that is not hidden and seems to be a text, or to have one packed.
    Files that training runs wrote are left out of folders and patterns.
    Raises `TextError` for a name that matches no file.
    """
    paths: list[str] = []
    for name in names:
        try:
            matches = expand_name(name)
        except OSError as error:  # a name that is too long, a folder without permission
            raise TextError(f"{name}: cannot be read ({error.strerror})") from None
        if not matches:
            reason = "this directory holds no text file" if Path(name).is_dir() else "there is no such file"
            raise TextError(f"{name}: {reason}")
        paths += matches
    return list(dict.fromkeys(paths))


def expand_name(name: str) -> list[str]:
    """Return the files that one name stands for."""
    if not name:
        raise TextError("a file name is empty: name a file, a folder or a pattern")
    check_name(name)
    path = Path(name)
    if name == "-" or (path.exists() and not path.is_dir()):
        return [name]
    if path.is_dir():
        paths = without_run_files(name, map(str, in_order(path.rglob("*"))))
        return [match for match in paths if is_text(match, below=path)]
    matches = sorted(set(glob_matches(name)), key=lambda match: match.replace(os.sep, "/"))
    return without_run_files(name, filter(os.path.isfile, matches))


P = TypeVar("P", bound=PurePath)


def in_order(paths: Iterable[P]) -> list[P]:
    """Return paths in the same order on every system, capitals first; those of Windows compare without case."""
    return sorted(paths, key=lambda path: path.parts)


def check_name(name: str) -> None:
    """Raise `TextError` for a path that is not valid Unicode: no configuration file can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise TextError(f"{name!a}: this path is not valid Unicode; rename the file or the directory") from None


def without_run_files(name: str, matches: Iterable[str]) -> list[str]:
    """Return `matches`, which are those of a folder or pattern, without the files that training runs wrote.

    Raises `TextError` if no other file remains.
    """
    path = Path(name)
    top = path if path.is_dir() else Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))

    @cache
    def is_run(folder: Path) -> bool:
        return (folder / METRICS).is_file() and (folder / CHECKPOINTS).is_dir()

    def is_run_file(path: Path) -> bool:
        # A run that has just started has no checkpoints yet, but a complete configuration. A user may keep such a
        # configuration beside other texts, so only files with these names are left out.
        is_of_new_run = path.name in (CONFIG, ENVIRONMENT, METRICS, SAMPLES) and config.is_complete(
            path.with_name(CONFIG)
        )
        return is_of_new_run or any(is_run(folder) for folder in path.parents if folder.is_relative_to(top))

    paths = list(matches)
    kept = [match for match in paths if not is_run_file(Path(match))]
    if paths and not kept:
        raise TextError(f"{name}: it has only files that training runs wrote, which are no texts: name the files")
    return kept


def glob_matches(pattern: str) -> Iterator[str]:
    """Yield what a pattern matches, perhaps more than once.

    `**` stands for any number of folders, without symbolic links: links that form a circle would have no end.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 (Path.glob takes no absolute pattern, and finds hidden files)
        return
    index = parts.index("**")
    rest = parts[index + 1 :] or ("*",)
    for top in glob.iglob(str(Path(*parts[:index]))) if index else ["."]:  # noqa: PTH207 (as above)
        for folder, folders, _ in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (str(Path(match)) for match in glob_matches(str(Path(glob.escape(folder), *rest))))


def is_text(name: str, *, below: Path) -> bool:
    """Return whether a file in a folder counts as text: not hidden, and it seems to be one, or to have one packed."""
    path = Path(name)
    if any(part.startswith(".") for part in path.relative_to(below).parts) or not path.is_file():
        return False
    try:
        with files.open_input(name) as stream:
            return any(seems_text(content.read(HEAD)) for _, content in unpack.texts(stream, name))
    except (TextError, *unpack.UNREADABLE):
        return False


def check_plain_files(names: Iterable[str], characters: int) -> list[str]:
    """Return `names`, all of which must be files: no patterns, folders, pipes or devices. None of them is opened.

    A run's configuration names its text in this way. It may come from a stranger, and what it names must not be read
    unless it can be the text: files of fewer bytes than `characters` cannot, in any encoding. (Special files of the
    system claim to be empty and may have no end.) Raises `TextError` for all of these.
    """
    names = list(names)
    for name in names:
        if name == "-" or not os.path.isfile(name):  # noqa: PTH113 (pathlib's raises for a name that is too long)
            raise TextError(f"{name}: there is no such file")
    if names and not any(map(packing, names)) and sum(Path(name).stat().st_size for name in names) < characters:
        what = names[0] if len(names) == 1 else f"{len(names)} files"
        raise TextError(f"{what} is not the text that the run was trained on")
    return names


def packing(name: str) -> str:
    """Return how a file is packed; see `unpack.packing`. A file that claims to be empty, as in /proc, is not opened.

    Raises `OSError` for a file that cannot be read.
    """
    if not Path(name).stat().st_size:
        return ""
    with files.open_input(name) as stream:
        return unpack.packing(stream.read(unpack.SIGNATURE_SIZE), name)


def size_of(names: list[str]) -> int | None:
    """Return the unpacked bytes of these files together without reading them; None if they are unknown.

    That is so for a pipe and for every packed file but gzip's. Its size in the last four bytes need not be right.
    """
    total = 0
    try:
        for name in names:
            if name == "-" or not Path(name).is_file():
                return None
            with Path(name).open("rb") as stream:
                kind = unpack.packing(stream.read(unpack.SIGNATURE_SIZE), name)
                if kind not in ("", ".gz"):
                    return None
                end = stream.seek(-4 if kind else 0, io.SEEK_END)
                total += int.from_bytes(stream.read(4), "little") if kind else end
    except OSError:
        return None
    return total


# Reading


@dataclass(frozen=True)
class Piece:
    """A stretch of text. Its UTF-8 bytes are kept as they were read, so that hashing them needs no encoding.

    Attributes:
        text: the characters; None if all are ASCII and `utf8` has them.
        utf8: the bytes; None if the source has another encoding.
    """

    text: str | None
    utf8: bytes | None

    @classmethod
    def from_text(cls, text: str) -> Piece:
        """Return the piece of a string."""
        return cls(None, text.encode()) if text.isascii() else cls(text, None)

    @property
    def characters(self) -> str:
        """The text as a string."""
        return str(self.utf8 or b"", "ascii") if self.text is None else self.text


def blocks(name: str, encoding: str) -> Iterator[str]:
    """Yield the text of a file, or of standard input for `-`, block by block, without a UTF-8 byte order mark.

    Raises `TextError` for a file that cannot be read, and for bytes that are not in `encoding`.
    """
    return (piece.characters for document in documents(name, encoding) for piece in document)


def documents(name: str, encoding: str, *, checked: bool = True) -> Iterator[Iterator[Piece]]:
    """Yield the documents that `blocks` joins, in pieces with their bytes: one of a file, all texts of a zip archive.

    Read a document to its end before the next. ASCII in a UTF-8 file never becomes a string. For `checked` see
    `pieces`.
    """
    check_encoding(encoding)
    return (pieces(text, encoding, chunks, checked=checked) for text, chunks in unpacked(name))


def rows_of(name: str, encoding: str, rows: Rows, *, checked: bool = True) -> Iterator[Iterator[str]]:
    """Yield for each text in a file the texts of its rows; see `documents` and `Rows.texts`."""
    check_encoding(encoding)
    for text, chunks in unpacked(name):
        yield rows.texts(text, (piece.characters for piece in pieces(text, encoding, chunks, checked=checked)))


def pieces(name: str, encoding: str, chunks: Iterable[bytes], *, checked: bool) -> Iterator[Piece]:
    """Yield the pieces of the text that is in `chunks`. Raises `TextError` for bytes that are not in `encoding`.

    If `checked`, also for NULs and many control characters. In an encoding of single bytes any bytes are a text: who
    names one says that they are meant.
    """
    decoded = utf8_pieces(name, encoding, chunks) if is_utf8(encoding) else decoded_pieces(name, encoding, chunks)
    checked = checked and not is_single_byte(encoding)
    for number, piece in enumerate(decoded):
        if checked:
            content = piece.utf8 or b"" if piece.text is None else piece.text
            check_text(name, encoding, content, first=number == 0)
        yield piece


def utf8_pieces(name: str, encoding: str, chunks: Iterable[bytes]) -> Iterator[Piece]:
    """Yield the pieces of a UTF-8 source. A character that is in two chunks goes to the second piece."""
    offset, rest, raw = 0, b"", b""
    try:
        for chunk in chunks:
            if offset == 0 and chunk.startswith(BOM):
                offset, chunk = len(BOM), chunk[len(BOM) :]
            raw = rest + chunk
            text, used = (None, len(raw)) if raw.isascii() else codecs.utf_8_decode(raw, "strict", False)
            if used:
                yield Piece(text, raw[:used])
            offset, rest = offset + used, raw[used:]
        codecs.utf_8_decode(rest, "strict", True)  # raises if the last character is incomplete
    except UnicodeError as error:
        raise decoding_error(name, encoding, offset, error, sample=raw) from None


def decoded_pieces(name: str, encoding: str, chunks: Iterable[bytes]) -> Iterator[Piece]:
    """Yield the pieces of a source in an encoding other than UTF-8."""
    offset, sample, decoder = 0, b"", codecs.getincrementaldecoder(encoding)("strict")
    for chunk in chain(chunks, [b""]):
        pending = decoder.getstate()[0]
        sample = pending + chunk or sample
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            raise decoding_error(name, encoding, offset - len(pending), error, sample) from None
        offset += len(chunk)
        if text:
            yield Piece.from_text(text)


def unpacked(name: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the texts in a file or in standard input with their names, as chunks of bytes; see `unpack.texts`.

    Raises `TextError` for a file that cannot be read, also while a chunk is read.
    """
    if name == "-" and sys.stdin is None:
        raise TextError("standard input is closed: name a file")
    with errors_of(name):
        if name == "-":
            files.refuse_device(sys.stdin.buffer)
        with nullcontext(sys.stdin.buffer) if name == "-" else files.open_input(name) as stream:
            for text, content in unpack.texts(stream, name):
                yield text, chunks_of(text, content)


def chunks_of(name: str, stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of an open file. The first chunk has a byte order mark complete."""
    with errors_of(name):
        chunk = stream.read(len(BOM)) + stream.read(BLOCK)
        while chunk:
            yield chunk
            chunk = stream.read(BLOCK)


@contextmanager
def errors_of(name: str) -> Iterator[None]:
    """Turn the errors of reading the file `name` into a `TextError`."""
    try:
        yield
    except unpack.UNREADABLE as error:
        raise TextError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
