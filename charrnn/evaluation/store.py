"""Baselines that were counted before: a small file each in the user's cache directory, named by what they depend on.

Nothing here is an error for a run: what cannot be read is counted again, what cannot be written is not kept.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from charrnn.errors import TextError
from charrnn.evaluation.baselines import Baselines, Split
from charrnn.files import is_temporary, write_atomically
from charrnn.text import cache

KEPT = 1000
"""Files; when one is written, those written longest ago go beyond it."""
FILE = re.compile(r"[0-9a-f]{64}\.baselines\.json").fullmatch
"""Whether this is the name of such a file."""


def get(split: Split) -> Baselines | None:
    """The baselines of a split, if they are kept; not from a file that is damaged or another split's."""
    with suppress(OSError, ValueError, RecursionError, TextError):
        values = json.loads((cache.directory() / f"{split.key}.baselines.json").read_bytes())
        if isinstance(values, dict) and values.get("key") == split.key:
            return Baselines.of(split, values.get("losses"))
    return None


def put(split: Split, baselines: Baselines) -> None:
    """Keep the baselines of a split, whole or not at all."""
    with suppress(OSError, TextError):
        folder = cache.directory()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps({"key": split.key, "losses": baselines.losses}).encode()
        write_atomically(folder / f"{split.key}.baselines.json", content)
        for old in sorted(files(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)


def files() -> list[Path]:
    """The files of baselines. Raises `TextError` for a cache that cannot be read."""
    return cache.contents(FILE)


def clear() -> list[Path]:
    """Remove every file of baselines; the files there were."""
    found = files()
    for path in (*found, *cache.contents(lambda name: is_temporary(Path(name), FILE))):
        path.unlink()
    return found
