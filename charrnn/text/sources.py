"""Where text comes from: files, globs, directories, gzip, standard input, a string, the embedded corpus.

A source is turned into blocks of text, so that memory stays near the size of the file.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import TextError

BLOCK = 1 << 20
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


def expand(names: list[str]) -> list[str]:
    """The files that `names` mean, in a fixed order: globs and directories expanded, `-` and files as they are.

    Of a directory every file below it counts that is not hidden and holds no NUL byte in its first block.
    Raises `TextError` for a name that means nothing.
    """
    files: list[str] = []
    for name in names:
        try:
            found = meant(name)
        except OSError as error:  # a name that is too long, a folder that may not be entered
            raise TextError(f"{name}: cannot be read ({error.strerror})") from None
        if not found:
            kind = "this directory holds no text file" if Path(name).is_dir() else "there is no such file"
            raise TextError(f"{name}: {kind}")
        files += found
    return list(dict.fromkeys(files))


def meant(name: str) -> list[str]:
    """The files that one name means."""
    if not name:
        raise TextError("an empty name is no file")
    check_name(name)
    path = Path(name)
    if path.is_dir() and name != "-":
        # What runs have written is nobody's text.
        runs = {log.parent for log in path.rglob("metrics.jsonl") if (log.parent / "checkpoints").is_dir()}
        found = [p for p in sorted(path.rglob("*")) if runs.isdisjoint(p.parents)]
        return [str(p) for p in found if is_text(p, below=path)]
    if name == "-" or path.exists():
        return [name]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return [match for match in matches if Path(match).is_file()]


def check_name(name: str) -> None:
    """Raise `TextError` for a path that is not valid Unicode: no configuration could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise TextError(f"{name!a}: this path is not valid Unicode; rename the file or the directory") from None


def is_text(path: Path, *, below: Path) -> bool:
    """Whether a file found in a directory looks like text: not hidden, and no NUL byte in its first block."""
    if any(part.startswith(".") for part in path.relative_to(below).parts) or not path.is_file():
        return False
    try:
        with opened(str(path)) as stream:
            return b"\0" not in stream.read(4096)
    except (OSError, EOFError, zlib.error):
        return False


def opened(name: str) -> BinaryIO:
    """The bytes of a file, unpacked if its name ends in `.gz`."""
    return io.BufferedReader(gzip.open(name)) if name.endswith(".gz") else Path(name).open("rb")


def blocks(name: str, encoding: str) -> Iterator[str]:
    """The text of one file, or of standard input for `-`, block by block; a UTF-8 byte order mark is dropped.

    Raises `TextError` naming file, byte offset and remedy for bytes that are not in `encoding`, and for a file that
    cannot be read.
    """
    decoder = decoder_for(encoding)
    if name == "-" and sys.stdin is None:
        raise TextError("standard input is closed: name a file")
    offset = 0
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else opened(name) as stream:
            head = stream.read(len(BOM))
            if head == BOM and is_utf8(encoding):
                head, offset = b"", len(BOM)
            while True:
                block, head = head + stream.read(BLOCK), b""
                held = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeError as error:
                    raise undecodable(name, encoding, offset - held, error) from None
                offset += len(block)
                if text:
                    yield text
                if not block:
                    return
    except (OSError, EOFError, zlib.error) as error:
        raise TextError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def is_utf8(encoding: str) -> bool:
    """Whether `encoding`, which Python knows, is UTF-8 under any of its names, with or without a byte order mark."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def decoder_for(encoding: str) -> codecs.IncrementalDecoder:
    """The strict decoder of a text encoding that Python knows; of UTF-8 the one that leaves the mark to `blocks`."""
    try:
        info = codecs.lookup(encoding)
        if not info._is_text_encoding:
            raise LookupError
        return codecs.getincrementaldecoder("utf-8" if is_utf8(encoding) else encoding)("strict")
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
