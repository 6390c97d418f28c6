"""Print the results of `learning.py` as a Markdown table: medians and ranges over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

Measured = dict[str, Any]

COLUMNS: dict[str, tuple[str, Callable[[Measured], float]]] = {
    "minutes": (".1f", lambda row: row["seconds"] / 60),
    "steps": (",.0f", lambda row: row["steps"]),
    "chars/s": (",.0f", lambda row: row["chars"] / row["seconds"]),
    "carried": (".4f", lambda row: row["losses"]["carried"]),
    "windows:256": (".4f", lambda row: row["losses"]["windows:256"]),
}
"""The heading, format and value of each column. The rate is that of the whole command."""


def grouped(rows: Iterable[Measured]) -> list[list[Measured]]:
    """Return groups of rows that differ only in their seed, the last word of the command."""
    groups: dict[tuple[object, ...], list[Measured]] = {}
    for row in rows:
        groups.setdefault((*row["command"][:-1], row["config"], row["commit"], row["machine"]), []).append(row)
    return list(groups.values())


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, and for more than one value the range [least–most]."""
    middle = f"{median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} [{min(values):{form}}–{max(values):{form}}]"


def markdown(data: dict[str, Any]) -> str:
    """Return the table of a series, with its text, machines and commits."""
    lines = [["run", "budget", "parameters", "seeds", *COLUMNS]]
    lines.append(["---", "---", *["---:"] * (2 + len(COLUMNS))])
    groups = grouped(data["rows"])
    commits = sorted({group[0]["commit"] for group in groups})
    machines = sorted({group[0]["machine"] for group in groups})
    for group in groups:
        first = group[0]
        name = first["name"] + f" ({first['commit']})" * (len(commits) > 1)
        name += f" [{first['machine']}]" * (len(machines) > 1)
        values = [spread([value(row) for row in group], form) for form, value in COLUMNS.values()]
        lines.append([name, first["budget"], f"{first['parameters']:,}", str(len(group)), *values])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    text = data["text"]
    about = [f"Losses in nats/char on the validation split of {text['name']} ({text['characters']:,} characters)."]
    about[0] += " Medians over seeds [least–most]; minutes and chars/s are those of the whole command."
    for number in machines:
        label = f"Machine [{number}]" if len(machines) > 1 else "Machine"
        about.append(f"{label}: {described(data['machines'][number])}.")
    about.append(f"Commit: {', '.join(commits)}.")
    return table + "\n\n" + "\n".join(about)


def described(machine: dict[str, Any]) -> str:
    """Describe a machine in words."""
    versions = f"Python {machine['python']}, NumPy {machine['versions']['numpy']}, {machine['blas']}"
    return f"{machine['processor']}, {machine['cores']} cores; {versions}"
