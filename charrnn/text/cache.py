"""The cache of large texts: a file of ids for each, named by the text's hash, in the user's cache directory.

Entries appear by a rename, whole; two runs that make the same one at once both succeed. When one is written, those
used longest ago are removed until all together are at most `LIMIT`; never one that a process has mapped.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charrnn import files
from charrnn.errors import TextError
from charrnn.text import entry
from charrnn.text.corpus import Corpus
from charrnn.text.entry import About
from charrnn.text.vocabulary import Ids

SMALL = 64 << 20
"""Bytes of UTF-8 up to which a text stays in memory and the cache is never touched."""
LIMIT = 20 * 10**9
"""Bytes of all entries together."""
STALE = 60.0
"""Seconds: while an entry is written its file has a temporary name, which for a moment nobody holds."""
ENTRY = re.compile(r"[0-9a-f]{64}\.ids").fullmatch
"""Whether this is the name of an entry."""


@dataclass(frozen=True)
class Entry:
    """An entry as its directory shows it.

    Attributes:
        path: its file.
        size: bytes on the disk.
        used: seconds since the epoch when it was last opened.
        about: what it says of itself; None if it is damaged.
    """

    path: Path
    size: int
    used: float
    about: About | None


def directory() -> Path:
    """Where the cache is: `charrnn` in XDG_CACHE_HOME, else where the system keeps caches. It need not exist.

    By hand, so that one variable moves it on every system. Raises `TextError` for a user without a home.
    """
    said = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if said.is_absolute():
        return said / "charrnn"
    try:
        if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
            return Path(os.environ["LOCALAPPDATA"], "charrnn", "Cache")
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "charrnn"
    except RuntimeError:
        raise TextError("this user has no home directory for a cache: set XDG_CACHE_HOME to a directory") from None


@contextmanager
def refusing() -> Iterator[None]:
    """What the file system refuses, as a `TextError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise TextError(
            f"a text over {SMALL >> 20} MB is kept in {directory()}, which cannot be written "
            f"({error.strerror or error}): make room there, empty it with `charrnn cache --clear`, "
            "or set XDG_CACHE_HOME to another directory"
        ) from None


class Spill:
    """Blocks of ids on the disk, appended and popped like those of a list; popping one frees its room.

    The file has no name, so that nothing is left of it however the process ends.
    """

    def __init__(self, blocks: Iterable[Ids]) -> None:
        self.shapes: list[tuple[np.dtype[np.generic], int]] = []
        with refusing():
            directory().mkdir(mode=0o700, parents=True, exist_ok=True)
            self.stream = tempfile.TemporaryFile(dir=directory(), buffering=0)  # noqa: SIM115 (see `close`)
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
        with refusing():
            files.write_whole(self.stream, block.data)
        self.shapes.append((block.dtype, len(block)))

    def pop(self) -> Ids:
        """Take the last block from the end. Raises `TextError` where the file system refuses."""
        dtype, length = self.shapes.pop()
        with refusing():
            start = self.stream.seek(-length * dtype.itemsize, os.SEEK_END)
            data = self.stream.read(length * dtype.itemsize)
            self.stream.truncate(start)
        return np.frombuffer(data, dtype, length)

    def close(self) -> None:
        """Give the room back."""
        self.stream.close()


def path_of(sha256: str) -> Path:
    """Where the entry of a text is."""
    return directory() / f"{sha256}.ids"


def may_have(size: int, marks: int) -> bool:
    """Whether some entry is of a text of `size` bytes, of which up to `marks` may be byte order marks."""
    return any(e.about is not None and size - marks <= e.about.size <= size for e in entries())


def opened(sha256: str, name: str, *, verify: bool = True) -> Corpus | None:
    """The corpus with this hash, mapped and from now on the one used last; None if there is no whole entry of it.

    Raises `TextError` for one that is whole, and cannot be mapped.
    """
    path = path_of(sha256)
    corpus = entry.mapped(path, sha256, name, verify=verify)
    if corpus is not None:
        with suppress(OSError):  # a cache that can only be read
            os.utime(path)
    return corpus


def put(about: About, starts: Ids, blocks: Iterable[tuple[int, Ids]]) -> Corpus:
    """Make an entry from its starts and blocks of final ids with their positions, and map it; then `trim`.

    Raises `TextError` where the file system refuses, and nothing is left then; and where it cannot be mapped.
    """
    path = path_of(about.sha256)
    with refusing():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with files.appearing(path, durable=False) as stream:
                entry.hold(stream, exclusive=True)
                entry.write(stream, about, starts, blocks)
        except PermissionError:  # on Windows, where another run has mapped the same entry
            if not path.exists():
                raise
    corpus = opened(about.sha256, about.name, verify=False)
    if corpus is None:
        raise TextError(f"{path} was removed or damaged while it was written: run the command again")
    trim(keep=path)
    return corpus


def entries() -> list[Entry]:
    """Every entry, the one used last first."""
    found = []
    for path in named(ENTRY):
        with suppress(OSError):  # removed meanwhile
            status = path.stat()
            found.append(Entry(path, status.st_size, status.st_mtime, entry.described(path)))
    return sorted(found, key=lambda e: e.used, reverse=True)


def named(ours: Callable[[str], object]) -> list[Path]:
    """The files of the cache whose names are `ours`; whatever else is in its directory is nobody's business."""
    return [path for path in everything() if ours(path.name)]


def left_over(ours: Callable[[str], object]) -> list[Path]:
    """What killed processes have left of their writing of such files."""
    return [path for path in everything() if files.left_over(path, ours)]


def everything() -> list[Path]:
    """Every file in the directory of the cache."""
    try:
        return sorted(path for path in directory().iterdir() if path.is_file())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TextError(
            f"the cache {directory()} cannot be read ({error.strerror or error}): "
            "mend it, or set XDG_CACHE_HOME to another directory"
        ) from None


def trim(*, keep: Path) -> None:
    """Remove what killed processes left, and what was used longest ago until `LIMIT` is kept; never `keep`."""
    sweep(STALE)
    found = entries()
    total = sum(e.size for e in found)
    for old in reversed(found):
        if total > LIMIT and old.path != keep and not entry.held(old.path):
            with suppress(OSError):
                old.path.unlink(missing_ok=True)
                total -= old.size


def sweep(age: float) -> None:
    """Remove the temporary files that no process holds, and that nobody has written to for `age` seconds."""
    for path in left_over(ENTRY):
        with suppress(OSError):
            if not entry.held(path) and time.time() - path.stat().st_mtime >= age:
                path.unlink()


def clear() -> list[Entry]:
    """Remove every entry, and what killed processes left; the entries there were. A run goes on that has one mapped.

    Raises `TextError` for one that cannot be removed.
    """
    sweep(0)
    found = entries()
    for old in found:
        remove(old.path)
    return found


def remove(path: Path) -> None:
    """Remove a file of the cache. Raises `TextError` where that cannot be."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise TextError(f"{path} cannot be removed ({error.strerror or error})") from None
