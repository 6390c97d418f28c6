"""What several commands share: options, texts that are read whole, and how this program is called."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from charrnn.cli.terminal import quoted
from charrnn.errors import ConfigError, TextError

PROMPT = 1 << 24
"""Most characters of a prompt in a file: reading so many takes minutes."""
MEMORY = 8 << 30
"""Bytes of a machine's memory where the system does not tell."""
CHARACTER = 8
"""Bytes that a character of a text takes which is read whole, in pieces and joined, at worst."""


class Interruption:
    """The signal that asked for the end, if any."""

    signal: int | None = None


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\"}

F = TypeVar("F", bound=Callable[..., Any])

run_argument = click.argument("run", type=click.Path(path_type=Path))
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
configured_device_option = click.option(
    "--device", help="auto, cpu, cuda or cuda:N.  [default: the configuration's, else auto]"
)
fallback_option = click.option(
    "--no-fallback", is_flag=True, help="An unusable GPU is an error (exit 2) instead of a fallback to the CPU."
)
checkpoint_option = click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="best|last|STEP",
    help="Which one of a run directory.",
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the configuration."
)
files_encoding_option = click.option("--encoding", help="Encoding of the files.  [default: utf-8]")
text_encoding_option = click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text.")
unknown_option = click.option(
    "--unknown",
    type=click.Choice(["error", "skip", "replace"]),
    default="error",
    show_default=True,
    help="What to do with characters that the network never saw.",
)


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, listed in order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


model_options = options(run_argument, checkpoint_option, device_option, fallback_option, unknown_option)


def strict(value: Any) -> Any:
    """`value` for strict JSON: as in metrics.jsonl, a number that is not finite is a string."""
    if isinstance(value, dict):
        return {key: strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def unescaped(word: str, option: str) -> str:
    """`word` with the escapes of a TOML string read, as in a configuration: a shell passes them on as they are.

    Raises `ConfigError` for a backslash that begins none of them.
    """

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        found = chr(int(code, 16)) if code and int(code, 16) < 0x110000 else ESCAPES.get(match[3])
        if found is None:
            raise ConfigError(f"{option}: {match[0]} is not an escape: write \\\\ for a backslash")
        return found

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", character, word, flags=re.DOTALL)


def read_prompt(name: str, encoding: str) -> str:
    """The prompt in a file, `-` for standard input."""
    return read_text(name, encoding, PROMPT, "give only its end")


def read_text(name: str, encoding: str, most: int | None = None, advice: str = "name a part of it") -> str:
    """The whole text of a file, `-` for standard input.

    Raises `TextError` for one of more than `most` characters, half of this machine's memory if that is None: a pipe
    may have no end.
    """
    from charrnn import backend
    from charrnn.text import blocks

    if name != "-" and not Path(name).exists():
        raise TextError(f"{name}: there is no such file")
    most = (backend.total_ram() or MEMORY) // 2 // CHARACTER if most is None else most
    parts, length = [], 0
    for part in blocks(name, encoding):
        parts.append(part)
        length += len(part)
        if length > most:
            raise TextError(f"{name}: the text is longer than {most:,} characters: {advice}")
    return "".join(parts)


def command_line(*words: str | Path) -> str:
    """A command that a user can paste: this program, called as it was called now, with `words`."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        program = [sys.executable, "-m", "charrnn"]
    else:
        found = shutil.which("charrnn")
        program = ["charrnn" if found and Path(found).resolve() == called.resolve() else sys.argv[0]]
    return " ".join(map(quoted, [*program, *map(str, words)]))
