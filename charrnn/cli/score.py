"""`charrnn score`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.inputs import load_model, read_documents
from charrnn.cli.options import examples, model_options, rows_options, text_encoding_option
from charrnn.cli.output import write_output


@click.command(
    "score",
    short_help="Print the surprise of each character of a text.",
    epilog=examples("charrnn score runs/book other.txt", "echo hello | charrnn score runs/book -"),
)
@model_options
@click.argument("file")
@text_encoding_option
@rows_options
def score_command(
    run: Path,
    checkpoint: str,
    device: str,
    no_fallback: bool,
    kernels: str | None,
    unknown: str,
    file: str,
    encoding: str,
    jsonl: str | None,
    csv: str | None,
) -> None:
    """Print one line for each character of FILE: its surprise in nats, a tab, and the character as a JSON string.

    With --unknown replace the line of an unknown character shows it, with the surprise of its replacement.
    FILE is - for standard input. If the network was not trained on documents, the first character has no context, and
    its line begins with - instead of a number.
    """
    from charrnn.text import Rows

    model = load_model(run, checkpoint, device, no_fallback, kernels)
    text = read_documents(model, file, encoding, Rows(jsonl or "", csv or ""))
    part = model.encode(text, unknown)
    characters = "".join(text)
    if unknown == "skip":
        characters = model.vocabulary.decode(part.ids)
    surprises = [f"{nats:.4f}" for nats in model.score(part)]
    surprises[:0] = ["-"] * (len(characters) - len(surprises))
    for nats, character in zip(surprises, characters, strict=True):
        write_output(f"{nats}\t{json.dumps(character)}\n")
