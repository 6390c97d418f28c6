"""Every moment at which a process touches the disk, counted, so that a test can break it at each of them.

As a program it tries them all: `python breaking.py FOLDER OLD WORDS...` runs `charrnn WORDS... --out FOLDER/N` in a
fork that kills itself at moment N, for N from 0 until one ends by itself; each is then resumed, killed again at some
later moment, and resumed to its end. It prints the three statuses of each as JSON. OLD is a run to be overwritten, of
which each gets a copy, or `-`. If the text comes from standard input, a file, it is not there again to resume.
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
"""What is done to the disk besides writing. Every write is two moments: before it, and when half of it is done."""


@contextmanager
def touching(at: Callable[[str], object]) -> Iterator[None]:
    """Within, `at` is called with a name just before each moment."""

    def before(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **options: Any) -> Any:
            at(name)
            return function(*words, **options)

        return called

    right = files.write_whole

    def write_whole(stream: FileIO, data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B")
        for part in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
            at("write")
            right(stream, part)

    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, before(name, getattr(os, name))))
        stack.enter_context(mock.patch.object(files, "write_whole", write_whole))
        yield


def killed_at(moment: int) -> Callable[[str], None]:
    """Ends this process at a moment, as a power cut would."""
    left = iter(range(moment, -1, -1))

    def at(_: str) -> None:
        if next(left, -1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def forked(words: list[str], moment: int | None) -> int:
    """The exit status of `charrnn WORDS...` in a fork, which is killed at a moment, if at any: then -9."""
    child = os.fork()
    if child == 0:
        status: object = 1
        try:
            sys.argv = ["charrnn", *words]
            if "-" in words:
                os.lseek(0, 0, os.SEEK_SET)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 (the process ends)
            with touching(killed_at(moment) if moment is not None else str):
                cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            os._exit(int(status if isinstance(status, int) else 1))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Try every moment."""
    folder, old, *words = sys.argv[1:]
    for module in ("charrnn.api", "charrnn.cli.progress"):  # so that no fork has to
        import_module(module)
    draw, statuses = random.Random(0), []
    for moment in count():
        run = Path(folder, str(moment))
        if old != "-":
            shutil.copytree(old, run)
        first = forked([*words, "--out", str(run), *["--overwrite"] * (old != "-")], moment)
        if first == 0:
            shutil.rmtree(run)
            break
        again = [*(["train"] if "-" in words else words), "--out", str(run), "--resume"]
        statuses.append([first, forked(again, draw.randrange(60)), forked(again, None)])
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
