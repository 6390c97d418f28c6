"""`charrnn compare`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.common import (
    device_option,
    fallback_option,
    read_text,
    strict,
    text_encoding_option,
    unknown_option,
)
from charrnn.cli.table import aligned
from charrnn.cli.terminal import note, printable, say
from charrnn.errors import CheckpointError

if TYPE_CHECKING:
    from charrnn.tools.compare import Row, Text


@click.command("compare")
@click.argument("words", nargs=-1, required=True, metavar="RUN... [FILE]")
@click.option("--file", metavar="FILE", help="The text; then every word is a run.")
@click.option("--window", type=int, default=256, show_default=True, metavar="W", help="Of the protocol windows:W.")
@click.option("--no-eval", is_flag=True, help="Evaluate nothing: the best validation loss while training.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@unknown_option
@device_option
@fallback_option
@text_encoding_option
def compare_command(
    words: tuple[str, ...], file: str | None, window: int, no_eval: bool, as_json: bool, encoding: str, **options: Any
) -> None:
    """One table of several runs: what they are, what they took, and how well each predicts.

    RUN is a run directory, of which the best checkpoint is evaluated, or a checkpoint file; on its own validation split
    or, with FILE, on FILE. The last word is FILE if it is `-` or a file that does not end in .safetensors.
    """
    from charrnn.tools import compare

    runs, file = told_apart(words, file)
    if file is not None and no_eval:
        raise click.UsageError("--no-eval reads no text: leave out one of them")
    wanted = list(compare.protocols(window, not no_eval))
    text = None if file is None else read_text(file, encoding)
    fallback = not options.pop("no_fallback")
    options |= {
        "name": "standard input" if file == "-" else file,
        "window": window,
        "evaluate": not no_eval,
        "fallback": fallback,
    }
    found, failed = rows_of(runs, text, options)
    for line in dict.fromkeys(line for row in found for line in row.notices):
        note(line)
    if as_json:
        values = {"protocols": wanted, "rows": [asdict(row) for row in found], "failed": failed}
        say(json.dumps(strict(values), allow_nan=False))
        return
    show(found, wanted)


def told_apart(words: tuple[str, ...], file: str | None) -> tuple[tuple[str, ...], str | None]:
    """The runs and the text, if there is one. Raises `UsageError` where there is no run."""
    last = words[-1]
    if file is not None or not (last == "-" or (Path(last).is_file() and Path(last).suffix != ".safetensors")):
        return words, file
    if len(words) == 1:
        raise click.UsageError(f"{last} is a text: name a run before it")
    return words[:-1], last


def rows_of(runs: tuple[str, ...], text: str | None, options: dict[str, Any]) -> tuple[list[Row], dict[str, str]]:
    """A row for each run, and why one has none; on a terminal with a bar.

    Raises `CheckpointError` where there is no row at all.
    """
    from charrnn.cli.bar import Bar
    from charrnn.tools import compare

    rows: list[Row] = []
    failed: dict[str, str] = {}
    for run in Bar(runs, unit="run"):
        try:
            rows.append(compare.row(run, text, **options))
        except CheckpointError as error:
            failed[run] = str(error)
    if not rows:
        raise CheckpointError("; ".join(failed.values()))
    for reason in failed.values():
        note(f"left out: {reason}")
    return compare.ranked(rows), failed


def show(rows: list[Row], wanted: list[str]) -> None:
    """The table, which losses are of which text, and why some are missing."""
    names = short([row.run for row in rows])
    texts: dict[Text, list[str]] = {}  # those that losses are of, with the runs on each
    for row, name in zip(rows, names, strict=True):
        if row.text is not None and any(loss is not None for loss in row.losses.values()):
            texts.setdefault(row.text, []).append(name)
    letters = {text: chr(ord("A") + n) if n < 26 else str(n) for n, text in enumerate(texts)} if len(texts) > 1 else {}
    # A space where the mark of the best stands keeps the digits in line.
    heading = ["run", "cell", "size", "params", "drop", "optim", "steps", *(f"{p} " for p in wanted), "chars/s", "min"]
    lines = [[*heading, "text"] if letters else heading]
    for row, name in zip(rows, names, strict=True):
        line = [name, row.cell, f"{row.num_layers}x{row.hidden_size}", f"{row.parameters:,}", drop(row)]
        line += [row.optimizer, f"{row.steps:,}"]
        for protocol, loss in row.losses.items():
            line.append("- " if loss is None else f"{loss:.4f}{'*' if protocol in row.best else ' '}")
        line += [figure(row.chars_per_second, ",.0f"), figure(row.minutes, ",.1f")]
        line += [letters.get(row.text, "") if row.text is not None else ""] if letters else []
        lines.append(line)
    align = "<<>>><>" + ">" * (len(wanted) + 2) + "<" * bool(letters)
    for text in [
        *aligned(lines, align),
        "",
        *below(texts, letters, any(row.best for row in rows)),
        *reasons(rows, names),
    ]:
        say(text)


def drop(row: Row) -> str:
    """What is dropped: of outputs, and, marked, of the input's characters and of the recurrent weights."""
    others = [f"+{p:g}{mark}" for p, mark in ((row.input_dropout, "i"), (row.recurrent_dropout, "r")) if p]
    return f"{row.dropout:g}" + "".join(others)


def figure(value: float | None, form: str) -> str:
    """A number of the table, or that there is none."""
    return "-" if value is None else f"{value:{form}}"


def short(runs: list[str]) -> list[str]:
    """Names for the table: the last part of each path where all lie in one directory."""
    paths = [Path(run) for run in runs]
    if len(runs) > 1 and len({path.parent for path in paths}) == 1 and all(path.name for path in paths):
        return [path.name for path in paths]
    return runs


def below(texts: dict[Text, list[str]], letters: dict[Text, str], marked: bool) -> list[str]:
    """Which losses are of which text, and what the mark of the best means."""
    if not letters:
        best = "; * the best" if marked else ""
        return [f"losses in nats/char on {printable(text.name)}{best}" for text in texts]
    lines = [
        f"{letters[text]}: {printable(text.name)} (sha256 {text.sha256[:8]}, {text.characters:,} characters): "
        + printable(", ".join(names))
        for text, names in texts.items()
    ]
    return [
        *lines,
        f"losses in nats/char; those on different texts do not compare{', * the best on its text' * marked}",
    ]


def reasons(rows: list[Row], names: list[str]) -> list[str]:
    """Why losses are missing, a line for each run and reason."""
    lines = []
    for row, name in zip(rows, names, strict=True):
        for reason in dict.fromkeys(row.missing.values()):
            which = ", ".join(protocol for protocol, why in row.missing.items() if why == reason)
            lines.append(printable(f"{name}: no {which}: {reason}"))
    return lines
