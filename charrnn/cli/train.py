"""`charrnn train`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.common import (
    Interruption,
    command_line,
    configured_device_option,
    fallback_option,
    files_encoding_option,
    settings_option,
    unescaped,
)
from charrnn.cli.terminal import note
from charrnn.errors import DivergedError

if TYPE_CHECKING:
    from charrnn.cli.progress import Printer
    from charrnn.config import Table


@click.command("train")
@click.argument("files", nargs=-1)
@click.option("--config", "preset", metavar="NAME_OR_FILE", help="A TOML file, or a preset by name.")
@settings_option
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/NAME of the text]")
@configured_device_option
@fallback_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32"]),
    help="Numbers in large matrix products on a GPU.  [default: float32]",
)
@click.option("--gpu-memory-limit", metavar="SIZE", help="Most that arrays may take on a GPU, such as 6GB.")
@click.option("--seed", type=int, help="Seed of all random numbers.  [default: 0]")
@click.option("--steps", type=int, help="Updates to make in all.  [default: 2000, or the preset's]")
@click.option("--minutes", type=float, help="Stop after so many minutes; the number of steps is planned to fit.")
@click.option("--stop-after", type=int, metavar="N", help="Save and stop after N steps; the planned total stays.")
@files_encoding_option
@click.option(
    "--document-separator",
    metavar="STRING",
    help=r"Ends a document inside a file; \n, \t, \\ and \uXXXX are escapes.  [default: each file is one document]",
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Fine-tune: begin with the weights of RUN, a run directory (its best checkpoint) or a checkpoint file.",
)
@click.option("--grow-vocabulary", is_flag=True, help="With --init-from: learn characters that RUN never saw.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, bit for bit.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option(
    "--threads",
    type=int,
    default=0,
    help="Workers, each on a core; changes the time, never the result.  [default: cores]",
)
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
    **keys: Any,
) -> int:
    """Learn a text: FILES, globs, directories, `-` for standard input; without any, an embedded corpus.

    The embedded corpus is Python's own reference topics (`pydoc_data.topics`, about 465,000 characters, PSF license).
    """
    began = time.monotonic()
    from charrnn import config
    from charrnn.cli.progress import Printer
    from charrnn.run.directory import default_out
    from charrnn.run.request import Request
    from charrnn.run.session import prepare

    table = config.read(preset) if preset is not None else {}
    if out is None:
        names = (*files, *table.get("data", {}).get("files", ()))
        corpus = "stdin" if names[:1] == ("-",) else names[0] if names else None
        out = default_out(corpus, resume=resume, overwrite=overwrite)
    with interruptible() as interruption:
        session = prepare(
            Request(
                files=files,
                preset=table,
                options=config.merged(config.parse_settings(settings), table_of(**keys)),
                out=out,
                resume=resume,
                overwrite=overwrite,
                fallback=not no_fallback,
                threads=threads,
                minutes=minutes,
                stop_after=stop_after,
                began=began,
                interrupted=lambda: interruption.signal is not None,
            )
        )
        printer = Printer(session, interruption)
        reason = printer.run()
    return conclude(printer, reason)


def table_of(document_separator: str | None, encoding: str | None, grow_vocabulary: bool, **keys: Any) -> Table:
    """The options that are keys of the configuration, as its table; `keys` are those of [train]."""
    from charrnn import config

    said = {"data.encoding": encoding, "train.grow_vocabulary": grow_vocabulary or None}
    if document_separator is not None:
        said["data.document_separator"] = unescaped(document_separator, "--document-separator")
    said |= {f"train.{key}": str(value) if isinstance(value, Path) else value for key, value in keys.items()}
    named = ((key, value, key.partition(".")[2].replace("_", "-")) for key, value in said.items() if value is not None)
    return config.merged(*(config.keyed(key, value, f"--{option}") for key, value, option in named))


def conclude(printer: Printer, reason: str) -> int:
    """Say how to go on after the end of a run; the status to end with."""
    from charrnn.checkpoint import steps

    session, signalled = printer.session, printer.interruption.signal or 0
    status = {"diverged": DivergedError.exit_status, "interrupted": 128 + signalled}.get(reason, 0)
    assert session.out is not None
    if reason in ("interrupted", "stop_after", "time"):
        note(f"resume: {command_line('train', '--resume', '--out', session.out)}")
    if reason == "diverged":
        note(
            "charrnn: training diverged: three steps in a row had a loss or gradient that is not finite; "
            "lower optimizer.learning_rate (the last finite parameters are saved)"
        )
    printer.show(f"run: {session.out}")
    if steps(session.out):
        printer.show(f"sample from it: {command_line('sample', session.out)}")
    return status


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let Ctrl-C, SIGTERM and a closed terminal finish the step and save; a second one ends the process at once."""
    interruption = Interruption()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def handle(number: int, _: FrameType | None) -> None:
        if interruption.signal is not None:
            sys.exit(128 + number)
        interruption.signal = number
        # Not through sys.stderr, in the middle of whose write the signal may have come.
        with suppress(OSError):
            if sys.__stderr__ is not None:
                os.write(sys.__stderr__.fileno(), b"\nfinishing the step and saving ... (again to leave at once)\n")

    # A signal that is ignored, as under nohup, stays ignored.
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
