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
from typing import Any

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

DIVERGED = 3


@click.command("train")
@click.argument("files", nargs=-1)
@click.option("--config", "preset", metavar="NAME_OR_FILE", help="A TOML file, or a preset by name.")
@settings_option
@click.option("--out", type=click.Path(path_type=Path), help="The run directory.  [default: runs/NAME of the text]")
@configured_device_option
@fallback_option
@click.option(
    "--precision", type=click.Choice(["float32", "tf32"]), help="Of large products on a GPU.  [default: float32]"
)
@click.option("--gpu-memory-limit", metavar="SIZE", help="Most that arrays may take on a GPU, such as 6GB.")
@click.option("--seed", type=int, help="Of every random number.  [default: 0]")
@click.option("--steps", type=int, help="Updates to make in all.  [default: 2000, or the preset's]")
@click.option("--minutes", type=float, help="Train for so long, counted from the start of this command.")
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
    from charrnn.checkpoint import steps
    from charrnn.cli.progress import Printer
    from charrnn.training import Request, default_out, prepare

    said = {"train.seed": keys["seed"], "train.steps": keys["steps"], "data.encoding": keys["encoding"]}
    said |= {f"train.{key}": keys[key] for key in ("device", "precision", "gpu_memory_limit")}
    if keys["document_separator"] is not None:
        said["data.document_separator"] = unescaped(keys["document_separator"], "--document-separator")
    if keys["init_from"] is not None:
        said["train.init_from"] = str(keys["init_from"])
    if keys["grow_vocabulary"]:
        said["train.grow_vocabulary"] = True
    tables = [
        config.keyed(dotted, value, f"--{dotted.partition('.')[2].replace('_', '-')}")
        for dotted, value in said.items()
        if value is not None
    ]
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
                options=config.merged(config.parse_settings(settings), *tables),
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
    status = {"diverged": DIVERGED, "interrupted": 128 + (interruption.signal or 0)}.get(reason, 0)
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
