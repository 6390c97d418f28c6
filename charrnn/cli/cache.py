"""`charrnn cache`: the encoded texts and the baselines that are kept for the next run."""

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
@click.option("--clear", is_flag=True, help="Remove all of them; the next run on a text makes its own again.")
def cache_command(clear: bool) -> None:
    """The encoded large texts kept for the next run: size on the disk, when last used, name.

    Texts over 64 MB are kept; all together take at most 20 GB, those used longest ago go first. Besides, what runs
    were measured against: the baselines of a thousand splits at most, some hundred bytes each.
    """
    from charrnn.evaluation import store
    from charrnn.text import cache

    print_line(f"directory: {cache.directory()}")
    found = cache.clear() if clear else cache.entries()
    for entry in found:
        name = printable(entry.about.name) if entry.about is not None else "(damaged)"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        print_line(f"{megabytes(entry.size):>12}  {used}  {name}")
    total = megabytes(sum(entry.size for entry in found))
    texts = f"{len(found)} text" + "s" * (len(found) != 1)
    splits = len(store.clear() if clear else store.files())
    baselines = f", and the baselines of {splits} split" + "s" * (splits != 1) if splits else ""
    print_line(f"{'removed' if clear else 'total'}: {texts}, {total}{baselines}")


def megabytes(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e6:,.1f} MB"
