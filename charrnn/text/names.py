"""What names of texts mean: files as they are, globs and directories expanded, in a fixed order."""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

from charrnn import config
from charrnn.errors import TextError
from charrnn.run_files import CHECKPOINTS, CONFIG, METRICS, SAMPLES
from charrnn.text.sources import opened

LEFT = {CONFIG, METRICS, SAMPLES}
"""What a run that was cut short before its first checkpoint has written, but for its text."""


def expand(names: list[str]) -> list[str]:
    """The files that `names` mean, in a fixed order: globs and directories expanded, `-` and files as they are.

    Of a directory every file below it counts that is not hidden and holds no NUL byte in its first block.
    Raises `TextError` for a name that means nothing.
    """
    files: list[str] = []
    for name in names:
        try:
            found = meant(name)
        except OSError as error:  # a name that is too long, a folder that may not be entered
            raise TextError(f"{name}: cannot be read ({error.strerror})") from None
        if not found:
            kind = "this directory holds no text file" if Path(name).is_dir() else "there is no such file"
            raise TextError(f"{name}: {kind}")
        files += found
    return list(dict.fromkeys(files))


def meant(name: str) -> list[str]:
    """The files that one name means."""
    if not name:
        raise TextError("an empty name is no file")
    check_name(name)
    path = Path(name)
    if name == "-" or (path.exists() and not path.is_dir()):
        return [name]
    if path.is_dir():
        return [each for each in apart_from_runs(name, map(str, sorted(path.rglob("*")))) if is_text(each, below=path)]
    return apart_from_runs(name, (match for match in sorted(set(matches(name))) if Path(match).is_file()))


def apart_from_runs(name: str, found: Iterable[str]) -> list[str]:
    """What a glob or a directory has `found`, without what runs have written there, which is nobody's text.

    Raises `TextError` if that was all.
    """
    path = Path(name)
    top = path if path.is_dir() else Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))

    @cache
    def of_run(folder: Path) -> bool:
        return (folder / METRICS).is_file() and (folder / CHECKPOINTS).is_dir()

    def written(path: Path) -> bool:
        # A start has no checkpoints yet. Its configuration tells it; but a user may have a whole one beside his texts.
        begun = path.name in LEFT and config.whole(path.with_name(CONFIG))
        return begun or any(of_run(folder) for folder in path.parents if folder.is_relative_to(top))

    every = list(found)
    kept = [each for each in every if not written(Path(each))]
    if every and not kept:
        raise TextError(f"{name}: only runs have written there, and that is no text: name the files")
    return kept


def matches(pattern: str) -> Iterator[str]:
    """What a glob matches, perhaps more than once.

    `**` stands for any folders, and enters no symbolic link: two that lead back would never let it end.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 (Path.glob takes no absolute pattern, and finds hidden files)
        return
    place = parts.index("**")
    rest = parts[place + 1 :] or ("*",)
    for top in glob.iglob(str(Path(*parts[:place]))) if place else ["."]:  # noqa: PTH207 (as above)
        for folder, folders, _ in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (str(Path(found)) for found in matches(str(Path(glob.escape(folder), *rest))))


def check_name(name: str) -> None:
    """Raise `TextError` for a path that is not valid Unicode: no configuration could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise TextError(f"{name!a}: this path is not valid Unicode; rename the file or the directory") from None


def is_text(name: str, *, below: Path) -> bool:
    """Whether a file found in a directory looks like text: not hidden, and no NUL byte in its first block."""
    path = Path(name)
    if any(part.startswith(".") for part in path.relative_to(below).parts) or not path.is_file():
        return False
    try:
        with opened(name) as stream:
            return b"\0" not in stream.read(4096)
    except (OSError, EOFError, zlib.error):
        return False
