"""`charrnn tune`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.common import (
    command_line,
    configured_device_option,
    fallback_option,
    files_encoding_option,
    options,
    settings_option,
)
from charrnn.cli.table import aligned
from charrnn.cli.terminal import note, say

if TYPE_CHECKING:
    from charrnn.tools.tune import Plan, Slice
    from charrnn.tools.verdict import Verdict

COLUMNS, WIDTHS = "<>>>>><", (7, 6, 7, 9, 11)

what_options = options(
    click.argument("words", nargs=-1, metavar="[CONFIG] [FILES]..."),
    click.option("--config", "preset", metavar="NAME_OR_FILE", help="The configuration; then every word is a text."),
    settings_option,
    files_encoding_option,
    configured_device_option,
    fallback_option,
)


@click.command("tune")
@what_options
@click.option("--seconds", type=float, default=20, show_default=True, help="About how long to measure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--write", "path", metavar="FILE", type=click.Path(path_type=Path), help="Write the configuration that is best."
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --write.")
def tune_command(
    words: tuple[str, ...],
    preset: str | None,
    settings: tuple[str, ...],
    encoding: str | None,
    device: str | None,
    no_fallback: bool,
    seconds: float,
    as_json: bool,
    path: Path | None,
    overwrite: bool,
) -> None:
    """Measure which train.shards, --threads and device train fastest here, by real steps of CONFIG on FILES.

    CONFIG is a preset's name or a TOML file: the first word if it ends in .toml or names a preset and no file, or
    --config. FILES are those of `train`. --device cpu leaves GPUs out.
    """
    from charrnn import config
    from charrnn.run.request import Request
    from charrnn.tools import tune, verdict

    if preset is None and words and names_configuration(words[0]):
        preset, *rest = words
        words = tuple(rest)
    named = [config.keyed("data.encoding", encoding, "--encoding")] if encoding is not None else []
    if device is not None:
        named.append(config.keyed("train.device", device, "--device"))
    options = config.merged(config.parse_settings(settings), *named)
    table = config.read(preset) if preset is not None else {}
    target = None
    if path is not None:
        source = Path(preset) if preset is not None and Path(preset).is_file() else None
        target = verdict.Target(path, source, overwrite)
        target.check()
    elif overwrite:
        raise click.UsageError("--overwrite needs --write FILE")
    plan = tune.plan(Request(files=words, preset=table, options=options, fallback=not no_fallback), seconds)
    introduce(plan, quiet=as_json)
    found = verdict.verdict(plan, watched(plan))
    if target is not None:
        if target.in_place and settings:
            note(f"only train.shards and train.device are changed in {path}: it does not get what --set says")
        target.write(found)
    if as_json:
        say(json.dumps(found.as_json() | {"written": str(path) if path is not None else None}, allow_nan=False))
        return
    show(found)
    if path is not None:
        threads = ("--threads", str(found.best.threads)) if found.best.device == "cpu" else ()
        say(f"written; train with it: {command_line('train', '--config', path, *threads, *words)}")


def names_configuration(word: str) -> bool:
    """Whether the first word is a configuration and not a text: a file that is there is one only by its suffix."""
    from charrnn import config

    return word.endswith(".toml") or (word in config.presets() and not Path(word).exists())


def introduce(plan: Plan, *, quiet: bool) -> None:
    """Say what is measured: notices on standard error, the rest, unless `quiet`, on standard output."""
    from charrnn import backend

    for line in plan.notices:
        note(line)
    if quiet:
        return
    corpus, model, train = plan.corpus, plan.settings.model, plan.settings.train
    say(f"corpus: {corpus.name}, {len(corpus.ids):,} characters, {len(corpus.vocabulary.used)} distinct")
    say(
        f"steps: {train.batch_size} streams of {train.seq_length} characters through {model.cell}, "
        f"{model.num_layers} x {model.hidden_size}, {model.dtype}"
    )
    say(f"machine: {backend.cores()} cores, {backend.blas()}")


def watched(plan: Plan) -> Iterator[Slice]:
    """Measure; on a terminal a bar shows the time that has passed and what is measured."""
    from charrnn.cli.bar import Bar
    from charrnn.tools import tune

    form = "{desc}{percentage:3.0f}% |{bar}| {elapsed} of about {total:.0f} s"
    with Bar(total=plan.seconds, bar_format=form) as bar:
        for each in tune.slices(plan.candidates, plan.seconds, tune.Bench(plan)):
            way = f"{each.candidate.device}, {each.candidate.shards} shards, {each.candidate.threads} threads"
            bar.set_description(f"{way}: {each.rate:,.1f} steps/s", refresh=False)
            bar.update(min(each.elapsed, plan.seconds) - bar.n)
            yield each


def show(found: Verdict) -> None:
    """The table, a line for each device that is missing, and what to do."""
    from charrnn.tools.verdict import ROUNDING

    lines = [["device", "shards", "threads", "steps/s", "chars/s", "relative", ""]]
    for row in found.rows:
        words = {"best": row.best, "equal": row.equal and not row.best, "as configured": row.current}
        marks = ", ".join(word for word, holds in words.items() if holds)
        rates = f"{row.steps_per_second:,.1f}", f"{row.chars_per_second:,.0f}", f"{row.relative:.2f}x"
        lines.append([row.device, str(row.shards), str(row.threads), *rates, marks])
    say("\n" + "\n".join(aligned(lines, COLUMNS, WIDTHS)))
    for device, trouble in found.plan.missing.items():
        say(f"{device:8} not measured: {trouble}")
    say(f"\n{found.words}")
    say(f"note: {ROUNDING}")
