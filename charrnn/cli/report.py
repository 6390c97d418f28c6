"""`charrnn report`."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.compare import expanded
from charrnn.cli.options import device_option, examples, fallback_option, kernels_option
from charrnn.cli.output import check_replaceable, print_line, print_notice, printable, write_file
from charrnn.errors import CheckpointError

if TYPE_CHECKING:
    from charrnn.tools.report import Collected


@click.command(
    "report",
    short_help="Write one page about a run to look at.",
    epilog=examples("charrnn report runs/book --open", "charrnn report runs/rnn runs/lstm -o both.html"),
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default="report.html", show_default=True, help="Write this file."
)
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
@device_option
@fallback_option
@kernels_option
def report_command(
    runs: tuple[str, ...], output: Path, show: bool, device: str, no_fallback: bool, kernels: str | None
) -> None:
    """Write one HTML page about finished runs: verdict, curves, samples, neurons, gradients and more.

    RUN is a run directory, whose best checkpoint is used, a checkpoint file, or a pattern of them. Several runs are
    overlaid. The page is one file that sends no request, so you can mail it, or open it without a network.
    """
    from charrnn.tools.report import assembled

    check_replaceable(output)
    options = {"device": device, "fallback": not no_fallback, "kernels": kernels}
    collected = collect([path for run in runs for path in expanded(run)], options)
    page = assembled(collected).encode()
    write_file(output, page)
    print_line(printable(f"{output} ({len(page) / 1000:,.0f} kB)"))
    if show and not webbrowser.open(output.absolute().as_uri()):
        print_notice(f"there is no browser here: open {output} yourself")


def collect(paths: list[str], options: dict[str, Any]) -> list[Collected]:
    """Return what the page shows of each run, after a line about each that is left out. A terminal shows a bar.

    Raises `CheckpointError` if no run can be read.
    """
    from charrnn.cli.progress import Bar
    from charrnn.tools.report import collect, read

    collected: list[Collected] = []
    failed: list[str] = []
    for path in Bar(paths, unit="run"):
        try:
            run = read(Path(path), **options)
        except CheckpointError as error:
            failed.append(str(error))
            continue
        for line in run.model.notices:
            print_notice(line)
        collected.append(collect(run))
    if not collected:
        raise CheckpointError("; ".join(failed))
    for reason in failed:
        print_notice(f"left out: {reason}")
    return collected
