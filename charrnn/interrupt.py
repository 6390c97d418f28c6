"""Ctrl-C, or the stop button of a notebook, while `charrnn.train` runs: the step is finished and the run saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass
class Interrupt:
    """Whether the user asked training to stop."""

    requested: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Record the first Ctrl-C in the yielded object instead of raising `KeyboardInterrupt`; a second one raises it.

    A handler of the caller, and a thread that Python sends no signals to, stay as they are.
    """
    interrupt = Interrupt()

    def handle(_: int, frame: object) -> None:
        del frame
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True
        # os.write, because the signal may have interrupted a write to sys.stderr.
        with suppress(OSError):
            if sys.__stderr__ is not None:
                os.write(sys.__stderr__.fileno(), b"\nfinishing the step ... (again: stop at once)\n")

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
