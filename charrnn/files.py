"""Open the files that a user names, write files atomically, recognize temporary files and paths outside a folder."""

from __future__ import annotations

import errno
import os
import re
import secrets
import select
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import FileIO
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

WRITER_TIMEOUT = 2.0
"""Seconds to wait for the writer of a named pipe."""
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
"""The name of a temporary file. The group is the name of the file that it replaces when it is complete."""
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between the tries of a rename that Windows refuses because another process has the file open."""
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""The errors of file systems that cannot sync a directory."""


def cache_directory() -> Path:
    """Return the cache directory, which need not exist: `charrnn` in XDG_CACHE_HOME or where the system has caches.

    XDG_CACHE_HOME is used on every system. Raises `RuntimeError` for a user without a home directory.
    """
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "charrnn"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"], "charrnn", "Cache")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "charrnn"


def open_input(path: str | Path) -> BinaryIO:
    """Open a file, a pipe or a terminal for reading bytes. The caller closes it.

    Raises `OSError` for a path that cannot be opened, for a device, and for a named pipe without a writer.
    """
    stream = open(path, "rb", opener=open_without_waiting)  # noqa: SIM115 (pathlib's open has no opener)
    try:
        refuse_device(stream)
        if os.name == "posix":
            is_pipe = stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
            ready = not is_pipe or wait_for_writer(stream)
            os.set_blocking(stream.fileno(), True)
            # A slow writer, as in `(sleep 9; cat book) > pipe`, has the pipe open: then `peek` waits for its first
            # byte. A pipe that no process has open for writing ends at once.
            if not ready and not stream.peek(1):
                raise OSError(errno.EPIPE, "no program writes to this pipe", str(path))
    except BaseException:
        stream.close()
        raise
    return stream


def open_without_waiting(path: str, flags: int) -> int:
    """Open a path without waiting for a pipe's writer, and without making a terminal the controlling one."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def wait_for_writer(stream: BinaryIO) -> bool:
    """Return whether a pipe has data, or had a writer that closed it, within `WRITER_TIMEOUT`."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(WRITER_TIMEOUT * 1000))


def refuse_device(stream: BinaryIO) -> None:
    """Raise `OSError` for a device, which may have no end. A terminal and the null device are allowed."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # a stream in memory
        return
    is_device = stat.S_ISBLK(status.st_mode) or (stat.S_ISCHR(status.st_mode) and not stream.isatty())
    if is_device and status.st_rdev != Path(os.devnull).stat().st_rdev:
        raise OSError(errno.ENODEV, "it is a device, not a text", getattr(stream, "name", None))


def temporary_path(path: Path) -> Path:
    """Return a new temporary name beside `path`; see `is_temporary`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_atomically(path: Path, *blocks: bytes, more: Iterable[bytes] = ()) -> None:
    """Write `blocks` and then `more` to `path`, so that a reader or a crash sees the whole new file or the old one.

    The data are on the disk before the file gets its name. A link at `path` is replaced, not followed.
    Raises `OSError` where the file system refuses. Then no temporary file remains. `path` is
    unchanged, unless only the last step failed: the sync of the directory.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("xb", buffering=0) as stream:
            for block in chain(blocks, more):
                write_whole(stream, block)
            os.fsync(stream.fileno())
        retry_while_open(lambda: temporary.replace(path))
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def retry_while_open(rename: Callable[[], object]) -> None:
    """Rename a file or a directory. On Windows, try again while another process has it open.

    Virus scanners and indexers open a new file for a moment. Raises `OSError` if the last try fails.
    """
    for pause in PAUSES if os.name == "nt" else ():
        try:
            rename()
        except PermissionError:
            time.sleep(pause)
        else:
            return
    rename()


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk, where the system can do that."""
    if os.name != "posix":
        return
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(directory)


def write_whole(stream: FileIO, data: bytes | memoryview) -> None:
    """Write all of `data` to an unbuffered stream, whose `write` may write only a part of it."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[stream.write(rest) :]


def is_temporary(path: Path, is_name: Callable[[str], object]) -> bool:
    """Return whether `path` is a temporary file for a final name that `is_name` accepts."""
    match = TEMPORARY.fullmatch(path.name)
    return match is not None and bool(is_name(match[1])) and not path.is_dir()


def remove_temporaries(folder: Path, is_name: Callable[[str], object]) -> None:
    """Remove the temporary files that killed processes left in `folder`. No other process may be writing to it."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if is_temporary(path, is_name):
            path.unlink(missing_ok=True)


def name_of(path: str) -> str:
    """Return the last part of a path that was written down on any system, as in the configuration of a run."""
    on_windows = PureWindowsPath(path)
    return on_windows.name if on_windows.drive else Path(path).name


def is_outside(path: Path, folder: Path) -> bool:
    """Return whether `path`, with all symbolic links followed, is outside of `folder`."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
