"""Print to standard output and standard error; every command prints through this module.

Texts, vocabularies, checkpoints and file names may hold control characters, which could change the state of a
terminal. On a terminal they are printed as escapes. Into a pipe, standard output is written unchanged. A line on
standard error is always escaped, wherever it goes, so it stays one line.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from charrnn.errors import ConfigError
from charrnn.files import write_atomically

CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""C0 except tab and newline, DEL, C1, overrides of the text direction, and surrogates."""
CONTROL, CONTROL_OR_BREAK = (re.compile(f"[{characters}]") for characters in (CONTROLS, CONTROLS + "\t\n\u2028\u2029"))

PLAIN_ON_WINDOWS = re.compile(r"[\w\\/:.=+-]+")
"""Words that cmd and PowerShell read as they are."""
HTML = b"<!doctype html>"
"""How an HTML page begins."""


def escaped(text: str) -> str:
    """Return `text` with control characters escaped; line ends, tabs and combining characters stay."""
    return CONTROL.sub(escape_sequence, text)


def printable(text: str) -> str:
    """Return `text` as one line: control characters, tabs and line ends are escaped."""
    return CONTROL_OR_BREAK.sub(escape_sequence, text)


def escape_sequence(match: re.Match[str]) -> str:
    """Return the escape of a matched character, as in Python and JSON strings."""
    return match[0].encode("unicode_escape").decode()


def shell_quoted(word: str) -> str:
    """Return `word` quoted for a shell; control characters become byte escapes, which bash and zsh read.

    On Windows it is quoted for both cmd and PowerShell; no file name has a control character or a quote there.
    """
    if os.name == "nt":
        return word if PLAIN_ON_WINDOWS.fullmatch(word) else f'"{printable(word)}"'
    if printable(word) == word:
        return shlex.quote(word)
    word = re.sub(r"['\\]", r"\\\g<0>", word)
    return "$'" + CONTROL_OR_BREAK.sub(lambda match: "".join(f"\\x{b:02x}" for b in os.fsencode(match[0])), word) + "'"


def command_line(*words: str | Path) -> str:
    """Return a command that the user can paste: this program, started as it was started now, with `words`."""
    if Path(sys.argv[0]).name == "__main__.py":
        program = [sys.executable, "-m", "charrnn"]
    else:
        installed = shutil.which("charrnn")
        # On Windows the file is charrnn.EXE, and the program was started as charrnn or charrnn.exe.
        in_path = installed is not None and without_suffix(installed) == without_suffix(sys.argv[0])
        program = ["charrnn" if in_path else sys.argv[0]]
    return " ".join(map(shell_quoted, [*program, *map(str, words)]))


def without_suffix(path: str) -> str:
    """Return a path with links followed and without the suffix of its file."""
    return os.path.splitext(os.path.realpath(path))[0]  # noqa: PTH122 (pathlib's raises for a path without a name)


def table_lines(rows: Sequence[Sequence[str]], align: str, least: Sequence[int] = ()) -> list[str]:
    """Return a table as lines of text: columns two spaces apart, each as wide as its widest cell.

    Args:
        rows: the cells of each row, the heading first. Control characters in them are escaped.
        align: `<` or `>` for each column.
        least: minimum widths of the first columns.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    needed = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths = [max(pair) for pair in zip_longest(needed, least, fillvalue=0)]
    padded = ([f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)] for row in cells)
    return ["  ".join(row).rstrip() for row in padded]


def write_output(text: str) -> None:
    """Write `text` to standard output at once. Raises `BrokenPipeError` if there is no standard output."""
    if sys.stdout is None:
        raise BrokenPipeError
    put(text, sys.stdout)


def print_line(line: str = "") -> None:
    """Print one line or several on standard output, if there is one."""
    if sys.stdout is not None:
        put(f"{line}\n", sys.stdout)


def print_notice(message: str) -> None:
    """Print a line for the user on standard error; a standard error that cannot be written is ignored."""
    if sys.stderr is not None:
        try:
            put(f"{printable(message)}\n", sys.stderr)
        except OSError:
            sys.stderr = null_stream()


def put(text: str, stream: TextIO) -> None:
    """Write `text` to a stream and flush it: UTF-8 into a pipe; escaped, in its own encoding, on a terminal.

    Line ends stay as they are: the bytes are the same on every system. Raises `BrokenPipeError` for a closed pipe.
    """
    if not text:
        return
    terminal = stream.isatty()
    data = (escaped(text) if terminal else text).encode(stream.encoding if terminal else "utf-8", "backslashreplace")
    try:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()
    except OSError as error:
        if os.name == "nt" and error.errno == errno.EINVAL:  # what Windows reports for a closed pipe
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        raise


def discard_output() -> None:
    """Discard what is printed on standard output from now on, because it cannot be written."""
    sys.stdout = null_stream()


def null_stream() -> TextIO:
    """Return a stream that discards everything; a stream that failed would fail again when Python exits."""
    return open(os.devnull, "w")  # noqa: PTH123 (it stays open to the end)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all. Raises `ConfigError` where the file system refuses."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None


def check_replaceable(path: Path) -> None:
    """Raise `ConfigError` for a path that is something else than an HTML page, which would be lost."""
    is_page = False
    try:
        exists = path.exists()
        if path.is_file():
            with path.open("rb") as stream:
                is_page = stream.read(len(HTML)).lower() == HTML
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    if exists and not is_page:
        raise ConfigError(f"cannot write {path}: it exists and is no HTML page; choose another name")
