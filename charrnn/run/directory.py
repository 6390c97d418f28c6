"""Which directories are runs, what may be done in one, and where a run goes when nobody says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from charrnn import checkpoint, config, files
from charrnn.errors import CheckpointError, TextError
from charrnn.run import lock
from charrnn.run.recorder import CONFIG, CORPUS, OURS
from charrnn.text import EMBEDDED

RUNS = Path("runs")


def started(run: Path) -> bool:
    """Whether `run` is a run directory: it has a checkpoint, or a start has written its whole configuration.

    A start that has kept a text has also named it there; any other text beside a configuration is somebody's own.
    """
    if checkpoint.steps(run):
        return True
    if not config.is_complete(run / CONFIG):
        return False
    named = config.read(str(run / CONFIG))["data"]["files"]
    return not (run / CORPUS).exists() or CORPUS in (Path(name).name for name in named)


def cut_short(run: Path) -> bool:
    """Whether there is nothing in `run` but what a start leaves that ended before it wrote its configuration."""
    return all(path.name == lock.PID or files.is_temporary(path, OURS) for path in run.iterdir())


def check(run: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise `CheckpointError` where a run in `run` would lose something or mix with something else."""
    if run.exists() and not run.is_dir():
        raise CheckpointError(f"{run} is not a directory: name another --out")
    if not run.is_dir():
        return
    begun = started(run)
    if not begun and not cut_short(run):
        raise CheckpointError(f"{run} exists and is not a run directory, so it is left alone: name another --out")
    lock.check(run)
    if begun and not (overwrite or resume):
        raise CheckpointError(f"{run} already exists: add --resume to go on with it, --overwrite to start anew")
    if files.is_outside(run / checkpoint.FOLDER, run):
        raise CheckpointError(f"{run / checkpoint.FOLDER} leads out of its run directory: remove the link")


def apart(run: Path, names: Iterable[str]) -> None:
    """Raise `TextError` for a text that the run in `run` would write over; the one that it keeps itself is none."""
    home = Path(os.path.realpath(run))
    for name in names:
        path = Path(os.path.realpath(name))
        ours = path.parent == home and path.name != CORPUS and OURS(path.name)
        if ours or path.is_relative_to(home / checkpoint.FOLDER):
            raise TextError(f"{name} is written by the run in {run}: copy it to learn it, or name another --out")


def default_out(corpus: str | None, *, resume: bool, overwrite: bool) -> Path:
    """Where a run is when nobody says: `runs/NAME`, or `runs/NAME-2`, ... so that no run is lost.

    Args:
        corpus: the text's name; None where none was given.
        resume: the one of them that was written last, of any text where none was given. A start that ended before it
            wrote its configuration counts by its name.
        overwrite: the first.

    Raises `CheckpointError` if no text was given and there is no run to resume.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(corpus or EMBEDDED).name.split(".")[0]).strip("-.") or "run"
    if resume:
        own = re.compile(rf"{re.escape(name)}(-\d+)?")
        named = [path for path in RUNS.glob("*/") if own.fullmatch(path.name)]
        found = [path for path in (named if corpus else RUNS.glob("*/")) if started(path)]
        found += filter(cut_short, named)
        if not found and corpus is None:
            raise CheckpointError(f"there is no run in {RUNS}/ to resume: add --out DIR")
        if found:
            return max(found, key=written)
    number, path = 1, RUNS / name
    while path.exists() and not overwrite:
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def written(run: Path) -> int:
    """When something in `run` was written last, or an empty one made; what vanishes meanwhile does not count."""
    times = []
    for path in run.iterdir():
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime_ns)
    return max(times, default=run.lstat().st_mtime_ns)
