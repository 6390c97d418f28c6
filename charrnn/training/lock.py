"""One process trains into a run directory; whoever comes second learns which it is."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from charrnn import files
from charrnn.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PID = ".pid"
"""The file in which the process that holds a run directory says who it is. Only its lock means anything."""
OWNER = re.compile(r"(\d{1,10}) (\S{1,255})\n?")


class Lock:
    """Holds `run` for this process until it is closed, or the process ends, however it ends.

    On Windows, and on a file system without locks, nothing is held.
    Raises `CheckpointError` if another process trains into it, and `OSError` where the file system refuses.
    """

    def __init__(self, run: Path) -> None:
        self.path, self.descriptor = run / PID, held(run, shared=False)
        try:
            files.write(self.path, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others train into it."""
        if self.descriptor is not None:
            try:
                self.path.unlink(missing_ok=True)
            finally:
                os.close(self.descriptor)
                self.descriptor = None


def check(run: Path) -> None:
    """Raise `CheckpointError` if another process trains into `run`."""
    descriptor = held(run, shared=True)
    if descriptor is not None:
        os.close(descriptor)


def held(run: Path, *, shared: bool) -> int | None:
    """A descriptor that holds `run` until it is closed; None where directories cannot be locked."""
    if fcntl is None:
        return None
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):  # a file system without locks
            return None
        raise CheckpointError(f"{owner(run)} is training into {run}: wait for it, or name another --out") from None
    return descriptor


def owner(run: Path) -> str:
    """In words, who holds `run`."""
    try:
        with (run / PID).open() as stream:
            said = OWNER.fullmatch(stream.read(300))
    except (OSError, ValueError):
        said = None
    if said is None:
        return "another process"
    return f"process {said[1]}" + (f" on {said[2]}" if said[2] != socket.gethostname() else "")
