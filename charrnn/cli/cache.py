"""`charrnn cache`: list and remove the encoded texts that are kept for the next run."""

from __future__ import annotations

import time

import click

from charrnn.cli.options import examples
from charrnn.cli.output import print_line, printable


@click.command(
    "cache",
    short_help="List or remove cached texts.",
    epilog=examples("charrnn cache", "charrnn cache --clear"),
)
@click.option("--clear", is_flag=True, help="Remove all of them. The next run on a text encodes it again.")
def cache_command(clear: bool) -> None:
    """List the large texts that are kept encoded for the next run: size on the disk, last use, name.

    Texts over 64 MB are kept. All together take at most 20 GB: beyond that, the texts that were used longest ago are
    removed.
    """
    from charrnn.text import cache

    print_line(f"directory: {cache.directory()}")
    entries, old_files = cache.clear() if clear else (cache.entries(), cache.old_files())
    for entry in entries:
        name = printable(entry.name) if entry.name is not None else "(damaged)"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        print_line(f"{megabytes(entry.size):>12}  {used}  {name}")
    total = megabytes(sum(entry.size for entry in entries))
    texts = f"{len(entries)} text" + "s" * (len(entries) != 1)
    old = f", and {len(old_files)} file{'s' * (len(old_files) != 1)} of earlier versions" if old_files else ""
    print_line(f"{'removed' if clear else 'total'}: {texts}, {total}{old}")


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
