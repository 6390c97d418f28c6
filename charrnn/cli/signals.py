"""Signals that end a training: the first one finishes the step and saves, the second one stops at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

BROKEN_PIPE = 13
"""The number of SIGPIPE, which not every system has in `signal`."""


@dataclass
class Interruption:
    """The number of the signal that asked training to stop; None if there was none."""

    signal: int | None = None


@contextmanager
def interruptible(*, quiet: bool = False) -> Iterator[Interruption]:
    """Catch Ctrl-C, SIGTERM, the closing of the terminal, and Ctrl-Break on Windows.

    The yielded object holds the number of the first signal. A second signal exits at once. The previous
    handlers are restored at the end. With `quiet`, a signal prints nothing.
    """
    interruption = Interruption()
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]

    def handle(number: int, _: FrameType | None) -> None:
        if interruption.signal is not None:
            sys.exit(128 + number)
        interruption.signal = number
        # os.write, because the signal may have interrupted a write to sys.stderr.
        with suppress(OSError):
            if sys.__stderr__ is not None and not quiet:
                os.write(sys.__stderr__.fileno(), b"\nfinishing the step and saving ... (again: stop at once)\n")

    # A signal that is ignored, as under nohup, stays ignored.
    caught = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in caught}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
