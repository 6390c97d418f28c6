"""Aligned text: the tables of `tune` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from charrnn.cli.terminal import printable


def aligned(lines: Sequence[Sequence[str]], align: str, least: Sequence[int] = ()) -> list[str]:
    """Lines of cells as lines of text: columns two spaces apart, each as wide as its widest cell.

    Args:
        lines: the cells of each line, the heading first; control characters in them are escaped.
        align: `<` or `>` for each column.
        least: the least width of the first columns, where a table should look the same whatever it holds.
    """
    shown = [[printable(cell) for cell in line] for line in lines]
    found = [max(map(len, column)) for column in zip(*shown, strict=True)]
    widths = [max(pair) for pair in zip_longest(found, least, fillvalue=0)]
    rows = ([f"{cell:{way}{width}}" for cell, way, width in zip(line, align, widths, strict=True)] for line in shown)
    return ["  ".join(row).rstrip() for row in rows]
