"""`benchmarks/learning_report.py` and `learning_plot.py`: the table and the plot."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from helpers.learning_command import run
from learning_plot import DOUBLINGS, PEERS, SHOWN, TINYSHAKESPEARE, picture, place, plane_for, stride
from learning_report import grouped, markdown, spread

MACHINE = {"processor": "Abacus", "cores": 2, "python": "3.11", "versions": {"numpy": "2.0"}, "blas": "some BLAS"}


def row(name: str, seed: int, carried: float, **more: Any) -> dict[str, Any]:
    """Return a result; each name has another command."""
    values = {"name": name, "budget": "5 min", "seed": seed, "command": ["train", name, "--seed", str(seed)]}
    losses = {"carried": carried, "windows:256": carried + 0.1}
    curve = [[0.0, 0, 4.0], [60.0, 500, 2.0], [120.0, 1000, carried]]
    cost = {"config": "c", "commit": "abc", "machine": 0, "seconds": 120.0, "steps": 10, "chars": 2400}
    return values | cost | {"parameters": 1234, "losses": losses, "curve": curve} | more


def series(rows: list[dict[str, Any]], sha256: str = "0") -> dict[str, Any]:
    """Return the content of a JSON file."""
    text = {"name": "t.txt", "sha256": sha256, "characters": 1000}
    return {"text": text, "machines": [MACHINE, MACHINE | {"cores": 64}], "rows": rows}


def test_the_table() -> None:
    """A line for each command has medians and spreads over seeds; commits and machines that differ are named."""
    rows = [row("b", 1, 1.5), row("a", 1, 2.0), row("b", 2, 1.25, seconds=60.0), row("b", 3, 1.75, steps=2000)]
    assert [len(group) for group in grouped(rows)] == [3, 1]
    lines = markdown(series(rows)).splitlines()
    assert lines == [
        "| run | budget | parameters | seeds | minutes | steps | chars/s | carried | windows:256 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| b | 5 min | 1,234 | 3 | 2.0 [1.0–2.0] | 10 [10–2,000] | 20 [20–40] | 1.5000 [1.2500–1.7500] "
        "| 1.6000 [1.3500–1.8500] |",
        "| a | 5 min | 1,234 | 1 | 2.0 | 10 | 20 | 2.0000 | 2.1000 |",
        "",
        "Losses in nats/char on the validation split of t.txt (1,000 characters). "
        "Medians over seeds [least–most]; minutes and chars/s are those of the whole command.",
        "Machine: Abacus, 2 cores; Python 3.11, NumPy 2.0, some BLAS.",
        "Commit: abc.",
    ]
    rows += [row("b", 4, 9.0, commit="def"), row("b", 5, 8.0, machine=1), row("b", 6, 7.0, config="d")]
    lines = markdown(series(rows)).splitlines()
    firsts = [line.split(" | ")[0] for line in lines[2:7]]
    assert firsts == ["| b (abc) [0]", "| a (abc) [0]", "| b (def) [0]", "| b (abc) [1]", "| b (abc) [0]"]
    assert lines[-2] == "Machine [1]: Abacus, 64 cores; Python 3.11, NumPy 2.0, some BLAS."
    assert spread([3.0, 1.0], ".1f") == "2.0 [1.0–3.0]"


def test_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plot has a line for each seed and a colour for each run; other results only for tinyshakespeare."""
    data = series([row("b", 1, 1.5), row("b", 2, 1.25), row("<a>", 1, 1.4)])
    (tmp_path / "l.json").write_text(json.dumps(data))
    assert run(monkeypatch, "--plot", str(tmp_path / "l.json"), str(tmp_path / "l.svg")) == 0
    shapes = ET.fromstring((tmp_path / "l.svg").read_text())
    lines = [shape for shape in shapes if shape.tag.endswith("polyline")]
    assert [line.get("stroke") == lines[0].get("stroke") for line in lines] == [True, True, False]
    plane = plane_for([row["curve"] for row in data["rows"]], ())
    assert (plane.right, plane.low, plane.high) == (DOUBLINGS, 1.25, pytest.approx(1.25 + SHOWN))
    assert plane.at(0, plane.high) == (plane.left, plane.top)
    assert place(0.0, 2.0) < 0 == place(2.0 / 2**DOUBLINGS, 2.0)
    assert plane.at(place(2.0, 2.0), 1.25) == (plane.left + plane.width, plane.top + plane.height)
    assert lines[1].get("points").split()[-1] == f"{plane.left + plane.width:.1f},{plane.top + plane.height:.1f}"
    dots = [shape for shape in shapes if shape.tag.endswith("circle")]  # where the command ended
    assert [dot.get("fill") for dot in dots] == [line.get("stroke") for line in lines]
    assert f"{dots[1].get('cx')},{dots[1].get('cy')}" == lines[1].get("points").split()[-1]
    middle = plane.left + plane.width * (1 - 1 / DOUBLINGS)  # half the time is one doubling before the end
    height = plane.top + plane.height * (1.25 + SHOWN - 2.0) / SHOWN
    assert lines[1].get("points").split()[1] == f"{middle:.1f},{height:.1f}"
    words = [shape.text for shape in shapes if shape.tag.endswith("text")]
    assert "b, 5 min, 1,234 parameters, 2 seeds: carried 1.3750" in words
    assert "<a>, 5 min, 1,234 parameters, 1 seed: carried 1.4000" in words
    assert not any(peer.label in words for peer in PEERS)
    theirs = ET.fromstring(picture(series(data["rows"], TINYSHAKESPEARE)))
    assert {peer.label for peer in PEERS} <= {shape.text for shape in theirs}
    assert "5-gram 1.669 (carried; Witten-Bell, counted on the training split)" in {shape.text for shape in theirs}
    assert picture(series([])).endswith("</svg>")
    assert [stride(length) for length in (0.5, 1.0, 1.01, 9.0)] == [0.05, 0.1, 0.2, 1]
