"""The checkpoints of a run directory: their names, how to find one, and which are kept."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from charrnn import files
from charrnn.checkpoint.file import Checkpoint, UnreadableError, load
from charrnn.errors import CheckpointError
from charrnn.run_files import CHECKPOINTS

DAMAGED = ".damaged"
PATTERN = re.compile(r"step-([0-9]{8,18})\.safetensors")
Marks = list[tuple[int, int, int]]
"""For each checkpoint its step, the time of its last change in nanoseconds, and its size in bytes."""


def path_of(run: Path, step: int) -> Path:
    """Return the path of the checkpoint of `step`."""
    return run / CHECKPOINTS / f"step-{step:08d}.safetensors"


def is_name(name: str) -> bool:
    """Return whether a file of this name is a checkpoint."""
    return PATTERN.fullmatch(name) is not None


def steps(run: Path) -> list[int]:
    """Return the steps that have a checkpoint, ascending."""
    folder = run / CHECKPOINTS
    names = [PATTERN.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    by_step = {int(match[1]): match[0] for match in names if match}
    return sorted(s for s, name in by_step.items() if not path_of(run, s).is_dir() and path_of(run, s).name == name)


def marks(run: Path) -> Marks:
    """Return the steps that have a checkpoint, each with what changes if the file is replaced."""
    statuses = ((step, path_of(run, step).lstat()) for step in steps(run))
    return [(step, status.st_mtime_ns, status.st_size) for step, status in statuses]


class GoneError(CheckpointError):
    """A checkpoint was removed after it was found and before it was read: another process trains in the run."""


def read(run: Path, step: int) -> Checkpoint:
    """Return the checkpoint of `step`. Raise `CheckpointError` if it is damaged, renamed, or a link out of `run`."""
    path = path_of(run, step)
    try:
        if files.is_outside(path, run):
            raise CheckpointError(f"{path} leads out of its run directory, so it is not read: remove the link")
        saved = load(path)
        if saved.meta.step != step:
            raise CheckpointError(f"{path} is of step {saved.meta.step}: it was renamed")
        return saved
    except CheckpointError as error:
        if step not in steps(run):
            raise GoneError(str(error)) from None
        raise


def last(run: Path, *, resumed: bool = False) -> tuple[Path, Checkpoint, list[str]] | None:
    """Find the newest checkpoint that can be read.

    Returns its path, the checkpoint, and a line about each newer one that cannot be read; None if there is none.

    Raises the newest one's `CheckpointError` if none can be read. If the run is to be `resumed`, raises one also for a
    checkpoint that is not damaged but cannot be read now, or has a newer format: training must not repeat its steps.
    """
    problems: list[str] = []
    for step in reversed(steps(run)):
        path = path_of(run, step)
        try:
            return path, read(run, step), [f"{problem}; using an earlier checkpoint" for problem in problems]
        except GoneError:
            return last(run, resumed=resumed)
        except CheckpointError as error:
            if resumed and isinstance(error, UnreadableError):
                raise CheckpointError(f"{error}; to continue from an earlier checkpoint, move this one away") from None
            problems.append(str(error))
    if problems:
        raise CheckpointError(f"{problems[0]}; no other can be read either")
    return None


def find(where: Path, which: str = "best") -> tuple[Path, Checkpoint, list[str]]:
    """Return the path of a checkpoint, the checkpoint, and lines for the user about damaged ones.

    Args:
        where: a run directory or a checkpoint file.
        which: in a directory: `best` (the lowest validation loss; the last if nothing was evaluated or the best cannot
            be read), `last` or a step.

    Raises `CheckpointError` if there is no such checkpoint.
    """
    try:
        is_file, is_dir = where.is_file(), where.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise CheckpointError(f"cannot read {where}: {error.strerror or error}") from None
    if is_file:
        return where, load(where), []
    if not is_dir:
        raise CheckpointError(f"there is no run directory or checkpoint {where}")
    if not which.isdecimal() and which not in ("best", "last"):
        raise CheckpointError(f"--checkpoint must be best, last or a step, not {which!r}")
    while True:
        try:
            return find_in_run(where, which)
        except GoneError:
            continue


def find_in_run(run: Path, which: str) -> tuple[Path, Checkpoint, list[str]]:
    """Do what `find` does, in a run directory. Raise `GoneError` if the checkpoints changed meanwhile."""
    available = steps(run)
    if which.isdecimal():
        step = next((step for step in available if str(step) == (which.lstrip("0") or "0")), None)
        if step is None:
            listed = ", ".join(map(str, available)) or "none"
            raise CheckpointError(f"{run} has no checkpoint of step {which}; there are: {listed}")
        return path_of(run, step), read(run, step), []
    latest = last(run)
    if latest is None:
        raise CheckpointError(f"{run} has no checkpoint: it is not a run directory, or training has not started")
    path, newest, notices = latest
    best = newest.meta.best
    if which == "last" or best is None or best.step == newest.meta.step:
        return latest
    instead = f"the best checkpoint (step {best.step}) {{}}: using step {newest.meta.step} instead"
    if best.step not in steps(run):
        if steps(run) != available:  # pruned, because there is a better one
            raise GoneError(instead.format("was pruned"))
        return path, newest, [*notices, instead.format("is missing")]
    try:
        return path_of(run, best.step), read(run, best.step), notices
    except GoneError:
        raise
    except CheckpointError as error:
        return path, newest, [*notices, f"{error}; {instead.format('cannot be read')}"]


def quarantine_paths(run: Path, step: int) -> list[tuple[Path, Path]]:
    """Return the checkpoints after `step`, which could not be read, each with the path it is kept at."""
    paths = [path_of(run, later) for later in steps(run) if later > step]
    return [(path, path.with_name(path.name + DAMAGED)) for path in paths]


def quarantine(run: Path, step: int) -> None:
    """Rename the checkpoints after `step`, so that they no longer count as checkpoints."""
    for path, kept in quarantine_paths(run, step):
        path.replace(kept)


def remove_quarantined(run: Path) -> None:
    """Remove the checkpoints that `quarantine` renamed."""
    for path in (run / CHECKPOINTS).glob(f"step-*{DAMAGED}"):
        path.unlink()


def prune(run: Path, keep: int, best: int | None) -> None:
    """Delete all checkpoints but step 0, the last `keep` and the best."""
    available = steps(run)
    for step in set(available[:-keep]) - {0, best}:
        with suppress(PermissionError):  # on Windows, while another process reads it: it is deleted next time
            path_of(run, step).unlink(missing_ok=True)
