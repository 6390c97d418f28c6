"""`charrnn score`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.inputs import load_model, read_text
from charrnn.cli.options import examples, model_options, text_encoding_option
from charrnn.cli.output import write_output


@click.command(
    "score",
    short_help="Print the surprise of each character of a text.",
    epilog=examples("charrnn score runs/book other.txt", "echo hello | charrnn score runs/book -"),
)
@model_options
@click.argument("file")
@text_encoding_option
def score_command(
    run: Path,
    checkpoint: str,
    device: str,
    no_fallback: bool,
    kernels: str | None,
    unknown: str,
    file: str,
    encoding: str,
) -> None:
    """Print one line for each character of FILE: its surprise in nats, a tab, and the character as a JSON string.

    FILE is - for standard input. If the network was not trained on documents, the first character has no context, and
    its line begins with - instead of a number.
    """
    model = load_model(run, checkpoint, device, no_fallback, kernels)
    text = model.vocabulary.decode(model.encode(read_text(file, encoding), unknown).ids)
    surprises = [f"{nats:.4f}" for nats in model.score(text)]
    surprises[:0] = ["-"] * (len(text) - len(surprises))
    for nats, character in zip(surprises, text, strict=True):
        write_output(f"{nats}\t{json.dumps(character)}\n")
