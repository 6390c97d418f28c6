"""The one way to standard output and standard error.

Whatever a network, a vocabulary, a checkpoint or the name of a file may hold, it must not drive a terminal: there its
control characters are escaped. A pipe gets standard output as it is. Lines on standard error are for people, now or
when they look at a log, so in them nothing drives a terminal or begins another line, wherever they go.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import TextIO

CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""C0 but tab and newline, DEL and C1; overrides of the direction; halves of characters, which are no text."""
CONTROL, CONTROL_OR_BREAK = (re.compile(f"[{characters}]") for characters in (CONTROLS, CONTROLS + "\t\n\u2028\u2029"))


def escaped(text: str) -> str:
    """`text` with control characters escaped; lines, tabs, combining and right-to-left text stay."""
    return CONTROL.sub(escape, text)


def printable(text: str) -> str:
    """The same as one line: what ends a line is escaped too."""
    return CONTROL_OR_BREAK.sub(escape, text)


def escape(found: re.Match[str]) -> str:
    """A character as Python and JSON write it."""
    return found[0].encode("unicode_escape").decode()


def quoted(word: str) -> str:
    """`word` for a shell; one that holds control characters with their bytes as escapes, as bash and zsh read them."""
    if printable(word) == word:
        return shlex.quote(word)
    word = re.sub(r"['\\]", r"\\\g<0>", word)
    return "$'" + CONTROL_OR_BREAK.sub(lambda found: "".join(f"\\x{b:02x}" for b in os.fsencode(found[0])), word) + "'"


def write(text: str) -> None:
    """Text on standard output at once, as `put` does. Raises `BrokenPipeError` where there is no standard output."""
    if sys.stdout is None:
        raise BrokenPipeError
    put(text, sys.stdout)


def say(line: str = "") -> None:
    """A line, or some, on standard output, where there is one."""
    if sys.stdout is not None:
        put(f"{line}\n", sys.stdout)


def note(message: str) -> None:
    """A line for the user on standard error, if anybody reads there."""
    if sys.stderr is not None:
        try:
            put(f"{printable(message)}\n", sys.stderr)
        except OSError:
            sys.stderr = nowhere()


def put(text: str, stream: TextIO) -> None:
    """Text on a stream, past its own buffer and line ends: in a pipe UTF-8; on a terminal in its encoding, escaped."""
    if not text:
        return
    terminal = stream.isatty()
    data = (escaped(text) if terminal else text).encode(stream.encoding if terminal else "utf-8", "backslashreplace")
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def abandon_output() -> None:
    """Nobody reads standard output any more: write the rest nowhere."""
    sys.stdout = nowhere()


def nowhere() -> TextIO:
    """A stream in place of one that failed, which the interpreter would fail to flush at exit."""
    return open(os.devnull, "w")  # noqa: PTH123 (it stays open to the end)
