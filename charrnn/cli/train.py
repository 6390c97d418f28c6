"""`charrnn train`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.inputs import warn_of_unread_input
from charrnn.cli.options import (
    configured_device_option,
    examples,
    fallback_option,
    files_options,
    kernels_option,
    settings_option,
    unescaped,
)
from charrnn.cli.output import command_line, print_notice
from charrnn.cli.ranks import launched
from charrnn.cli.signals import interruptible
from charrnn.errors import DivergedError

if TYPE_CHECKING:
    from charrnn.cli.progress import Printer
    from charrnn.config import Table
    from charrnn.run.session import Session


@click.command(
    "train",
    short_help="Train a network on a text.",
    epilog=examples(
        "charrnn train book.txt",
        "charrnn train book.txt --config lstm --minutes 10 --out runs/lstm",
        "charrnn train train.txt --val val.txt --test test.txt",
        "charrnn train --resume --out runs/lstm --steps 20000",
        "charrnn train letters.txt --init-from runs/lstm --steps 500",
    ),
)
@click.argument("files", nargs=-1)
@click.option(
    "--config", "preset", metavar="NAME_OR_FILE", help="Start from a preset or a TOML file; auto chooses for the text."
)
@settings_option
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/NAME of the text]")
@configured_device_option
@fallback_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32"]),
    help="Number format of large matrix products on a GPU.  [default: float32]",
)
@kernels_option
@click.option("--gpu-memory-limit", metavar="SIZE", help="Use at most this much memory of the GPU, such as 6GB.")
@click.option("--seed", type=int, help="Seed of all random numbers.  [default: 0]")
@click.option("--steps", type=int, help="Number of updates in all.  [default: the configuration's]")
@click.option("--minutes", type=float, help="Stop after this many minutes; the number of steps is planned to fit.")
@click.option(
    "--patience",
    type=int,
    metavar="N",
    help="End after N evaluations without a better validation loss; 0: never.  [default: 0]",
)
@click.option("--stop-after", type=int, metavar="N", help="Save and stop after N steps; --resume continues.")
@files_options
@click.option("--val", "val_files", multiple=True, metavar="FILE", help="Validate on FILE, not on a part of FILES.")
@click.option(
    "--test", "test_files", multiple=True, metavar="FILE", help="Evaluate the best network on FILE at the end."
)
@click.option(
    "--document-separator",
    metavar="STRING",
    help=r"String at the end of each document in a file; \n, \t, \\ and \uXXXX are escapes.  "
    "[default: each file is one document]",
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Fine-tune: start with the weights of RUN, a run directory (its best checkpoint) or a checkpoint file.",
)
@click.option("--grow-vocabulary", is_flag=True, help="With --init-from: learn characters that RUN does not know.")
@click.option("--resume", is_flag=True, help="Continue the run in --out, with the same bits as without a stop.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option(
    "--threads",
    type=int,
    default=0,
    help="Number of workers; changes the time, never the result.  [default: one for each core]",
)
@click.option("--profile", is_flag=True, help="Print at the end where the time of a step goes, and what ranks send.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard into the run directory.")
def train_command(
    files: tuple[str, ...],
    preset: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    no_fallback: bool,
    minutes: float | None,
    stop_after: int | None,
    resume: bool,
    overwrite: bool,
    threads: int,
    profile: bool,
    tensorboard: bool,
    **keys: Any,
) -> int:
    """Train a network on FILES: text files, patterns, directories, or - for standard input.

    Without FILES the text is the embedded corpus: Python's own reference topics (`pydoc_data.topics`, about 465,000
    characters, PSF license).
    """
    began = time.monotonic()
    from charrnn import config
    from charrnn.cli.profile import profile_lines
    from charrnn.cli.progress import Printer
    from charrnn.run.directory import default_out
    from charrnn.run.request import Request, read_preset
    from charrnn.run.session import prepare
    from charrnn.training.profile import mean_step

    with launched() as ranks, interruptible(quiet=not ranks.is_first) as interruption:
        if tensorboard and ranks.is_first:
            from charrnn.tools.tensorboard import check_installed

            check_installed()
        table, automatic = ({}, True) if preset is None else read_preset(preset, minutes)
        if out is None:
            names = (*files, *table.get("data", {}).get("files", ()))
            corpus = "stdin" if names[:1] == ("-",) else names[0] if names else None
            out = default_out(corpus, resume=resume, overwrite=overwrite)
        session = prepare(
            Request(
                files=files,
                preset=table,
                automatic=automatic,
                options=config.merged(config.parse_settings(settings), options_table(**keys)),
                out=out,
                resume=resume,
                overwrite=overwrite,
                fallback=not no_fallback,
                threads=threads,
                minutes=minutes,
                stop_after=stop_after,
                began=began,
                interrupted=lambda: interruption.signal or 0,
                ranks=ranks,
                profile=profile,
            )
        )
        if ranks.is_first and not files:
            warn_of_unread_input()
        printer = Printer(session, interruption, tensorboard=tensorboard) if ranks.is_first else None
        reason = printer.run() if printer else end_of(session)
        signal = interruption.signal or ranks.agreed - 1  # of another rank
        status = {"diverged": DivergedError.exit_status, "interrupted": 128 + signal}.get(reason, 0)
        measured = mean_step(session.loop.trainer) if profile else None
        if printer:
            conclude(printer, reason)
            for line in profile_lines(measured) if measured else ():
                printer.show(line)
    return status


def end_of(session: Session) -> str:
    """Train to the end, without printing, and return the reason of the end."""
    from charrnn.training.events import Ended

    return next((event.reason for event in session.events() if isinstance(event, Ended)), "steps")


def options_table(
    document_separator: str | None,
    encoding: str | None,
    jsonl: str | None,
    csv: str | None,
    val_files: tuple[str, ...],
    test_files: tuple[str, ...],
    grow_vocabulary: bool,
    **train_keys: Any,
) -> Table:
    """Return the options that are keys of the configuration as its table; `train_keys` belong to [train]."""
    from charrnn import config

    values: dict[str, Any] = {"data.encoding": encoding, "data.jsonl": jsonl, "data.csv": csv}
    values |= {"data.val_files": val_files or None, "data.test_files": test_files or None}
    values["train.grow_vocabulary"] = grow_vocabulary or None
    if document_separator is not None:
        values["data.document_separator"] = unescaped(document_separator, "--document-separator")
    for key, value in train_keys.items():
        values[f"train.{key}"] = str(value) if isinstance(value, Path) else value
    return config.merged(
        *(
            config.keyed(key, value, f"--{key.partition('.')[2].replace('_', '-')}")
            for key, value in values.items()
            if value is not None
        )
    )


def conclude(printer: Printer, reason: str) -> None:
    """Print how to continue after the end of a run."""
    from charrnn.checkpoint import steps

    session = printer.session
    assert session.out is not None
    if reason in ("interrupted", "stop_after", "time"):
        print_notice(f"resume: {command_line('train', '--resume', '--out', session.out)}")
    if reason == "diverged":
        print_notice(
            "charrnn: training diverged: three steps in a row had a loss or gradient that is not finite; "
            "lower optimizer.learning_rate (the last finite parameters are saved)"
        )
    printer.show(f"run: {session.out}")
    if steps(session.out):
        printer.show(f"sample from it: {command_line('sample', session.out)}")
