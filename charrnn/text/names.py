"""What names of texts mean: files as they are, globs and directories expanded, in a fixed order."""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from charrnn.errors import TextError
from charrnn.text.sources import opened


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
    if path.is_dir() and name != "-":
        # What runs have written is nobody's text.
        runs = {log.parent for log in path.rglob("metrics.jsonl") if (log.parent / "checkpoints").is_dir()}
        found = [p for p in sorted(path.rglob("*")) if runs.isdisjoint(p.parents)]
        return [str(p) for p in found if is_text(p, below=path)]
    if name == "-" or path.exists():
        return [name]
    return [match for match in sorted(set(matches(name))) if Path(match).is_file()]


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


def is_text(path: Path, *, below: Path) -> bool:
    """Whether a file found in a directory looks like text: not hidden, and no NUL byte in its first block."""
    if any(part.startswith(".") for part in path.relative_to(below).parts) or not path.is_file():
        return False
    try:
        with opened(str(path)) as stream:
            return b"\0" not in stream.read(4096)
    except (OSError, EOFError, zlib.error):
        return False
