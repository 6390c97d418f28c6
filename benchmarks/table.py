"""Print the figures of a run as a Markdown table: `python benchmarks/table.py results.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PEERS = {
    "plain loop": ("charrnn, plain loop",),
    "min-char-rnn": ("min-char-rnn",),
    "PyTorch": ("PyTorch one-hot", "PyTorch embedding"),
    "PyTorch TF32": ("PyTorch TF32",),
    "torch.compile": ("torch.compile",),
    "JAX": ("JAX jit",),
    "one worker": ("charrnn, 1 worker",),
    "ranks": ("charrnn, ranks",),
    "CPU": ("charrnn, CPU",),
}
"""The columns, each with the systems of which the fastest counts. A column without figures is left out."""
RATES = {"steps_per_second": "steps/s", "chars_per_second": "chars/s", "mb_per_second": "MB/s"}


def table(lines: list[dict[str, Any]]) -> str:
    """Return a line for each row: charrnn's rate, its ratio to each peer's rate, and its share of the floor."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault(line["row"], {})[line["system"]] = line
    measured = {line["system"] for line in lines if "ratio" in line}
    peers = {peer: names for peer, names in PEERS.items() if measured & set(names)}
    text = [["", "charrnn", *(f"÷ {peer}" for peer in peers), "of the floor"]]
    for name, systems in rows.items():
        ours = systems.get("charrnn")
        if ours is None or "missing" in ours:
            continue
        unit = next(unit for unit in RATES if unit in ours)
        if name.startswith("sampling"):
            unit = "chars_per_second"
        ratios = [
            min((systems[s]["ratio"] for s in names if "ratio" in systems.get(s, {})), default=None)
            for names in peers.values()
        ]
        floor = ours.get("of_floor")
        text.append(
            [
                name,
                f"{ours[unit]:,.0f} {RATES[unit]}" if ours[unit] >= 100 else f"{ours[unit]:.1f} {RATES[unit]}",
                *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
                "" if floor is None else f"{floor:.2f}",
            ]
        )
    text.insert(1, ["---", *["---:"] * (len(text[0]) - 1)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in text)


def report(results: dict[str, Any]) -> str:
    """Return the table of a run, with the card where `gpu_check.sh` measured it."""
    steps = ({"results": results["rows"]},) if "rows" in results else results["steps"]
    rows = [line for step in steps for line in step["results"] if "system" in line]
    return "\n\n".join(filter(None, [results.get("card"), table(rows)]))


if __name__ == "__main__":
    print(report(json.loads(Path(sys.argv[1]).read_text())))
