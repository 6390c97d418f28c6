"""The cache of large texts: for each a folder with its ids, its document starts and its vocabulary.

An entry is a folder `KEY/` in the user's cache directory with `ids.npy`, `starts.npy` (both are memory-mapped) and
`meta.json`. It is written under a temporary name and renamed when it is complete. After each write, the entries that
were used longest ago are removed until all together have at most `LIMIT` bytes. A process that has mapped an entry can
read it to the end after its removal; on Windows the removal fails instead, and the entry stays.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import files
from charrnn.errors import TextError
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Ids, Vocabulary

SMALL = 64 << 20
"""Bytes of UTF-8 up to which a text stays in RAM and is not cached."""
LIMIT = 20 * 10**9
"""Bytes of all entries together."""
STALE = 3600.0
"""Seconds without a write after which a temporary folder is taken for that of a killed process; `clear` waits less."""
STALE_IF_CLEARED = 60.0
START = np.dtype(np.int64)
IS_KEY = re.compile(r"[0-9a-f]{64}").fullmatch
IS_OLD = re.compile(r"\.?[0-9a-f]{64}\.(ids|baselines\.json|floors\.json)(\.[0-9a-f]{8}\.tmp)?").fullmatch
"""The names of files that earlier versions wrote."""
DAMAGED = (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError)
"""The errors of reading an entry that is damaged."""


@dataclass(frozen=True)
class Meta:
    """The content of `meta.json`.

    Attributes:
        name: the text's name when it was cached, for the user.
        size: the text's bytes in UTF-8.
        length: number of characters.
        documents: number of documents.
        vocabulary: the vocabulary of the corpus, see `Corpus`.
    """

    name: str
    size: int
    length: int
    documents: int
    vocabulary: Vocabulary


@dataclass(frozen=True)
class Entry:
    """An entry as `charrnn cache` lists it.

    Attributes:
        path: its folder.
        size: bytes on the disk.
        used: when it was last used, in seconds since the epoch.
        name: the text's name; None if the entry is damaged.
    """

    path: Path
    size: int
    used: float
    name: str | None


def directory() -> Path:
    """Return `files.cache_directory()`. Raises `TextError` for a user without a home directory."""
    try:
        return files.cache_directory()
    except RuntimeError:
        raise TextError("this user has no home directory for a cache: set XDG_CACHE_HOME to a directory") from None


@contextmanager
def writable_directory() -> Iterator[Path]:
    """Make the cache directory and return it. An `OSError` in the block becomes a `TextError` that says what to do."""
    try:
        folder = directory()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise TextError(
            f"a text over {SMALL >> 20} MB is kept in {directory()}, which cannot be written "
            f"({error.strerror or error}): make room there, empty it with `charrnn cache --clear`, "
            "or set XDG_CACHE_HOME to another directory"
        ) from None


class Spill:
    """A stack of blocks of ids on the disk. `pop` frees the disk space of its block.

    The file has no name, so the system removes it when the process exits, even if it is killed.
    """

    def __init__(self, blocks: Iterable[Ids]) -> None:
        self.shapes: list[tuple[np.dtype[Any], int]] = []
        with writable_directory() as folder:
            self.stream = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (see `close`)
        try:
            for block in blocks:
                self.append(block)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.shapes)

    def append(self, block: Ids) -> None:
        """Write a block (N,) at the end. Raises `TextError` where the file system refuses."""
        with writable_directory():
            files.write_whole(self.stream, block.data)
        self.shapes.append((block.dtype, len(block)))

    def pop(self) -> Ids:
        """Remove the last block and return it. Raises `TextError` where the file system refuses."""
        dtype, length = self.shapes.pop()
        with writable_directory():
            start = self.stream.seek(-length * dtype.itemsize, os.SEEK_END)
            data = self.stream.read(length * dtype.itemsize)
            self.stream.truncate(start)
        return np.frombuffer(data, dtype, length)

    def close(self) -> None:
        self.stream.close()


def save(key: str, meta: Meta, starts: Ids, blocks: Iterable[tuple[int, Ids]]) -> Corpus:
    """Write an entry and return its corpus, memory-mapped. Then remove what goes beyond `LIMIT`.

    Args:
        key: 64 hexadecimal digits: the corpus's hash, or another that stands for it and its vocabulary.
        meta: the content of `meta.json`.
        starts: (D,) the document starts.
        blocks: the ids, as positions and blocks of ids, in any order.

    Raises `TextError` where the file system refuses; then nothing of the entry remains.
    """
    with writable_directory() as folder:
        path = folder / key
        temporary = files.temporary_path(path)
        try:
            temporary.mkdir(mode=0o700)
            write_array(temporary / "ids.npy", meta.vocabulary.dtype, meta.length, blocks)
            write_array(temporary / "starts.npy", START, meta.documents, [(0, np.asarray(starts, START))])
            files.write_atomically(temporary / "meta.json", json.dumps(asdict(meta)).encode())
            try:
                files.retry_while_open(lambda: temporary.rename(path))
            except OSError:
                if not path.is_dir():  # else another process has saved the same entry
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    corpus = load(key, meta.name)
    if corpus is None:
        raise TextError(f"{path} was removed or damaged while it was written: run the command again")
    trim(keep=path)
    return corpus


def load(key: str, name: str) -> Corpus | None:
    """Return the corpus of an entry, memory-mapped and with `key` as its hash, and mark the entry as used now.

    Return None if there is no entry, or a damaged one, which is removed. Raises `TextError` for an entry that cannot
    be read or mapped for another reason.
    """
    path = directory() / key
    if not path.is_dir():
        return None
    corpus = None
    try:
        corpus = map_entry(path, name)
    except OSError as error:
        if not isinstance(error, DAMAGED):
            raise TextError(f"{path} cannot be read ({error.strerror or error}): remove this directory") from None
    except DAMAGED:
        pass
    if corpus is None:
        with suppress(OSError):
            remove(path)
        return None
    with suppress(OSError):  # a read-only cache
        os.utime(path)
    return corpus


def map_entry(path: Path, name: str) -> Corpus:
    """Return the corpus of the entry at `path`. Raises one of `DAMAGED`, `TextError`, or `OSError`."""
    meta = read_meta(path)
    ids = map_array(path / "ids.npy", meta.vocabulary.dtype, meta.length)
    starts = map_array(path / "starts.npy", START, meta.documents)
    if ids.max() >= len(meta.vocabulary):
        raise ValueError("an id is that of no character")
    if starts[0] != 0 or starts[-1] >= meta.length or not (starts[1:] > starts[:-1]).all():
        raise ValueError("the documents do not fit the text")
    return Corpus(name, ids, starts, meta.vocabulary, path.name)


def read_meta(path: Path) -> Meta:
    """Return the meta data of the entry at `path`. Raises one of `DAMAGED` if it is not an entry, or `OSError`."""
    values = json.loads((path / "meta.json").read_bytes())
    characters, counts = (values["vocabulary"][key] for key in ("characters", "counts"))
    meta = Meta(**values | {"vocabulary": Vocabulary(characters, tuple(counts))})
    whole = all(type(count) is int and count >= 0 for count in counts)
    if not whole or len(characters) != len(counts) or sum(counts) != meta.length:
        raise ValueError("the counts do not fit the text")
    if list(characters) != sorted(set(characters)):
        raise ValueError("the characters are not in order")
    return meta


def write_array(path: Path, dtype: np.dtype[Any], length: int, blocks: Iterable[tuple[int, Ids]]) -> None:
    """Write a .npy file of an array (length,) from blocks with their positions, and bring it to the disk."""
    header = npy_header(dtype, length)
    with path.open("xb", buffering=0) as stream:
        files.write_whole(stream, header)
        for first, block in blocks:
            stream.seek(len(header) + first * dtype.itemsize)
            files.write_whole(stream, block.data)
        os.fsync(stream.fileno())


def map_array(path: Path, dtype: np.dtype[Any], length: int) -> Ids:
    """Memory-map a .npy file. Raises `ValueError` unless it is the whole file of an array (length,) of `dtype`.

    Raises `TextError` where the system cannot map it.
    """
    header = npy_header(dtype, length)
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if stream.read(len(header)) != header or size != len(header) + length * dtype.itemsize:
            raise ValueError(f"{path} is damaged")
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except OSError as error:
        reason, remedy = error.strerror, "set XDG_CACHE_HOME to a directory on another file system"
        if error.errno == errno.ENOMEM:
            reason = f"it takes {size:,} bytes of address space, more than this process may have"
            remedy = "raise the limit (ulimit -v), or name a part of the text"
        raise TextError(f"{path} cannot be mapped ({reason}): {remedy}") from None


def npy_header(dtype: np.dtype[Any], length: int) -> bytes:
    """Return the bytes before the numbers in the .npy file of an array (length,)."""
    stream = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()


def may_contain(size: int, marks: int) -> bool:
    """Return whether some entry is of a text of `size` bytes, of which up to `marks` may be byte order marks."""
    for path in contents(IS_KEY):
        with suppress(OSError, *DAMAGED):
            if size - marks <= read_meta(path).size <= size:
                return True
    return False


def entries() -> list[Entry]:
    """Return every entry, the last used first. Raises `TextError` for a cache directory that cannot be read."""
    result = []
    for path in contents(IS_KEY):
        with suppress(OSError):  # another process has removed it
            size, used = sum(file.stat().st_size for file in path.iterdir()), path.stat().st_mtime
            try:
                name = read_meta(path).name
            except DAMAGED:
                name = None
            result.append(Entry(path, size, used, name))
    return sorted(result, key=lambda entry: entry.used, reverse=True)


def old_files() -> list[Path]:
    """Return the files that earlier versions left in the cache directory."""
    return [path for path in contents(IS_OLD) if path.is_file()]


def contents(is_name: Callable[[str], object]) -> list[Path]:
    """Return the paths in the cache directory whose names `is_name` accepts."""
    try:
        return sorted(path for path in directory().iterdir() if is_name(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TextError(
            f"the cache directory {directory()} cannot be read ({error.strerror or error}): "
            "remove what is in the way, or set XDG_CACHE_HOME to another directory"
        ) from None


def clear() -> tuple[list[Entry], list[Path]]:
    """Remove every entry and what earlier versions and killed processes left. Return the entries and the old files.

    Raises `TextError` for one that cannot be removed.
    """
    removed = entries(), old_files()
    remove_stale(STALE_IF_CLEARED)
    try:
        for entry in removed[0]:
            remove(entry.path)
        for path in removed[1]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TextError(f"{error.filename} cannot be removed ({error.strerror or error})") from None
    return removed


def trim(*, keep: Path) -> None:
    """Remove what killed processes and earlier versions left, and the entries used longest ago beyond `LIMIT`.

    Never `keep`.
    """
    remove_stale(STALE)
    for path in old_files():
        with suppress(OSError):
            path.unlink()
    last_used_first = entries()
    total = sum(entry.size for entry in last_used_first)
    for entry in reversed(last_used_first):
        if total > LIMIT and entry.path != keep:
            with suppress(OSError):
                remove(entry.path)
                total -= entry.size


def remove_stale(age: float) -> None:
    """Remove the temporary folders to which no process has written for `age` seconds."""
    for path in contents(files.TEMPORARY.fullmatch):
        with suppress(OSError):
            written = max(file.stat().st_mtime for file in (path, *path.iterdir()))
            if time.time() - written >= age:
                shutil.rmtree(path)


def remove(path: Path) -> None:
    """Remove an entry. It gets a temporary name first, so that no process sees a part of it."""
    temporary = files.temporary_path(path)
    path.rename(temporary)
    shutil.rmtree(temporary)
