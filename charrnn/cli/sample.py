"""`charrnn sample`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import click

from charrnn.cli.inputs import all_normalized, load_sampler, normalized, read_prompt, read_stop
from charrnn.cli.options import examples, model_options, text_encoding_option, unescaped
from charrnn.cli.output import print_notice, write_output
from charrnn.errors import ConfigError

DASHES = "-" * 40
MOST_SAMPLES = 100_000
"""Most samples of one command."""


@click.command(
    "sample",
    short_help="Write text with a trained network.",
    epilog=examples(
        "charrnn sample runs/book --length 1000",
        'charrnn sample runs/book --prompt "Once upon" --temperature 0.6 --seed 1',
        "charrnn sample runs/book --count 3 --top-p 0.9",
        r"charrnn sample runs/names --prompt Ma --stop '\n'",
    ),
)
@model_options
@click.option(
    "--prompt",
    help=r"Text to continue; \n, \t, \\ and \uXXXX are escapes.  [default: the start of a document]",
)
@click.option("--prompt-file", metavar="F", help="Read the prompt, without escapes, from a file; - for standard input.")
@click.option("--no-echo", is_flag=True, help="Do not repeat the prompt.")
@click.option("--length", type=click.IntRange(0), default=500, show_default=True, help="Characters after the prompt.")
@click.option(
    "--temperature", type=float, default=0.8, show_default=True, help="0 always chooses the most probable character."
)
@click.option("--top-k", type=int, default=0, help="Choose among the K most probable characters.  [default: all]")
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    help="Choose among the most probable characters that reach this probability together.  [default: all]",
)
@click.option(
    "--min-p",
    type=float,
    default=0.0,
    help="Choose among the characters with at least this share of the highest probability.  [default: all]",
)
@click.option(
    "--stop",
    "stops",
    multiple=True,
    metavar="STRING",
    help="End before this string, with the escapes of --prompt; repeat it for several strings.  "
    "[default: the document separator, without a prompt]",
)
@click.option("--stop-file", "stop_files", multiple=True, metavar="F", help="Read a stop string from a file, whole.")
@click.option("--keep-stop", is_flag=True, help="Print the stop string, too.")
@click.option("--count", type=click.IntRange(1, MOST_SAMPLES), default=1, show_default=True, help="Number of samples.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the random numbers.  [default: a new one, printed]")
@click.option("-0", "nul", is_flag=True, help="Separate samples by a NUL byte instead of a line of dashes.")
@text_encoding_option
def sample_command(
    run: Path,
    checkpoint: str,
    device: str,
    no_fallback: bool,
    kernels: str | None,
    unknown: str,
    prompt: str | None,
    prompt_file: str | None,
    no_echo: bool,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    stops: tuple[str, ...],
    stop_files: tuple[str, ...],
    keep_stop: bool,
    count: int,
    seed: int | None,
    nul: bool,
    encoding: str,
) -> None:
    """Write text with the network of RUN, a run directory or a checkpoint file.

    Only the text goes to standard output, as soon as it is computed. Notices go to standard error.
    """
    if prompt is not None and prompt_file is not None:
        raise ConfigError("use --prompt or --prompt-file, not both")
    prompt = read_prompt(prompt_file, encoding) if prompt_file is not None else unescaped(prompt or "", "--prompt")
    ends = [*(unescaped(stop, "--stop") for stop in stops), *(read_stop(name, encoding) for name in stop_files)]
    from charrnn.api import BATCH

    model = load_sampler(run, checkpoint, device, no_fallback, kernels, min(count, BATCH))
    prompt, ends = normalized(model, prompt, "the prompt"), all_normalized(model, ends, "--stop")
    if seed is None:
        seed = secrets.randbits(31)
        print_notice(f"seed: {seed}")
    separator = "\0" if nul else f"\n{DASHES}\n"
    prefix = "" if no_echo else prompt
    for first in range(0, count, BATCH):
        batch_size = min(BATCH, count - first)
        texts = model.sample_many(
            prompt,
            count=batch_size,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            stop=ends or None,
            keep_stop=keep_stop,
            seed=seed,
            batch=first // BATCH,
            unknown=unknown,
        )
        write_output(separator if first else "")
        write_samples(texts, batch_size, prefix, separator)
    if not nul:
        write_output("\n")


def write_samples(texts: Iterator[list[str]], count: int, prefix: str, separator: str) -> None:
    """Write `count` texts that are computed together, each after `prefix`: the first piece by piece, then the rest."""
    write_output(prefix)
    later = [""] * (count - 1)
    for first, *others in texts:
        write_output(first)
        later = [text + piece for text, piece in zip(later, others, strict=True)]
    for text in later:
        write_output(separator + prefix + text)
