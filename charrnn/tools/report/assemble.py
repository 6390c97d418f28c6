"""Collect everything that the report shows, and assemble its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import __version__, arguments
from charrnn.errors import OverflowingError
from charrnn.tools.compare import Row, mark_best
from charrnn.tools.pages import page
from charrnn.tools.report import held_out
from charrnn.tools.report.curves import curves
from charrnn.tools.report.finished import Finished, read
from charrnn.tools.report.gradient import gradient
from charrnn.tools.report.losses import LossStatistics
from charrnn.tools.report.neurons import UnitStatistics, neurons
from charrnn.tools.report.passage import passage, surprise
from charrnn.tools.report.provenance import provenance
from charrnn.tools.report.samples import samples
from charrnn.tools.report.summary import summary

HERE = Path(__file__).parent


def report(
    runs: str | Path | Iterable[str | Path],
    *,
    device: str = "auto",
    fallback: bool = True,
    kernels: str | None = None,
) -> str:
    """Return one self-contained HTML page about one run, or about several, whose curves are overlaid.

    Args:
        runs: run directories, whose best checkpoint is used, or checkpoint files; or a single one.
        device: as in `load`.
        fallback: as in `load`.
        kernels: as in `load`.

    A panel says so where the run left nothing to show in it. Raises `CheckpointError` for a path without a checkpoint.
    """
    paths = [Path(run) for run in arguments.paths(runs, "runs")]
    options: dict[str, Any] = {"device": device, "fallback": fallback, "kernels": kernels}
    return assembled([collect(read(path, **options)) for path in paths])


@dataclass(frozen=True)
class Collected:
    """The path and the row of a run, and the values of all panels, as JSON can hold them."""

    path: Path
    row: Row
    values: dict[str, Any]


def assembled(runs: Sequence[Collected]) -> str:
    """Return the page about runs whose values are collected."""
    names = short_names([run.path for run in runs])
    rows = mark_best(run.row for run in runs)
    values = [
        run.values | {"name": name, "best": bool(row.best)} for run, name, row in zip(runs, names, rows, strict=True)
    ]
    data = {"version": __version__, "runs": values, "same_text": len({run.row.text for run in runs}) == 1}
    title = f"{', '.join(names)}: a charrnn report"
    return page(title, styles=[HERE / "report.css"], scripts=[HERE / "report.js"], data=data)


def collect(run: Finished) -> Collected:
    """Return the values of all panels of a run. Computes on its device, and waits for it."""
    return Collected(run.path, run.row, from_files(run) | from_text(run))


def from_files(run: Finished) -> dict[str, Any]:
    """Return the values of the panels about the training."""
    return {
        "path": str(run.path),
        "notices": list(run.row.notices),
        "summary": summary(run),
        "curves": curves(run),
        "samples": samples(run),
        "provenance": provenance(run),
    }


def from_text(run: Finished) -> dict[str, Any]:
    """Return the values of the panels about what the network computes on a text; None where there is no text."""
    nothing: dict[str, Any] = dict.fromkeys(("surprise", "neurons", "gradient", "losses"))
    if run.part is None or len(run.part.ids) < 2:
        return nothing | {"missing": run.missing}
    try:
        shown = passage(run)
        part = held_out.head(run)
        units, losses = UnitStatistics(part, run.model.vocabulary), LossStatistics(part, run.model.vocabulary)
        for block in held_out.blocks(run):
            units.add(block)
            losses.add(block)
    except OverflowingError:
        return nothing | {"missing": "The numbers of this network overflow, so nothing can be computed with it."}
    return {
        "missing": run.missing,
        "surprise": surprise(run, shown),
        "neurons": neurons(shown, units),
        "gradient": gradient(run),
        "losses": losses.result(),
    }


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the last part of each path if no two are equal, else the whole paths."""
    names = [path.name or str(path) for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
