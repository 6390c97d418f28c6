"""Sessions: two at once, after damage, and settings that keep their meaning when a run is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.runs import TINY, contents, run

from charrnn import checkpoint
from charrnn import text as texts
from charrnn.errors import CheckpointError
from charrnn.run import logs
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.run_files import METRICS


def test_only_one_process_trains_into_a_run(tmp_path: Path, corpus: Path) -> None:
    """While a process trains, a second training is refused and changes nothing; afterwards it can train."""
    first, second = (prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / "a")) for _ in range(2))
    events = first.events()
    while next(events).at.step < 12:
        pass
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match="is training in"):
        list(second.events())
    with pytest.raises(CheckpointError, match="is training in"):
        prepare(Request(out=tmp_path / "a", resume=True))
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    events.close()
    assert list(prepare(Request(out=tmp_path / "a", resume=True)).events())[-1].at.step == 40


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}, {}])
def test_a_run_that_another_process_trained_meanwhile_is_not_replaced(tmp_path: Path, corpus: Path, how: dict) -> None:
    """If another process trains and ends after a run is read and before it is locked, nothing is replaced."""
    if how:
        run(tmp_path / "a", corpus, stop_after=9)
    late = prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / "a", **how))
    run(tmp_path / "a", corpus, resume=True)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"another process has just trained in .*: run the command again"):
        list(late.events())
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_damaged_checkpoints_do_not_count_as_kept(tmp_path: Path, corpus: Path) -> None:
    """On resume, a newer checkpoint that cannot be read is renamed, so that `keep = 1` keeps a good one."""
    few = {"log": {"keep": 1}}
    run(tmp_path / "a", corpus, few)
    path = checkpoint.path_of(tmp_path / "a", 40)
    path.write_bytes(path.read_bytes()[:100])
    run(tmp_path / "a", corpus, few, resume=True, stop_after=5)
    assert max(checkpoint.steps(tmp_path / "a")) < 40
    assert path.with_name(path.name + ".damaged").is_file()
    assert run(tmp_path / "a", corpus, few, resume=True)[-1].at.step == 40


def test_the_untrained_network_is_never_the_best(tmp_path: Path, corpus: Path) -> None:
    """Without an evaluation of a trained network, the best checkpoint is the last."""
    run(tmp_path / "a", corpus, stop_after=9)
    run(tmp_path / "b", corpus, {"log": {"eval_every": 0}})
    assert checkpoint.find(tmp_path / "a")[1].meta.step == 9
    assert checkpoint.find(tmp_path / "b")[1].meta.step == 40


def test_zero_switches_logs_off_at_every_step(tmp_path: Path, corpus: Path) -> None:
    """With 0, nothing is evaluated or sampled at the start and the end, too; both are still saved."""
    off = {"log": {"eval_every": 0, "sample_every": 0, "checkpoint_every": 0, "every": 0}}
    events = run(tmp_path / "a", corpus, off)
    assert {type(event).__name__ for event in events} == {"Snapshot", "Ended"}
    assert checkpoint.steps(tmp_path / "a") == [0, 40]


def test_files_of_runs_are_no_texts(tmp_path: Path, text: str) -> None:
    """In a directory with texts and runs, only the texts are read."""
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "a.txt").write_text(text)
    run(folder / "runs" / "a", folder / "a.txt")
    assert texts.expand([str(folder)]) == [str(folder / "a.txt")]


def test_a_preset_does_not_change_the_planned_total_of_a_resumed_run(tmp_path: Path, corpus: Path) -> None:
    """--config with --resume keeps the number of steps that --minutes has planned; --steps changes it."""
    preset = {"train": {"steps": 999}}
    run(tmp_path / "a", corpus, stop_after=9)
    session = prepare(Request(preset=preset, out=tmp_path / "a", resume=True, minutes=5.0))
    assert session.config.train.steps == 40
    longer = prepare(Request(preset=preset, options={"train": {"steps": 50}}, out=tmp_path / "a", resume=True))
    assert longer.config.train.steps == 50


def test_seconds_after_an_incomplete_line(tmp_path: Path, corpus: Path) -> None:
    """The seconds of a resumed run start from its last complete line."""
    run(tmp_path / "a", corpus)
    seconds = logs.seconds(tmp_path / "a")
    with (tmp_path / "a" / METRICS).open("a") as stream:
        stream.write('{"event": "tr')
    assert logs.seconds(tmp_path / "a") == seconds > 0


def test_a_directory_with_another_config_is_no_run(tmp_path: Path, corpus: Path) -> None:
    """--overwrite changes nothing in a project that has a config.toml of its own."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.toml").write_text("[tool]\nx = 1\n")
    with pytest.raises(CheckpointError, match="left alone"):
        run(tmp_path / "project", corpus, overwrite=True)
    assert (tmp_path / "project" / "config.toml").read_text() == "[tool]\nx = 1\n"


@pytest.mark.parametrize("stop_after", [None, 10])
def test_an_interruption_at_the_end_changes_nothing(tmp_path: Path, corpus: Path, stop_after: int | None) -> None:
    """A run that is stopped where patience ends it, or before its first step, and resumed has the same files."""
    impatient = {
        "train": {"patience": 1},
        "log": {"eval_every": 5, "sample_every": 50},
        "optimizer": {"learning_rate": 1e-9},
    }
    whole = run(tmp_path / "whole", corpus, impatient)
    assert (whole[-1].reason, whole[-1].at.step) == ("patience", 10)
    how = {"interrupted": lambda: True} if stop_after is None else {"stop_after": stop_after}
    run(tmp_path / "parts", corpus, impatient, **how)
    run(tmp_path / "parts", corpus, impatient, resume=True)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
