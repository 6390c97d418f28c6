"""`charrnn sample`, `eval` and `score`: what reads a trained network."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.common import model_options, read_prompt, read_text, strict, text_encoding_option
from charrnn.cli.terminal import note, say, write
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.api import Model

DASHES = "-" * 40
AT_ONCE = 64
"""Most samples made in one batch."""
MOST = 100_000
"""Most samples in one go: even those of no character take their time to be parted."""


def loaded(run: Path, checkpoint: str, device: str, no_fallback: bool) -> Model:
    """The model of RUN; says on standard error which checkpoint it is."""
    from charrnn.api import load

    model = load(run, checkpoint=checkpoint, device=device, fallback=not no_fallback)
    for line in model.notices:
        note(line)
    note(f"checkpoint: {model.source} on {model.network.backend.name}")
    return model


@click.command("sample")
@model_options
@click.option("--prompt", help="Text to continue.  [default: a first character by the corpus's frequencies]")
@click.option("--prompt-file", metavar="F", help="The prompt from a file, - for standard input.")
@click.option("--no-echo", is_flag=True, help="Do not repeat the prompt.")
@click.option("--length", type=click.IntRange(0), default=500, show_default=True, help="Characters after the prompt.")
@click.option(
    "--temperature", type=float, default=0.8, show_default=True, help="0 always takes the likeliest character."
)
@click.option("--top-k", type=int, default=0, help="Only the K likeliest characters.  [default: all]")
@click.option(
    "--top-p", type=float, default=1.0, help="Only the likeliest that reach this probability.  [default: all]"
)
@click.option("--stop", default="", metavar="STRING", help="End before this string.")
@click.option("--count", type=click.IntRange(1, MOST), default=1, show_default=True, help="Number of samples.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the random numbers.  [default: a new one, printed]")
@click.option("-0", "nul", is_flag=True, help="Separate samples by a NUL byte instead of a line of dashes.")
@text_encoding_option
def sample_command(
    run: Path,
    checkpoint: str,
    device: str,
    no_fallback: bool,
    unknown: str,
    prompt: str | None,
    prompt_file: str | None,
    no_echo: bool,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    stop: str,
    count: int,
    seed: int | None,
    nul: bool,
    encoding: str,
) -> None:
    """Write text with the network of RUN, a run directory or a checkpoint file.

    The text alone goes to standard output, as it is made; everything else to standard error.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("--prompt and --prompt-file exclude each other")
    if prompt_file is not None:
        prompt = read_prompt(prompt_file, encoding)
    prompt = prompt or ""
    model = loaded(run, checkpoint, device, no_fallback)
    if seed is None:
        seed = secrets.randbits(31)
        note(f"seed: {seed}")
    parting = "\0" if nul else f"\n{DASHES}\n"
    echoed = "" if no_echo else prompt
    for first in range(0, count, AT_ONCE):
        together = min(AT_ONCE, count - first)
        texts = model.sample_many(
            prompt,
            count=together,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
            seed=seed,
            batch=first // AT_ONCE,
            unknown=unknown,
        )
        write(parting if first else "")
        write_samples(texts, together, echoed, parting)
    if not nul:
        write("\n")


def write_samples(texts: Iterator[list[str]], count: int, echoed: str, parting: str) -> None:
    """Write `count` texts that are made side by side: the first as it is made, then the others; each after `echoed`."""
    write(echoed)
    later = [""] * (count - 1)
    for live, *others in texts:
        write(live)
        later = [text + more for text, more in zip(later, others, strict=True)]
    for text in later:
        write(parting + echoed + text)


@click.command("eval")
@model_options
@click.argument("file", required=False)
@click.option("--window", type=int, metavar="W", help="Evaluate in windows of W characters, each from a zero state.")
@click.option("--dynamic", is_flag=True, help="Go on learning: predict a chunk, then take an optimiser step on it.")
@click.option("--dynamic-chunk", type=int, metavar="T", help="Characters between two steps.  [default: 32]")
@click.option(
    "--dynamic-rate",
    type=float,
    metavar="R",
    help="Learning rate of these steps.  [default: half of the run's for adagrad, else a tenth]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@text_encoding_option
def eval_command(
    run: Path,
    checkpoint: str,
    device: str,
    no_fallback: bool,
    unknown: str,
    file: str | None,
    window: int | None,
    dynamic: bool,
    dynamic_chunk: int | None,
    dynamic_rate: float | None,
    as_json: bool,
    encoding: str,
) -> None:
    """How well the network of RUN predicts FILE, or without FILE the run's own validation split.

    The state is carried over one pass, unless --window is given. With --dynamic a copy of the weights goes on learning
    on the way, each character after it was predicted; RUN stays as it is.
    """
    from charrnn.evaluation.dynamic import Dynamic

    if not dynamic and (dynamic_chunk is not None or dynamic_rate is not None):
        raise ConfigError("--dynamic-chunk and --dynamic-rate need --dynamic")
    how = Dynamic(rate=dynamic_rate) if dynamic_chunk is None else Dynamic(dynamic_chunk, dynamic_rate)
    model = loaded(run, checkpoint, device, no_fallback)
    text = None if file is None else read_text(file, encoding)
    if text is not None and model.was_trained_on(text):
        note(f"{file} is the text that the run was trained on: leave it out to evaluate the validation split")
    result = model.evaluate(text, window=window, dynamic=dynamic and how, unknown=unknown)
    values = {
        "nats_per_char": result.nats_per_char,
        "bits_per_char": result.bits_per_char,
        "perplexity": result.perplexity,
        "characters": result.characters,
        "protocol": result.protocol,
        "checkpoint": str(model.source),
    }
    if as_json:
        # The perplexity of a hopeless network is not finite.
        say(json.dumps(strict(values), allow_nan=False))
        return
    for name, value in values.items():
        say(f"{name:14} {value:.4f}" if isinstance(value, float) else f"{name:14} {value}")


@click.command("score")
@model_options
@click.argument("file")
@text_encoding_option
def score_command(
    run: Path, checkpoint: str, device: str, no_fallback: bool, unknown: str, file: str, encoding: str
) -> None:
    r"""The surprise of each character of FILE, a line each: nats, a tab, the character as a JSON string.

    The first character has no context and so no surprise: its line begins with `-`.
    """
    model = loaded(run, checkpoint, device, no_fallback)
    text = model.vocabulary.decode(model.encode(read_text(file, encoding), unknown).ids)
    surprises = ["-", *(f"{nats:.4f}" for nats in model.score(text))]
    for nats, character in zip(surprises, text, strict=False):
        write(f"{nats}\t{json.dumps(character)}\n")
