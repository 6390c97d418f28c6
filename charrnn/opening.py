"""Opening what a user names: a file, a pipe that is written to, a terminal; no device, and without waiting for ever."""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path
from typing import BinaryIO

WAIT = 2.0
"""Seconds for which a named pipe may be without a writer."""


def opened(path: str | Path) -> BinaryIO:
    """The bytes of a file, a pipe or a terminal, to be closed by the caller.

    Raises `OSError` for what cannot be opened, for a device, and for a named pipe that nobody writes to.
    """
    stream = open(path, "rb", opener=at_once)  # noqa: SIM115 (pathlib's takes no opener)
    try:
        check(stream)
        if os.name == "posix":
            expected = not stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode) or written(stream)
            os.set_blocking(stream.fileno(), True)
            # A writer may be there and take its time, as in `(sleep 9; cat book) > pipe`; without one the pipe ends.
            if not expected and not stream.peek(1):
                raise OSError(errno.EPIPE, "nobody has written to this pipe", str(path))
    except BaseException:
        stream.close()
        raise
    return stream


def at_once(path: str, flags: int) -> int:
    """Open without waiting for a pipe's writer or a line's carrier, and without taking a terminal over."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def written(stream: BinaryIO) -> bool:
    """Whether, within `WAIT`, there is something in a pipe, or a writer has come and gone."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return bool(poll.poll(WAIT * 1000))


def check(stream: BinaryIO) -> None:
    """Raise `OSError` for a device, which may have no end; a terminal and the empty device are none here."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # a stream in memory
        return
    device = stat.S_ISBLK(found.st_mode) or (stat.S_ISCHR(found.st_mode) and not stream.isatty())
    if device and found.st_rdev != Path(os.devnull).stat().st_rdev:
        raise OSError(errno.ENODEV, "it is a device, not a text", getattr(stream, "name", None))
