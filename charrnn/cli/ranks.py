"""The ranks of `mpiexec -n N charrnn train`: the first one speaks to the user."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from charrnn.cli.output import null_stream

if TYPE_CHECKING:
    from charrnn.backend import Ranks


@contextmanager
def launched() -> Iterator[Ranks]:
    """Yield the ranks that a launcher has started, and end all of them if one fails.

    What all ranks have in common is printed by the first; a rank that fails alone prints its error itself.
    """
    from charrnn.backend import world

    ranks = world()
    if not ranks.is_first:
        sys.stdout, sys.stderr = null_stream(), null_stream()
    try:
        with ranks.together():
            yield ranks
    except BaseException:
        if not ranks.is_first and not ranks.over:
            sys.stderr = sys.__stderr__
        raise
