"""Options that several commands share, and the parts of their help."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from charrnn.errors import ConfigError

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\"}

F = TypeVar("F", bound=Callable[..., Any])

run_argument = click.argument("run", type=click.Path(path_type=Path))
device_option = click.option(
    "--device", default="auto", show_default=True, help="Compute on auto, cpu, cuda or cuda:N."
)
configured_device_option = click.option(
    "--device", help="Compute on auto, cpu, cuda or cuda:N.  [default: the configuration's, else auto]"
)
fallback_option = click.option(
    "--no-fallback", is_flag=True, help="Fail with status 2 if the GPU cannot be used, instead of using the CPU."
)
kernels_option = click.option(
    "--kernels",
    type=click.Choice(["auto", "off"]),
    help="off: use no kernels of charrnn's own on a GPU.  [default: the configuration's, else auto]",
)
checkpoint_option = click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="best|last|STEP",
    help="Use this checkpoint of the run directory.",
)
settings_option = click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key of the configuration."
)
text_encoding_option = click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text.")
unknown_option = click.option(
    "--unknown",
    type=click.Choice(["error", "skip", "replace"]),
    default="error",
    show_default=True,
    help="What to do with characters that the network does not know.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator that adds several options, listed in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


rows_options = options(
    click.option("--jsonl", metavar="FIELD", help="Read JSON Lines: FIELD of each line is a document."),
    click.option("--csv", metavar="COLUMN", help="Read CSV with a header: COLUMN of each row is a document."),
)
files_options = options(
    click.option("--encoding", help="Encoding of the files.  [default: utf-8]"),
    rows_options,
)
model_options = options(run_argument, checkpoint_option, device_option, fallback_option, kernels_option, unknown_option)


def examples(*lines: str) -> str:
    """Return the end of a help text: examples, one on each line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def strict_json(value: Any) -> Any:
    """Return `value` for strict JSON: a number that is not finite becomes a string, as in metrics.jsonl."""
    if isinstance(value, dict):
        return {key: strict_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def unescaped(word: str, option: str) -> str:
    """Return `word` with its escapes replaced, which are those of a TOML string; a shell does not replace them.

    Raises `ConfigError`, naming `option`, for a backslash that does not begin an escape.
    """

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        result = chr(int(code, 16)) if code and int(code, 16) < 0x110000 else ESCAPES.get(match[3])
        if result is None:
            raise ConfigError(f"{option}: {match[0]} is not an escape: write \\\\ for a backslash")
        return result

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", character, word, flags=re.DOTALL)
