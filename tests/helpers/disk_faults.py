"""Count every moment at which a process writes to the disk, so that a test can break it at each of them.

As a program it kills a run at these moments: `python disk_faults.py FOLDER OLD STRIDE WORDS...` runs
`charrnn WORDS... --out FOLDER/N` in a fork that kills itself at moment N, for N = 0, STRIDE, 2 STRIDE, ... until a run
ends by itself. Each run is then resumed, killed again at a later moment, and resumed to its end. The program prints the
three exit statuses of each run as JSON, by N. OLD is a run to be overwritten, which is copied for each, or `-`. A text
that comes from standard input, which must be a file, is not given again to resume.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from charrnn import cli, files

CALLS = ("fsync", "replace", "unlink", "mkdir")
"""The calls that change the disk besides writes. A write is two moments: before it, and when half of it is done."""


@contextmanager
def on_disk_access(at: Callable[[str], object]) -> Iterator[None]:
    """Within the block, call `at` with the name of the operation just before each moment."""

    def before(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **options: Any) -> Any:
            at(name)
            return function(*words, **options)

        return called

    original = files.write_whole

    def write_whole(stream: FileIO, data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B")
        for part in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
            at("write")
            original(stream, part)

    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, before(name, getattr(os, name))))
        stack.enter_context(mock.patch.object(files, "write_whole", write_whole))
        yield


def killed_at(moment: int) -> Callable[[str], None]:
    """Return a function for `on_disk_access` that kills this process at a moment, as a power cut would."""
    left = iter(range(moment, -1, -1))

    def at(_: str) -> None:
        if next(left, -1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def run_in_fork(words: list[str], moment: int | None) -> int:
    """Return the exit status of `charrnn WORDS...` in a fork: -9 if it was killed at `moment`, None being never."""
    child = os.fork()
    if child == 0:
        status: object = 1
        try:
            sys.argv = ["charrnn", *words]
            if "-" in words:
                os.lseek(0, 0, os.SEEK_SET)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 (the process ends)
            with on_disk_access(killed_at(moment) if moment is not None else str):
                cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            os._exit(int(status if isinstance(status, int) else 1))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def import_commands() -> None:
    """Import what every command needs, so that no fork has to."""
    for module in ("charrnn.api", "charrnn.cli.progress"):
        import_module(module)


def main() -> None:
    """Kill a run at every moment, or at every STRIDE-th."""
    folder, old, stride, *words = sys.argv[1:]
    import_commands()
    draw, statuses = random.Random(0), {}
    for moment in count(0, int(stride)):
        run = Path(folder, str(moment))
        if old != "-":
            shutil.copytree(old, run)
        first = run_in_fork([*words, "--out", str(run), *["--overwrite"] * (old != "-")], moment)
        if first == 0:
            shutil.rmtree(run)
            break
        again = [*(["train"] if "-" in words else words), "--out", str(run), "--resume"]
        statuses[moment] = [first, run_in_fork(again, draw.randrange(60)), run_in_fork(again, None)]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
