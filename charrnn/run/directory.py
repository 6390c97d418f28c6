"""Which directories are runs, what may be written into one, and where a run goes without --out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from charrnn import checkpoint, config, files
from charrnn.errors import CheckpointError, TextError
from charrnn.run import lock
from charrnn.run_files import CHECKPOINTS, CONFIG, COPIES, CORPUS, FILES, LOCK, OWNER
from charrnn.text import EMBEDDED

RUNS = Path("runs")
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9¹²³]", re.IGNORECASE)
"""Names that mean devices on Windows."""


def is_run(path: Path) -> bool:
    """Return whether a directory is a run: it has a checkpoint, or a configuration with every key.

    A run that copied its text to `corpus.txt` names that file in its configuration. So a directory with a complete
    configuration beside a user's own `corpus.txt` is not a run.
    """
    if checkpoint.steps(path):
        return True
    if not config.is_complete(path / CONFIG):
        return False
    texts = config.read(str(path / CONFIG))["data"]["files"]
    return not (path / CORPUS).exists() or CORPUS in map(files.name_of, texts)


def has_only_leftovers(path: Path) -> bool:
    """Return whether a directory holds only files of a run that was killed before it wrote its configuration."""
    return all(file.name in (LOCK, OWNER) or files.is_temporary(file, FILES.__contains__) for file in path.iterdir())


def check_out(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise `CheckpointError` if a run in `out` would lose files of another run or of the user."""
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out} is not a directory: name another --out")
    if not out.is_dir():
        return
    exists = is_run(out)
    if not exists and not has_only_leftovers(out):
        raise CheckpointError(f"{out} exists and is not a run directory, so it is left alone: name another --out")
    lock.check(out)
    if exists and not (overwrite or resume):
        raise CheckpointError(f"{out} already exists: add --resume to continue it, or --overwrite to replace it")
    if files.is_outside(out / CHECKPOINTS, out):
        raise CheckpointError(f"{out / CHECKPOINTS} leads out of its run directory: remove the link")


def check_texts(out: Path, names: Iterable[str]) -> None:
    """Raise `TextError` for a text that the run in `out` would overwrite; its own copies of texts are allowed."""
    home = Path(os.path.realpath(out))
    for name in names:
        path = Path(os.path.realpath(name))
        overwritten = path.parent == home and path.name in FILES - COPIES
        if overwritten or path.is_relative_to(home / CHECKPOINTS):
            raise TextError(f"{name} is written by the run in {out}: train on a copy of it, or name another --out")


def default_out(corpus: str | None, *, resume: bool, overwrite: bool) -> Path:
    """Return the directory of a run without --out: `runs/NAME`, or `runs/NAME-2`, ... so that no run is lost.

    Args:
        corpus: the text's name; None if no text is named.
        resume: return the run that was changed last: of this text, or of any text if none is named. A run that was
            killed before it wrote its configuration is recognized by its name.
        overwrite: return `runs/NAME`, even if it exists.

    Raises `CheckpointError` if no text is named and there is no run to resume.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(corpus or EMBEDDED).name.split(".")[0]).strip("-.") or "run"
    name += "-run" * bool(RESERVED.fullmatch(name))
    if resume:
        numbered = re.compile(rf"{re.escape(name)}(-\d+)?")
        of_this_text = [path for path in RUNS.glob("*/") if numbered.fullmatch(path.name)]
        runs = [path for path in (of_this_text if corpus else RUNS.glob("*/")) if is_run(path)]
        runs += filter(has_only_leftovers, of_this_text)
        if not runs and corpus is None:
            raise CheckpointError(f"there is no run in {RUNS}/ to resume: add --out DIR")
        if runs:
            return max(runs, key=last_change)
    number, path = 1, RUNS / name
    while path.exists() and not overwrite:
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def last_change(path: Path) -> int:
    """Return when a file in a directory was changed last, or an empty directory was made, in nanoseconds."""
    times = []
    for file in path.iterdir():
        with suppress(FileNotFoundError):  # another process has just removed it
            times.append(file.lstat().st_mtime_ns)
    return max(times, default=path.lstat().st_mtime_ns)
