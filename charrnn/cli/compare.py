"""`charrnn compare`."""

from __future__ import annotations

import glob
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.inputs import read_text
from charrnn.cli.options import (
    device_option,
    examples,
    fallback_option,
    json_option,
    kernels_option,
    strict_json,
    text_encoding_option,
    unknown_option,
)
from charrnn.cli.output import print_line, print_notice, printable, table_lines
from charrnn.errors import CheckpointError

if TYPE_CHECKING:
    from charrnn.tools.compare import Row, Text


@click.command(
    "compare",
    short_help="Print one table of several runs.",
    epilog=examples(
        "charrnn compare runs/rnn runs/lstm",
        "charrnn compare runs/rnn runs/lstm other.txt --window 100",
        "charrnn compare runs/rnn runs/lstm --no-eval --json",
    ),
)
@click.argument("words", nargs=-1, required=True, metavar="RUN... [FILE]")
@click.option("--file", metavar="FILE", help="The text to evaluate; then every argument is a run.")
@click.option("--window", type=int, default=256, show_default=True, metavar="W", help="Characters of a window.")
@click.option("--no-eval", is_flag=True, help="Print the best validation loss of the training; evaluate nothing.")
@json_option
@unknown_option
@device_option
@fallback_option
@kernels_option
@text_encoding_option
def compare_command(
    words: tuple[str, ...], file: str | None, window: int, no_eval: bool, as_json: bool, encoding: str, **options: Any
) -> None:
    """Print one table of several runs: the networks, their training, and how well each predicts.

    RUN is a run directory, whose best checkpoint is used, a checkpoint file, or a pattern of them. Each network is
    evaluated on its own validation split or, with FILE, on FILE: once with the state carried through the text, once in
    windows. The last argument is FILE if it is - or a file that does not end in .safetensors.
    """
    from charrnn.tools import compare

    words = tuple(path for word in words for path in expanded(word))
    runs, file = runs_and_file(words, file)
    if file is not None and no_eval:
        raise click.UsageError("--no-eval reads no text: leave out one of them")
    protocols = list(compare.protocols(window, not no_eval))
    text = None if file is None else read_text(file, encoding)
    fallback = not options.pop("no_fallback")
    options |= {
        "name": "standard input" if file == "-" else file,
        "window": window,
        "evaluate": not no_eval,
        "fallback": fallback,
    }
    rows, failed = rows_of(runs, text, options)
    for line in dict.fromkeys(line for row in rows for line in row.notices):
        print_notice(line)
    if as_json:
        values = {"protocols": protocols, "rows": [asdict(row) for row in rows], "failed": failed}
        print_line(json.dumps(strict_json(values), allow_nan=False))
        return
    show(rows, protocols)


def expanded(word: str) -> list[str]:
    """Return the paths that a pattern matches, which the shells of Windows leave to the program; else the word."""
    matches = [] if os.path.exists(word) else sorted(glob.glob(word))  # noqa: PTH110, PTH207 (they raise no error)
    return matches or [word]


def runs_and_file(words: tuple[str, ...], file: str | None) -> tuple[tuple[str, ...], str | None]:
    """Return the runs and the text file, if there is one. Raises `UsageError` if there is no run."""
    last = words[-1]
    if file is not None or not (last == "-" or (Path(last).is_file() and Path(last).suffix != ".safetensors")):
        return words, file
    if len(words) == 1:
        raise click.UsageError(f"{last} is a text: name a run before it")
    return words[:-1], last


def rows_of(runs: tuple[str, ...], text: str | None, options: dict[str, Any]) -> tuple[list[Row], dict[str, str]]:
    """Return the rows, and run -> reason for the runs that have none. A terminal shows a bar.

    Raises `CheckpointError` if no run has a row.
    """
    from charrnn.cli.progress import Bar
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
        print_notice(f"left out: {reason}")
    return compare.mark_best(rows), failed


def show(rows: list[Row], protocols: list[str]) -> None:
    """Print the table, the texts that the losses were measured on, and why losses are missing."""
    names = short_names([row.run for row in rows])
    texts: dict[Text, list[str]] = {}  # text -> names of the runs with a loss on it
    for row, name in zip(rows, names, strict=True):
        if row.text is not None and any(loss is not None for loss in row.losses.values()):
            texts.setdefault(row.text, []).append(name)
    letters = {text: chr(ord("A") + n) if n < 26 else str(n) for n, text in enumerate(texts)} if len(texts) > 1 else {}
    # The space after a protocol is above the mark of the best, so that the heading aligns with the digits.
    first, *others = (f"{p} " for p in protocols)
    heading = ["run", "cell", "size", "params", "drop", "optim", "steps", first, "bits/byte", *others, "chars/s"]
    lines = [[*heading, "min", *(["text"] if letters else [])]]
    for row, name in zip(rows, names, strict=True):
        line = [name, row.cell, f"{row.num_layers}x{row.hidden_size}", f"{row.parameters:,}", dropout(row)]
        line += [row.optimizer, f"{row.steps:,}"]
        for protocol, loss in row.losses.items():
            line.append("- " if loss is None else f"{loss:.4f}{'*' if protocol in row.best else ' '}")
            if protocol == protocols[0]:
                line.append(number(row.bits_per_byte[protocol], ".4f"))
        line += [number(row.chars_per_second, ",.0f"), number(row.minutes, ",.1f")]
        line += [letters.get(row.text, "") if row.text is not None else ""] if letters else []
        lines.append(line)
    align = "<<>>><>" + ">" * (len(protocols) + 3) + "<" * bool(letters)
    footer = [*text_lines(texts, letters, any(row.best for row in rows)), *reason_lines(rows, names)]
    for text_line in [*table_lines(lines, align), "", *footer]:
        print_line(text_line)


def dropout(row: Row) -> str:
    """Return the dropout of outputs, then that of the input (i) and of the recurrent weights (r) if not 0."""
    others = [f"+{p:g}{mark}" for p, mark in ((row.input_dropout, "i"), (row.recurrent_dropout, "r")) if p]
    return f"{row.dropout:g}" + "".join(others)


def number(value: float | None, form: str) -> str:
    """Return a formatted number, or - for None."""
    return "-" if value is None else f"{value:{form}}"


def short_names(runs: list[str]) -> list[str]:
    """Return the last part of each path if all runs are in one directory, else the paths."""
    paths = [Path(run) for run in runs]
    if len(runs) > 1 and len({path.parent for path in paths}) == 1 and all(path.name for path in paths):
        return [path.name for path in paths]
    return runs


def text_lines(texts: dict[Text, list[str]], letters: dict[Text, str], marked: bool) -> list[str]:
    """Return lines that name the text of each loss and explain the mark of the best."""
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


def reason_lines(rows: list[Row], names: list[str]) -> list[str]:
    """Return why losses are missing, one line for each run and reason."""
    lines = []
    for row, name in zip(rows, names, strict=True):
        for reason in dict.fromkeys(row.missing.values()):
            protocols = ", ".join(protocol for protocol, why in row.missing.items() if why == reason)
            lines.append(printable(f"{name}: no {protocols}: {reason}"))
    return lines
