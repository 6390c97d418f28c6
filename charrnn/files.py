"""Files that appear whole or not at all, and links that would lead out of a directory of ours."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import chain
from pathlib import Path

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
"""The name of a file that is being written, or that a killed process has left, and in it the name it is to have."""
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""What a file system says that has no way to sync a directory."""


@contextmanager
def appearing(path: Path, *, durable: bool = True) -> Iterator[FileIO]:
    """A stream for a new file, which is at `path` when the block has ended: whole, or not at all.

    It is written under another name beside it, and never through a link that somebody laid there. `durable`: contents
    are on the disk before the file appears, and its name is when the block has ended.
    Raises `OSError` where the file system refuses, and nothing is left over; what was at `path` is untouched then,
    unless only its new name could not be brought to the disk.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb", buffering=0) as stream:
            yield stream
            if durable:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable and os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        except OSError as error:
            if error.errno not in NO_SYNC:
                raise
        finally:
            os.close(directory)


def write(path: Path, *blocks: bytes, more: Iterable[bytes] = ()) -> None:
    """Put `blocks` and then `more` at `path`, durably. Raises as `appearing` does."""
    with appearing(path) as stream:
        for block in chain(blocks, more):
            write_whole(stream, block)


def write_whole(stream: FileIO, data: bytes | memoryview) -> None:
    """Write all of `data`; an unbuffered stream may take less at a time, and says at once that the disk is full."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[stream.write(rest) :]


def left_over(path: Path, ours: Callable[[str], object]) -> bool:
    """Whether `path` is what a killed process left of its writing of a file whose name is `ours`."""
    found = TEMPORARY.fullmatch(path.name)
    return found is not None and bool(ours(found[1])) and not path.is_dir()


def sweep(folder: Path, ours: Callable[[str], object]) -> None:
    """Remove what is left over in `folder`, into which nobody else may be writing."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if left_over(path, ours):
            path.unlink(missing_ok=True)


def leads_out(path: Path, folder: Path) -> bool:
    """Whether `path`, which is named as one below `folder`, is somewhere else because of a link."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
