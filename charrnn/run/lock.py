"""Lock a run directory, so that only one process trains in it. An error names the process that holds the lock."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from weakref import WeakSet

from filelock import lock_descriptor

from charrnn import files
from charrnn.errors import CheckpointError
from charrnn.run_files import LOCK, OWNER

OWNER_LINE = re.compile(rb"(\d{1,10}) (\S{1,255})\n?")
TRIES, PAUSE = 20, 0.01
"""How often to try a lock, and the seconds between: `check` of another process holds the lock for a moment, too."""


class Lock:
    """The lock of `run`, held until it is closed or the process exits. A forked child holds nothing.

    `.lock` is locked while a process trains. `.pid`, which any process can read meanwhile, names that process. On a
    file system without locks, nothing is held.
    Raises `CheckpointError` if another process trains in `run`, and `OSError` where the file system refuses.
    """

    def __init__(self, run: Path) -> None:
        stream = locked(run / LOCK, create=True)
        if stream is None:
            raise held_by_another(run)
        self.run, self.path, self.stream = run, run / LOCK, stream
        HELD.add(self)
        try:
            if (run / OWNER).is_dir():
                raise CheckpointError(f"{run / OWNER} is not a file: remove it")
            files.write_atomically(run / OWNER, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except BaseException:
            self.close()
            raise

    def confirm(self) -> None:
        """Raise `CheckpointError` if the lock file at the path is no longer the one that this process holds."""
        if not is_at(self.stream, self.path):
            raise CheckpointError(
                f"{self.run}, or its {LOCK}, was moved, removed or replaced while this process trained: "
                "continue with --resume where the run is now, or start a new run"
            )

    def close(self) -> None:
        """Let other processes train in `run`. A lock file that replaced the one of this process stays."""
        HELD.discard(self)
        own = False
        try:
            own = not self.stream.closed and is_at(self.stream, self.path)
            if own:
                with suppress(OSError):
                    (self.run / OWNER).unlink(missing_ok=True)
                    self.path.unlink()
        finally:
            self.stream.close()
        if own and os.name == "nt":  # which removes no open file: neither this one above, nor now that of another
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


HELD: WeakSet[Lock] = WeakSet()
"""The locks of this process. A forked child closes its copies, because an open copy keeps a file locked."""


def close_in_child() -> None:
    """Close this child's copies of the locked files. The parent still holds them."""
    for lock in HELD:
        lock.stream.close()
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=close_in_child)


def check(run: Path) -> None:
    """Raise `CheckpointError` if another process trains in `run`. Writes nothing."""
    try:
        stream = locked(run / LOCK, create=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"cannot read {run / LOCK}: {error.strerror}; remove it") from None
    if stream is None:
        raise held_by_another(run)
    stream.close()


def locked(path: Path, *, create: bool) -> FileIO | None:
    """Open and lock the file at `path`; closing it unlocks it. Return None if another process holds it."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # follow no link, wait for no pipe
    flags |= os.O_RDWR if create or os.access(path, os.W_OK) else os.O_RDONLY  # NFS locks only what can be written
    flags |= os.O_CREAT if create else 0
    for _ in range(TRIES):
        with ExitStack() as stack:
            stream = stack.enter_context(FileIO(os.open(path, flags, 0o666), "r+" if flags & os.O_RDWR else "r"))
            if try_lock(stream) and is_at(stream, path):
                stack.pop_all()
                return stream
        time.sleep(PAUSE)
    return None


def try_lock(stream: FileIO) -> bool:
    """Return False if another process has locked an open file; else lock it and return True."""
    try:
        return lock_descriptor(stream.fileno(), blocking=False)
    except OSError:  # a file system without locks
        return True


def is_at(stream: FileIO, path: Path) -> bool:
    """Return whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def held_by_another(run: Path) -> CheckpointError:
    """Return the error for a run in which another process trains. It names the process by the content of `.pid`."""
    process = "another process"
    with suppress(OSError):
        if (run / OWNER).is_file():  # reading a pipe would make this process wait
            with (run / OWNER).open("rb") as stream:
                line = OWNER_LINE.fullmatch(stream.read(300))
            if line is not None:
                host = line[2].decode(errors="replace")
                process = f"process {int(line[1])}" + (f" on {host}" if host != socket.gethostname() else "")
    return CheckpointError(f"{process} is training in {run}: wait for it, or name another --out")
