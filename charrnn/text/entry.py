"""One entry of the cache, one file: the ids of a text, its documents' starts, what else its corpus holds, a trailer.

Ids and starts stand at the front, where they are mapped; the rest is JSON. Each block of ids, the starts and the JSON
have a checksum, read at every opening: an entry that a power cut, a bad disk or another program has changed is not an
entry.
"""

from __future__ import annotations

import errno
import json
import mmap
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from charrnn import files
from charrnn.errors import TextError
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Ids, Vocabulary

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRAILER = struct.Struct("<QI12s")
MAGIC = b"charrnn-ids2"
START = np.dtype("<i8")


@dataclass(frozen=True)
class About:
    """What an entry holds besides the ids.

    Attributes:
        name: of the text when it was encoded, for people.
        sha256: names the entry: that of the `Corpus`, or of a corpus and the vocabulary it was widened to.
        size: bytes of the text in UTF-8.
        length: characters.
        documents: how many.
        vocabulary: as of `Corpus`.
        checks: the length and the CRC-32 of each block of ids, from the front, and of the bytes from there to the JSON.
    """

    name: str
    sha256: str
    size: int
    length: int
    documents: int
    vocabulary: Vocabulary
    checks: tuple[tuple[int, int], ...] = ()

    @property
    def place(self) -> int:
        """The byte where the starts begin: the first after the ids that is a multiple of theirs."""
        return -(-self.length * self.vocabulary.dtype.itemsize // START.itemsize) * START.itemsize


def write(stream: FileIO, about: About, starts: Ids, blocks: Iterable[tuple[int, Ids]]) -> None:
    """Write an entry from the starts (D,) and blocks of final ids with their positions, which come from the back."""
    end = about.length * about.vocabulary.dtype.itemsize
    cuts = bytes(about.place - end) + np.asarray(starts, START).tobytes()
    checks = [(len(cuts), zlib.crc32(cuts))]
    for first, ids in blocks:
        stream.seek(first * ids.itemsize)
        files.write_whole(stream, ids.data)
        checks.append((len(ids), zlib.crc32(ids.data)))
    vocabulary = about.vocabulary
    values = {
        "name": about.name,
        "sha256": about.sha256,
        "size": about.size,
        "length": about.length,
        "dtype": vocabulary.dtype.str,
        "documents": about.documents,
        "characters": vocabulary.characters,
        "counts": vocabulary.counts,
        "checks": checks[::-1],
    }
    text = json.dumps(values).encode()
    stream.seek(end)
    files.write_whole(stream, memoryview(cuts))
    files.write_whole(stream, memoryview(text + TRAILER.pack(len(text), zlib.crc32(text), MAGIC)))


def read(stream: BinaryIO) -> About:
    """What an entry holds besides the ids. Raises `ValueError`, `KeyError` or `TypeError` for one that is not whole."""
    end = stream.seek(0, 2)
    stream.seek(max(0, end - TRAILER.size))
    trailer = stream.read(TRAILER.size)
    if len(trailer) < TRAILER.size:
        raise ValueError("too short")
    size, checksum, magic = TRAILER.unpack(trailer)
    if magic != MAGIC or size > end - TRAILER.size:
        raise ValueError("not an entry")
    stream.seek(end - TRAILER.size - size)
    text = stream.read(size)
    if zlib.crc32(text) != checksum:
        raise ValueError("damaged")
    values = json.loads(text)
    vocabulary = Vocabulary(values.pop("characters"), tuple(values.pop("counts")))
    if values.pop("dtype") != vocabulary.dtype.str:
        raise ValueError("from a machine of another byte order")
    values |= {"checks": tuple(map(tuple, values["checks"]))}
    return About(**values, vocabulary=vocabulary)


def described(path: Path) -> About | None:
    """What the entry at `path` says of itself, without a look at its ids; None if it is not whole."""
    try:
        with path.open("rb") as stream:
            return read(stream)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mapped(path: Path, sha256: str, name: str, *, verify: bool = True) -> Corpus | None:
    """The corpus of the entry at `path`, its ids mapped; None if there is no whole entry of this hash.

    It is held for as long as the ids live: see `held`. `verify` reads the ids' checksums. Raises `TextError` for an
    entry that is whole, and cannot be mapped.
    """
    try:
        with path.open("rb") as stream:
            hold(stream, exclusive=False)
            about = read(stream)
            *blocks, (size, cuts) = about.checks
            if about.sha256 != sha256 or sum(length for length, _ in blocks) != about.length:
                return None
            dtype = about.vocabulary.dtype
            stream.seek(0)
            for length, checksum in blocks if verify else ():
                if zlib.crc32(stream.read(length * dtype.itemsize)) != checksum:
                    return None
            end = stream.seek(about.length * dtype.itemsize)
            if end + size != about.place + about.documents * START.itemsize or zlib.crc32(stream.read(size)) != cuts:
                return None
            whole = memory_of(stream)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ids, starts = np.frombuffer(whole, dtype, about.length), np.frombuffer(whole, START, about.documents, about.place)
    return Corpus(name, ids, starts, about.vocabulary, sha256)


def memory_of(stream: BinaryIO) -> mmap.mmap:
    """The whole of an open file, mapped; its own descriptor carries the lock.

    Raises `TextError` where that cannot be, as it says nothing against the file.
    """
    try:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        why, remedy = error.strerror, "set XDG_CACHE_HOME to a directory on another file system"
        if error.errno == errno.ENOMEM:
            why = f"it takes {stream.seek(0, 2):,} bytes of address space, more than this process may have"
            remedy = "raise the limit (ulimit -v), or name a part of the text"
        raise TextError(f"{stream.name} cannot be mapped ({why}): {remedy}") from None


def hold(stream: BinaryIO | FileIO, *, exclusive: bool) -> bool:
    """Hold an open file until the last descriptor of it is closed; whether that could be had (never on Windows)."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(stream.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def held(path: Path) -> bool:
    """Whether a process holds the file at `path`. On Windows the system itself keeps it from being removed."""
    if fcntl is None:
        return False
    try:
        with path.open("rb") as stream:
            return not hold(stream, exclusive=True)
    except OSError:
        return False
