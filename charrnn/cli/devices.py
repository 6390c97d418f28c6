"""`charrnn devices`."""

from __future__ import annotations

import click

from charrnn.cli.options import examples
from charrnn.cli.output import print_line, print_notice, table_lines

HEADING = ("device", "kernel", "dtype", "layout", "error", "verdict")


@click.command(
    "devices",
    short_help="List the devices that can compute.",
    epilog=examples("charrnn devices", "charrnn devices --check"),
)
@click.option("--check", is_flag=True, help="Check charrnn's own kernels on each GPU, and print a table.")
def devices_command(check: bool) -> int:
    """List each device with its memory, or why it cannot be used; the choice of `auto`; and versions.

    With --check the exit status is 1 if a kernel does not pass, or if there is no GPU. A kernel that does not pass is
    not used; array operations compute the same, more slowly.
    """
    from charrnn import backend

    for line in backend.report():
        print_line(line)
    return print_checks() if check else 0


def print_checks() -> int:
    """Check the kernels of each GPU and print the table. Return the exit status."""
    from charrnn import backend
    from charrnn.model.cells import CELLS
    from charrnn.run.resolve import REPLACED

    rows = list(backend.check(CELLS.values(), REPLACED))
    if not rows:
        print_notice("there is no GPU to check")
        return 1
    cells = [
        (
            *row[:4],
            "" if row.error is None else f"{row.error:.1e}",
            (row.problem and f"NOT USED: {row.problem}") or "passes",
        )
        for row in rows
    ]
    print_line()
    for line in table_lines([HEADING, *cells], "<<<<><"):
        print_line(line)
    return int(any(row.problem for row in rows))
