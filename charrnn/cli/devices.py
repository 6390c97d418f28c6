"""`charrnn devices`."""

from __future__ import annotations

import click

from charrnn.cli.options import examples
from charrnn.cli.output import print_line


@click.command(
    "devices",
    short_help="List the devices that can compute.",
    epilog=examples("charrnn devices"),
)
def devices_command() -> None:
    """List each device with its memory, or why it cannot be used; the choice of `auto`; and versions."""
    from charrnn import backend

    for line in backend.report():
        print_line(line)
