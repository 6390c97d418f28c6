"""`charrnn tune`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.inputs import warn_of_unread_input
from charrnn.cli.options import (
    configured_device_option,
    examples,
    fallback_option,
    files_options,
    json_option,
    kernels_option,
    settings_option,
)
from charrnn.cli.output import command_line, print_line, print_notice, table_lines

if TYPE_CHECKING:
    from charrnn.tools.tune import Plan, Result, Slice

ALIGNMENT, WIDTHS = "<>>>>><", (7, 6, 7, 9, 11)


@click.command(
    "tune",
    short_help="Find the fastest shards, threads and device.",
    epilog=examples(
        "charrnn tune quickstart book.txt",
        "charrnn tune mine.toml book.txt --seconds 60 --write tuned.toml",
    ),
)
@click.argument("words", nargs=-1, metavar="[CONFIG] [FILES]...")
@click.option("--config", "preset", metavar="NAME_OR_FILE", help="The configuration; then every argument is a text.")
@settings_option
@files_options
@configured_device_option
@fallback_option
@kernels_option
@click.option("--seconds", type=float, default=20, show_default=True, help="About how long to measure.")
@json_option
@click.option(
    "--write",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the whole configuration, with the best settings, to a new file.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --write if it exists.")
def tune_command(
    words: tuple[str, ...],
    preset: str | None,
    settings: tuple[str, ...],
    encoding: str | None,
    jsonl: str | None,
    csv: str | None,
    device: str | None,
    no_fallback: bool,
    kernels: str | None,
    seconds: float,
    as_json: bool,
    path: Path | None,
    overwrite: bool,
) -> None:
    """Measure which train.shards, --threads and device train CONFIG on FILES fastest on this machine.

    CONFIG is the name of a preset or a TOML file: the first argument, if it ends in .toml or names a preset and not a
    file, or the value of --config. FILES are those of `train`. --device cpu excludes GPUs.
    """
    from charrnn import config
    from charrnn.run.request import Request
    from charrnn.tools import tune

    if preset is None and words and names_configuration(words[0]):
        preset, *rest = words
        words = tuple(rest)
    if path is not None:
        tune.check_writable(path, overwrite=overwrite)
    elif overwrite:
        raise click.UsageError("--overwrite needs --write FILE")
    keys = {
        "data.encoding": (encoding, "--encoding"),
        "data.jsonl": (jsonl, "--jsonl"),
        "data.csv": (csv, "--csv"),
        "train.device": (device, "--device"),
        "train.kernels": (kernels, "--kernels"),
    }
    options = config.merged(
        config.parse_settings(settings),
        *(config.keyed(key, value, option) for key, (value, option) in keys.items() if value is not None),
    )
    table = config.read(preset) if preset is not None else {}
    plan = tune.plan(Request(files=words, preset=table, options=options, fallback=not no_fallback), seconds)
    if not words:
        warn_of_unread_input()
    introduce(plan, quiet=as_json)
    result = tune.summarize(plan, measure(plan))
    if path is not None:
        tune.write_configuration(path, result, overwrite=overwrite)
    if as_json:
        print_line(json.dumps(result.as_json() | {"written": str(path) if path is not None else None}, allow_nan=False))
        return
    show(result)
    if path is not None:
        threads = ("--threads", str(result.best.threads)) if result.best.device == "cpu" else ()
        print_line(f"written; train with it: {command_line('train', '--config', path, *threads, *words)}")


def names_configuration(word: str) -> bool:
    """Return whether the first word is a configuration and not a text: a .toml file, or a preset but no file."""
    from charrnn import config

    return word.endswith(".toml") or (word in config.presets() and not Path(word).exists())


def introduce(plan: Plan, *, quiet: bool) -> None:
    """Print what is measured: notices on standard error; the rest, unless `quiet`, on standard output."""
    from charrnn import backend

    for line in plan.notices:
        print_notice(line)
    if quiet:
        return
    corpus, model, train = plan.corpus, plan.settings.model, plan.settings.train
    print_line(f"corpus: {corpus.name}, {len(corpus.ids):,} characters, {len(corpus.vocabulary.used)} distinct")
    print_line(
        f"steps: {train.batch_size} streams of {train.seq_length} characters through {model.shape}, {model.dtype}"
    )
    print_line(f"machine: {backend.cores()} cores, {backend.blas()}")


def measure(plan: Plan) -> Iterator[Slice]:
    """Yield the measurements; on a terminal a bar shows the time and the candidate."""
    from charrnn.cli.progress import Bar
    from charrnn.tools import tune

    bar_format = "{desc}{percentage:3.0f}% |{bar}| {elapsed} of about {total:.0f} s"
    with Bar(total=plan.seconds, bar_format=bar_format) as bar:
        for measured in tune.measure_in_turns(plan.candidates, plan.seconds, tune.Bench(plan)):
            candidate = measured.candidate
            label = f"{candidate.device}, {candidate.shards} shards, {candidate.threads} threads"
            bar.set_description(f"{label}: {measured.rate:,.1f} steps/s", refresh=False)
            bar.update(min(measured.elapsed, plan.seconds) - bar.n)
            yield measured


def show(result: Result) -> None:
    """Print the table, a line for each device that was not measured, and the recommendation."""
    from charrnn.tools.tune import ROUNDING_NOTE

    lines = [["device", "shards", "threads", "steps/s", "chars/s", "relative", ""]]
    for row in result.rows:
        marks = {"best": row.best, "equal": row.equal and not row.best, "as configured": row.current}
        rates = f"{row.steps_per_second:,.1f}", f"{row.chars_per_second:,.0f}", f"{row.relative:.2f}x"
        marked = ", ".join(mark for mark, holds in marks.items() if holds)
        lines.append([row.device, str(row.shards), str(row.threads), *rates, marked])
    print_line("\n" + "\n".join(table_lines(lines, ALIGNMENT, WIDTHS)))
    for device, problem in result.plan.missing.items():
        print_line(f"{device:8} not measured: {problem}")
    print_line(f"\n{result.recommendation}")
    print_line(f"note: {ROUNDING_NOTE}")
