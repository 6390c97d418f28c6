"""The checkpoints of a run directory: their names, finding one, and keeping few."""

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
"""Of each checkpoint the step, the time of its last change in nanoseconds, and its size in bytes."""


def path_of(run: Path, step: int) -> Path:
    """Where the checkpoint of `step` is kept."""
    return run / CHECKPOINTS / f"step-{step:08d}.safetensors"


def is_name(name: str) -> bool:
    """Whether a file of this name is a checkpoint."""
    return PATTERN.fullmatch(name) is not None


def steps(run: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    folder = run / CHECKPOINTS
    names = [PATTERN.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    found = {int(match[1]): match[0] for match in names if match}
    return sorted(step for step in found if not path_of(run, step).is_dir() and path_of(run, step).name == found[step])


def marks(run: Path) -> Marks:
    """The steps that have a checkpoint, each with what changes when another takes its place."""
    found = ((step, path_of(run, step).lstat()) for step in steps(run))
    return [(step, status.st_mtime_ns, status.st_size) for step, status in found]


class GoneError(CheckpointError):
    """A checkpoint was pruned between being found and being read: a training into the run goes on."""


def read(run: Path, step: int) -> Checkpoint:
    """The checkpoint of `step`. Raises `CheckpointError` for one that is damaged, renamed, or not in `run` itself."""
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
    """The newest checkpoint that can be read, with a line about each newer one that cannot; None if there is none.

    Raises the newest one's `CheckpointError` if there are checkpoints and none can be read; where the run is to be
    `resumed`, also for one that is not damaged, but out of reach for now, or for this version: it is not trained anew.
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
                raise CheckpointError(f"{error}; to go on from an earlier checkpoint, move this one away") from None
            problems.append(str(error))
    if problems:
        raise CheckpointError(f"{problems[0]}; no other can be read either")
    return None


def find(where: Path, which: str = "best") -> tuple[Path, Checkpoint, list[str]]:
    """The checkpoint that `where` (a run directory or a checkpoint file) means, and lines about damaged ones.

    Args:
        where: the path.
        which: of a directory: `best` (lowest validation loss; the last where nothing was evaluated, or where that one
            cannot be read), `last` or a step.

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
            return chosen(where, which)
        except GoneError:
            continue


def chosen(run: Path, which: str) -> tuple[Path, Checkpoint, list[str]]:
    """As `find`, of a run directory. Raises `GoneError` where another look would find more."""
    available = steps(run)
    if which.isdecimal():
        step = next((step for step in available if str(step) == (which.lstrip("0") or "0")), None)
        if step is None:
            listed = ", ".join(map(str, available)) or "none"
            raise CheckpointError(f"{run} has no checkpoint of step {which}; there are: {listed}")
        return path_of(run, step), read(run, step), []
    found = last(run)
    if found is None:
        raise CheckpointError(f"{run} has no checkpoint: it is not a run directory, or training has not started")
    path, newest, notices = found
    best = newest.meta.best
    if which == "last" or best is None or best.step == newest.meta.step:
        return found
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
    """The checkpoints after `step`, which could not be read, and where they are kept then."""
    paths = [path_of(run, later) for later in steps(run) if later > step]
    return [(path, path.with_name(path.name + DAMAGED)) for path in paths]


def quarantine(run: Path, step: int) -> None:
    """Rename the checkpoints after `step`, so that new ones do not count them."""
    for path, kept in quarantine_paths(run, step):
        path.replace(kept)


def remove_quarantined(run: Path) -> None:
    """Remove the checkpoints that were set aside."""
    for path in (run / CHECKPOINTS).glob(f"step-*{DAMAGED}"):
        path.unlink()


def prune(run: Path, keep: int, best: int | None) -> None:
    """Delete all but step 0, the last `keep` and the best checkpoint."""
    available = steps(run)
    for step in set(available[:-keep]) - {0, best}:
        with suppress(PermissionError):  # on Windows, where somebody is reading it: next time
            path_of(run, step).unlink(missing_ok=True)
