"""One process trains into a run directory; whoever comes second learns which it is."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from io import FileIO
from pathlib import Path
from weakref import WeakSet

from charrnn import files
from charrnn.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PID = ".pid"
"""The file that is locked, in which the process that holds a run directory says who it is. It goes with the lock."""
OWNER = re.compile(rb"(\d{1,10}) (\S{1,255})\n?")
TRIES, PAUSE = 20, 0.01
"""How often a lock is tried, and the seconds between: whoever only looks holds it for a moment, too."""


class Lock:
    """Holds `run` for this process until it is closed, or the process ends, however it ends.

    On Windows, and on a file system without locks, nothing is held.
    Raises `CheckpointError` if another process trains into it, and `OSError` where the file system refuses.
    """

    def __init__(self, run: Path) -> None:
        self.path, self.stream = run / PID, taken(run)
        HELD.add(self)

    def confirm(self) -> None:
        """Raise `CheckpointError` where what is at the path now is no longer what this process holds."""
        if not current(self.stream, self.path):
            raise CheckpointError(
                f"{self.path.parent}, or its {PID}, was moved, removed or replaced while this process trained: "
                "go on with --resume where the run is now, or start anew"
            )

    def close(self) -> None:
        """Let others train into it. A file that somebody put in the place of this one stays."""
        HELD.discard(self)
        if self.stream.closed:
            return
        try:
            ours = current(self.stream, self.path)
            if ours and fcntl is not None:
                self.path.unlink(missing_ok=True)
        finally:
            self.stream.close()
        if ours and fcntl is None:
            self.path.unlink(missing_ok=True)


HELD: WeakSet[Lock] = WeakSet()
"""What this process holds; a fork of it does not, and would otherwise hold it for longer."""


def forget() -> None:
    """In a fork: close what the parent holds, which stays held there."""
    for lock in HELD:
        lock.stream.close()
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)


def taken(run: Path) -> FileIO:
    """The open file whose lock holds `run`, with this process's number in it."""
    for _ in range(TRIES):
        stream = opened(run / PID, make=True)
        try:
            if free(stream, shared=False) and current(stream, run / PID):
                sign(stream, run / PID)
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()
        time.sleep(PAUSE)
    raise refusal(run)


def sign(stream: FileIO, path: Path) -> None:
    """Write into the locked file at `path` who holds it; where there is no room for that, it is removed."""
    try:
        stream.truncate(0)
        files.write_whole(stream, f"{os.getpid()} {socket.gethostname()}\n".encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def check(run: Path) -> None:
    """Raise `CheckpointError` if another process trains into `run`."""
    try:
        with opened(run / PID, make=False) as stream:
            if not free(stream, shared=True):
                raise refusal(run)
    except FileNotFoundError:
        return


def opened(path: Path, *, make: bool) -> FileIO:
    """The file of a lock, to be written where it may be made; through no link, and without waiting for a pipe.

    Raises `CheckpointError` for what is no file.
    """
    flags = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if (path.exists() or path.is_symlink()) and not stat.S_ISREG(path.lstat().st_mode):
        raise CheckpointError(f"{path} is not a file: remove it")
    return FileIO(os.open(path, flags, 0o666), "r+" if make else "r")


def free(stream: FileIO, *, shared: bool) -> bool:
    """Whether nobody else holds this file: now, until it is closed, this process does, where files can be locked."""
    if fcntl is not None:
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def current(stream: FileIO, path: Path) -> bool:
    """Whether an open file is still the one at `path`: anybody may have removed it."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def refusal(run: Path) -> CheckpointError:
    """The error for a run that somebody holds."""
    return CheckpointError(f"{owner(run)} is training into {run}: wait for it, or name another --out")


def owner(run: Path) -> str:
    """In words, who holds `run`."""
    try:
        with opened(run / PID, make=False) as stream:
            said = OWNER.fullmatch(stream.read(300))
    except (OSError, CheckpointError):
        said = None
    if said is None:
        return "another process"
    host = said[2].decode(errors="replace")
    return f"process {int(said[1])}" + (f" on {host}" if host != socket.gethostname() else "")
