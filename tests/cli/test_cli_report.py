"""`charrnn report`: the file that it writes, and one line for every run that has no page."""

from __future__ import annotations

import json
import shutil
import webbrowser
from pathlib import Path

import pytest
from helpers.commands import Call
from helpers.runs_to_compare import train_run

from charrnn import checkpoint


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the runs a and b."""
    folder = tmp_path_factory.mktemp("runs")
    train_run(folder, "a")
    train_run(folder, "b", model_cell="lstm")
    return folder


def data_of(page: Path) -> dict:
    """Return the data of a page."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])


def test_one_page_about_several_runs(call: Call, runs: Path, tmp_path: Path) -> None:
    """The page has the runs in their order; a run that cannot be read is left out with a line."""
    out, err = call("report", runs / "b", runs / "nothing", runs / "a", "-o", tmp_path / "page.html")
    data = data_of(tmp_path / "page.html")
    assert [run["name"] for run in data["runs"]] == ["b", "a"]
    assert data["same_text"] is True
    assert [run["best"] for run in data["runs"]].count(True) == 1
    assert out == f"{tmp_path / 'page.html'} ({len((tmp_path / 'page.html').read_bytes()) / 1000:,.0f} kB)\n"
    assert err == f"left out: there is no run directory or checkpoint {runs / 'nothing'}\n"


def test_a_checkpoint_file_is_a_run(call: Call, runs: Path, tmp_path: Path) -> None:
    """The metrics end at its step."""
    call("report", checkpoint.path_of(runs / "a", 5), "-o", tmp_path / "page.html")
    (run,) = data_of(tmp_path / "page.html")["runs"]
    assert (run["summary"]["best_step"], run["curves"]["eval"]["step"]) == (5, [0, 5])


def test_runs_without_a_page(call: Call, runs: Path, tmp_path: Path) -> None:
    """No run, an empty directory and damaged checkpoints: status 2, one line, no file."""
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(runs / "a", tmp_path / "damaged")
    for path in (damaged / "checkpoints").iterdir():
        path.write_bytes(b"x")
    for name, reason in (("gone", "no run directory"), ("empty", "no checkpoint"), ("damaged", "is damaged")):
        out, err = call("report", tmp_path / name, "-o", tmp_path / "page.html", status=2)
        assert (out, err.count("\n")) == ("", 0)
        assert reason in err
    assert not (tmp_path / "page.html").exists()


def test_a_file_that_cannot_be_written(call: Call, runs: Path, tmp_path: Path) -> None:
    """A directory, or a place in none: status 2 and the name that the user wrote."""
    for place in (tmp_path, tmp_path / "none" / "page.html"):
        _, err = call("report", runs / "a", "-o", place, status=2)
        assert err.startswith(f"charrnn: cannot write {place}: ")
        assert "\n" not in err


def test_another_file_is_not_replaced(call: Call, runs: Path, tmp_path: Path) -> None:
    """A page is replaced by a new one; a file of another kind stays, and nothing is computed first."""
    page, text = tmp_path / "page.html", tmp_path / "novel.txt"
    page.write_text("<!DOCTYPE html>the first page")
    text.write_text("It was a dark night")
    call("report", runs / "a", "-o", page)
    assert "the first page" not in page.read_text("utf-8")
    _, err = call("report", tmp_path / "gone", "-o", text, status=2)
    assert err == f"charrnn: cannot write {text}: it exists and is no HTML page; choose another name"
    assert text.read_text() == "It was a dark night"


def test_open_shows_the_page(call: Call, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser gets the address of the file; without a browser a line names the file."""
    opened = list[str]()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    assert call("report", runs / "a", "--open")[1] == ""
    assert opened == [(tmp_path / "report.html").as_uri()]
    assert "open report.html yourself" in call("report", runs / "a", "--open")[1]
