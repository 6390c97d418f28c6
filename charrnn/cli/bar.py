"""The progress bar of long commands."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar on standard error where someone watches, gone at its end. Options: those of `tqdm`."""

    disable = True  # until __init__ decides: older tqdm that Ctrl-C stops before that would complain when closed

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, disable=not on_terminal(), leave=False, **options)


def on_terminal() -> bool:
    """Whether someone watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()
