"""The programs of `examples/`: each prints what its first lines promise."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")])


def start(name: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start an example in `folder`."""
    command = [sys.executable, "-X", "utf8", EXAMPLES / name, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", cwd=folder)


def output(program: subprocess.Popen[str]) -> str:
    """Return what a program prints, after it ends with status 0."""
    out, err = program.communicate()
    assert program.returncode == 0, err
    return out


def code_lines(program: Path) -> list[str]:
    """Return the lines of a program, or of the code of a notebook."""
    text = program.read_text("utf-8")
    if program.suffix == ".py":
        return text.splitlines()
    cells = json.loads(text)["cells"]
    return [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_an_example_is_short_and_listed(program: Path) -> None:
    """An example has at most 60 lines, and the page lists it."""
    assert len(code_lines(program)) <= 60
    assert f"| [{program.name}]({program.name}) |" in (EXAMPLES / "README.md").read_text("utf-8")


def test_the_notebook_has_no_outputs() -> None:
    """The notebook is stored without outputs."""
    cells = json.loads((EXAMPLES / "inside_a_network.ipynb").read_text("utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs")] == []


@pytest.mark.slow
def test_names_are_new(tmp_path: Path) -> None:
    """The 20 names differ, are not in the list, and nearly all look like names: most end as names of the list do."""
    known = (EXAMPLES / "dinosaurs.txt").read_text("utf-8").split()
    first, *names = output(start("names.py", tmp_path)).splitlines()
    assert int(first.split()[0]) >= 50
    assert len(set(names)) == len(names) == 20
    assert set(names) & set(known) == set()
    assert sum(re.fullmatch("[A-Z][a-z]{2,}", name) is not None for name in names) >= 19
    assert sum(name[-5:] in {other[-5:] for other in known} for name in names) >= 15


@pytest.mark.slow
def test_bars_of_tunes_add_up(tmp_path: Path) -> None:
    """The printed tunes begin with X: and have the meter of their kind, and nine of ten bars add up to it."""
    jig, waltz, reel = re.split(r"(?<=tunes)\n\n", output(start("music.py", tmp_path)).strip())
    for printed, meter, eighths in ((jig, "6/8", 6), (waltz, "3/4", 6), (reel, "4/4", 8)):
        lines = printed.splitlines()
        assert lines[0] == "X:1"
        assert f"M:{meter}" in lines
        bars = lines[5].removesuffix("|]").split("|")
        lengths = [sum(1 if not after.isdigit() else int(after) for _, after in notes(bar)) for bar in bars]
        assert sum(length == eighths for length in lengths) >= 0.75 * len(bars)
        right, total, new = map(int, re.findall(r": (\d+) of (\d+) bars.* in (\d+) new", printed)[0])
        assert total >= 20 * 5
        assert right >= 0.9 * total
        assert new == 20


def notes(bar: str) -> list[tuple[str, str]]:
    """Return the notes of a bar, each with the character after it, or a bar line."""
    return [pair for pair in zip(bar, bar[1:] + "|", strict=True) if pair[0].isalpha()]


@pytest.mark.slow
def test_unusual_lines_are_the_most_surprising(tmp_path: Path) -> None:
    """The five lines that do not belong are the first five, with marks below what is unusual."""
    printed = output(start("log_anomalies.py", tmp_path)).splitlines()
    lines, marks = printed[::2], printed[1::2]
    scores = [float(line.split()[0]) for line in lines]
    assert len(lines) == 8
    assert scores == sorted(scores, reverse=True)
    for part in ("password for root", "/etc/passwd", "500 30000", "failed, no space", "killed by signal"):
        places = [(n, line.index(part)) for n, line in enumerate(lines[:5]) if part in line]
        assert len(places) == 1
        n, place = places[0]
        assert "^" in marks[n][place : place + len(part)]


@pytest.mark.slow
def test_completions_are_valid_python(tmp_path: Path) -> None:
    """Some completions of each prompt are valid, and the lines that are printed are Python."""
    parts = output(start("source_code.py", tmp_path)).strip().split("\n\n")
    assert len(parts) == 3
    for part, prompt in zip(parts, ("def __init__(self", "def _", "def is_"), strict=True):
        first, *signatures = part.splitlines()
        assert int(first.split()[0]) >= 5
        assert len(set(signatures)) == len(signatures) >= 2
        for signature in signatures:
            compile(signature.strip() + " pass", "signature", "exec")
            assert signature.strip().startswith(prompt)


@pytest.mark.slow
def test_poems_are_recited_and_new_ones_have_the_form(tmp_path: Path) -> None:
    """Nine of ten poems are recited, new ones have four lines of five characters, and tied weights are the fewest."""
    old = (EXAMPLES / "quatrains.txt").read_text("utf-8").splitlines()
    title, one_hot, embedded, tied, recited, count, *poems = output(start("chinese_poems.py", tmp_path)).splitlines()
    sizes = [int(line.split()[1].replace(",", "")) for line in (one_hot, embedded, tied)]
    assert str(len(set("".join(old)))) in title
    assert sizes[0] > 2 * sizes[1] > 3 * sizes[2]
    assert int(recited.split()[0]) >= 0.9 * len(old)
    assert int(re.findall(r"and (\d+) of them", count)[0]) >= len(poems) >= 3
    for poem in poems:
        assert poem not in old
        assert [len(line) for line in re.split("[，。]", poem)] == [5, 5, 5, 5, 0]


TRIALS = """
SELECT number, state, value, (SELECT count(*) FROM trial_intermediate_values WHERE trial_id = trials.trial_id)
FROM trials LEFT JOIN trial_values USING (trial_id) ORDER BY number
"""


@pytest.mark.slow
def test_two_processes_share_a_search(tmp_path: Path) -> None:
    """Two programs that start together add six trials each to one study; poor trials end early; the best is named."""
    pytest.importorskip("optuna")
    outputs = [output(program) for program in [start("search.py", tmp_path, seed) for seed in "12"]]
    last = max(outputs, key=lambda text: int(text.split()[0]))
    with closing(sqlite3.connect(tmp_path / "search.db")) as database:
        trials = database.execute(TRIALS).fetchall()
    complete = [(value, evaluations) for _, state, value, evaluations in trials if state == "COMPLETE"]
    pruned = [evaluations for _, state, _, evaluations in trials if state == "PRUNED"]
    assert [number for number, *_ in trials] == list(range(12))
    assert len(complete) + len(pruned) == 12
    assert {evaluations for _, evaluations in complete} == {7}  # at step 0, 10, ..., 60
    assert min(pruned) < 7
    assert last.startswith(f"12 trials, {len(pruned)} of them ended early.")
    assert f"Best loss: {min(complete)[0]:.4f} nats/char" in last
    assert re.findall(r"--set (\S+)=\S+", last) == ["model.cell", "model.hidden_size", "optimizer.learning_rate"]


CLAIMS = """
assert model.predict("of th")[0] > ("e", 0.7)
assert model.predict("of the ")[0][1] < 0.3
assert 1 + np.argmax(nats) == text.index("valve") + 3
assert abs(contrast[order[0]]) > 0.3
reach = np.linalg.norm(result.dhidden[:, 0], axis=1)
assert reach[-1] > 100 * reach[0] > 0
assert abs((losses[0] - losses[1]) / (2 * step) - grad[place]) < 0.01 * abs(grad[place])
"""


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """The cells of the notebook run, four of them draw a picture, and what its text claims is true."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name in ("ipykernel", "matplotlib"):
        pytest.importorskip(name)
    notebook = nbformat.read(EXAMPLES / "inside_a_network.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(CLAIMS))
    nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [shown for cell in notebook.cells for shown in cell.get("outputs", ())]
    assert sum("image/png" in shown.get("data", {}) for shown in outputs) == 4
