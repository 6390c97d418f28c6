"""`charrnn eval`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from charrnn.cli.inputs import load_model, read_documents
from charrnn.cli.options import examples, json_option, model_options, rows_options, strict_json, text_encoding_option
from charrnn.cli.output import print_line, print_notice
from charrnn.errors import ConfigError


@click.command(
    "eval",
    short_help="Measure how well a network predicts a text.",
    epilog=examples(
        "charrnn eval runs/book",
        "charrnn eval runs/book other.txt --window 256 --json",
        "charrnn eval runs/book other.txt --dynamic",
    ),
)
@model_options
@click.argument("file", required=False)
@click.option("--window", type=int, metavar="W", help="Evaluate windows of W characters, each from a zero state.")
@click.option("--dynamic", is_flag=True, help="Train on each chunk after predicting it.")
@click.option("--dynamic-chunk", type=int, metavar="T", help="Characters of a chunk.  [default: 32]")
@click.option(
    "--dynamic-rate",
    type=float,
    metavar="R",
    help="Learning rate of --dynamic.  [default: the run's times 1/2 for adagrad, else times 1/10]",
)
@json_option
@text_encoding_option
@rows_options
def eval_command(
    run: Path,
    checkpoint: str,
    device: str,
    no_fallback: bool,
    kernels: str | None,
    unknown: str,
    file: str | None,
    window: int | None,
    dynamic: bool,
    dynamic_chunk: int | None,
    dynamic_rate: float | None,
    as_json: bool,
    encoding: str,
    jsonl: str | None,
    csv: str | None,
) -> None:
    """Measure how well the network of RUN predicts FILE, or the run's validation split if there is no FILE.

    Without --window the state is carried through the whole text. With --dynamic a copy of the weights is trained on
    the text while it is read; RUN does not change.
    """
    from charrnn.evaluation.dynamic import Dynamic
    from charrnn.text import Rows

    if not dynamic and (dynamic_chunk is not None or dynamic_rate is not None):
        raise ConfigError("--dynamic-chunk and --dynamic-rate need --dynamic")
    settings = Dynamic(rate=dynamic_rate) if dynamic_chunk is None else Dynamic(dynamic_chunk, dynamic_rate)
    model = load_model(run, checkpoint, device, no_fallback, kernels)
    rows = Rows(jsonl or "", csv or "")
    if rows and file is None:
        raise ConfigError("--jsonl and --csv are about FILE, which is missing")
    text = None if file is None else read_documents(model, file, encoding, rows)
    if isinstance(text, str) and model.was_trained_on(text):
        print_notice(f"{file} is the text that the run was trained on: leave it out to evaluate the validation split")
    part = None if text is None else model.encode(text, unknown)
    result = model.evaluate(part, window=window, dynamic=dynamic and settings)
    values = {
        "nats_per_char": result.nats_per_char,
        "bits_per_char": result.bits_per_char,
        "bits_per_byte": result.bits_per_byte,
        "perplexity": result.perplexity,
        "characters": result.characters,
        "protocol": result.protocol,
        "checkpoint": str(model.source),
    }
    if as_json:
        print_line(json.dumps(strict_json(values), allow_nan=False))  # the perplexity may be infinite
        return
    for name, value in values.items():
        print_line(f"{name:14} {value:.4f}" if isinstance(value, float) else f"{name:14} {value}")
