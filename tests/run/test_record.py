"""Default directories, interrupted starts, moved runs, texts without a file, planned steps."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from helpers.runs import TINY, newest_checkpoint, run

from charrnn import api, checkpoint, config
from charrnn.errors import CheckpointError
from charrnn.run.directory import default_out
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.run_files import CONFIG, CORPUS, METRICS
from charrnn.training.events import Ended, Evaluated


@pytest.fixture
def corpus(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text file in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my text.v2.txt"
    path.write_text(text)
    return path


def run_directory(name: str, order: int) -> Path:
    """Make a run directory whose files have a given time."""
    path = Path("runs") / name
    path.mkdir(parents=True)
    for file in (CONFIG, METRICS):
        (path / file).write_text(config.dump(config.Config()))
        os.utime(path / file, (order, order))
    return path


def test_the_default_directory_of_a_new_run(corpus: Path) -> None:
    """Without --out, the directory is named after the text and numbered; --overwrite uses the first."""
    assert default_out(str(corpus), resume=False, overwrite=False) == Path("runs/my-text")
    run_directory("my-text", 1)
    run_directory("my-text-2", 2)
    assert default_out(str(corpus), resume=False, overwrite=False) == Path("runs/my-text-3")
    assert default_out(str(corpus), resume=False, overwrite=True) == Path("runs/my-text")
    assert default_out("../..", resume=False, overwrite=False) == Path("runs/run")
    assert default_out(None, resume=False, overwrite=False) == Path("runs/python-topics")


def test_resume_without_out_finds_the_newest_run(corpus: Path) -> None:
    """It is the newest run of the named text, or of any text if none is named; no run at all is an error."""
    with pytest.raises(CheckpointError, match="no run"):
        default_out(None, resume=True, overwrite=False)
    assert default_out(str(corpus), resume=True, overwrite=False) == Path("runs/my-text")
    run_directory("my-text", 5)
    run_directory("my-text-2", 3)
    run_directory("other", 9)
    run_directory("my-text-er", 11)
    assert default_out(str(corpus), resume=True, overwrite=False) == Path("runs/my-text")
    assert default_out(None, resume=True, overwrite=False) == Path("runs/my-text-er")


def test_nothing_is_written_before_the_first_event(tmp_path: Path, corpus: Path) -> None:
    """Preparing a run leaves the disk as it was, whether the run is new, resumed or replaced."""
    prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    run(tmp_path / "a", corpus, stop_after=9)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    prepare(Request(out=tmp_path / "a", resume=True))
    prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / "a", overwrite=True))
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "left", [(), (".config.toml.0123abcd.tmp", ".lock", ".pid"), ("config.toml",), ("config.toml", "metrics.jsonl")]
)
def test_an_interrupted_start_can_be_resumed(tmp_path: Path, corpus: Path, left: tuple[str, ...]) -> None:
    """Before the first checkpoint, --resume starts the run from the beginning, with any of its files on the disk."""
    run(tmp_path / "whole", corpus)
    (tmp_path / "cut").mkdir()
    for name in left:
        source = tmp_path / "whole" / name
        (tmp_path / "cut" / name).write_bytes(source.read_bytes() if source.exists() else b"[tra")
    run(tmp_path / "cut", corpus, resume=True)
    assert not [path.name for path in (tmp_path / "cut").iterdir() if path.name.startswith(".")]
    assert newest_checkpoint(tmp_path / "cut") == newest_checkpoint(tmp_path / "whole")
    assert (tmp_path / "cut" / "metrics.jsonl").read_text().count("\n") == (
        (tmp_path / "whole" / "metrics.jsonl").read_text().count("\n")
    )


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_a_directory_of_someone_else_is_left_alone(tmp_path: Path, corpus: Path, resume: bool, overwrite: bool) -> None:
    """Nothing is written into a directory whose files are no run."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "corpus.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="left alone"):
        run(tmp_path / "mine", corpus, resume=resume, overwrite=overwrite)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["corpus.txt"]


def test_overwriting_replaces_the_run_and_nothing_else(tmp_path: Path, corpus: Path) -> None:
    """An overwritten run has the bytes of a new one; other files in its directory stay."""
    run(tmp_path / "new", corpus)
    run(tmp_path / "old", corpus, {"train": {"steps": 44, "seed": 9}})
    (tmp_path / "old" / "notes.md").write_text("mine")
    run(tmp_path / "old", corpus, overwrite=True)
    assert checkpoint.steps(tmp_path / "old") == checkpoint.steps(tmp_path / "new")
    assert newest_checkpoint(tmp_path / "old") == newest_checkpoint(tmp_path / "new")
    assert (tmp_path / "old" / "samples.txt").read_bytes() == (tmp_path / "new" / "samples.txt").read_bytes()
    assert (tmp_path / "old" / "notes.md").read_text() == "mine"


def test_the_copy_of_a_text_stays_when_a_start_is_resumed(tmp_path: Path, text: str) -> None:
    """corpus.txt stays as long as the run is trained on it, and is removed when the run gets another text."""
    request = {"out": tmp_path / "a", "options": TINY}
    list(prepare(Request(text=text, **request)).events())
    whole = checkpoint.find(tmp_path / "a", "last")[1].tensors
    for step in checkpoint.steps(tmp_path / "a"):
        checkpoint.path_of(tmp_path / "a", step).unlink()
    list(prepare(Request(resume=True, **request)).events())
    assert checkpoint.digest_of(checkpoint.find(tmp_path / "a", "last")[1].tensors) == checkpoint.digest_of(whole)
    assert (tmp_path / "a" / CORPUS).read_text() == text
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("link/corpus.txt", "a/../a/corpus.txt"):
        list(prepare(Request(files=(str(tmp_path / name),), overwrite=True, **request)).events())
        assert (tmp_path / "a" / CORPUS).read_text() == text
    other = tmp_path / "t.txt"
    other.write_text(text[100:])
    list(prepare(Request(files=(str(other),), overwrite=True, **request)).events())
    assert not (tmp_path / "a" / CORPUS).exists()


def test_files_with_similar_names_stay(tmp_path: Path, corpus: Path) -> None:
    """Files and folders with names like those of a run are neither used nor removed, and a broken link is ignored."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".notes.deadbeef.tmp").write_text("mine")
    with pytest.raises(CheckpointError, match="left alone"):
        run(tmp_path / "mine", corpus)
    out = tmp_path / "runs" / "a"
    run(out, corpus, stop_after=9)
    (out / ".notes.deadbeef.tmp").write_text("mine")
    (out / ".config.toml.deadbeef.tmp").mkdir()
    (out / "checkpoints" / "step-000000010.safetensors").write_text("mine")
    (out / "checkpoints" / "step-00000012.safetensors").mkdir()
    (out / "nowhere").symlink_to("nothing")
    before = {path for path in out.rglob("*") if "step-0000000" not in path.name}
    assert checkpoint.steps(out) == [0, 8, 9]
    assert default_out(None, resume=True, overwrite=False) == Path("runs/a")
    for how in ({"resume": True, "stop_after": 1}, {"overwrite": True, "stop_after": 9}):
        run(out, corpus, **how)
        assert before <= set(out.rglob("*"))
        assert (out / "checkpoints" / "step-000000010.safetensors").read_text() == "mine"


@pytest.mark.parametrize("content", ["text", "\ufeffmarked ", "caf\u00e9 "])
def test_standard_input_is_kept_in_the_run(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """A run on standard input can be moved, resumed and evaluated later, whatever the encoding was."""
    monkeypatch.chdir(tmp_path)
    stdin = io.TextIOWrapper(io.BytesIO((content + text).encode("utf-16-le")))
    monkeypatch.setattr(sys, "stdin", stdin)
    options = config.merged(TINY, {"data": {"encoding": "utf-16-le"}})
    list(prepare(Request(files=("-",), options=options, out=Path("a"), stop_after=9)).events())
    Path("a").rename("b")
    events = list(prepare(Request(out=Path("b"), resume=True)).events())
    assert isinstance(events[-1], Ended)
    assert events[-1].at.step == 40
    result = api.load("b", checkpoint="last", device="cpu").evaluate()
    assert result.nats_per_char == pytest.approx(
        [event.val_loss for event in events if isinstance(event, Evaluated)][-1], rel=1e-4
    )


def test_only_the_first_part_of_a_large_split_is_evaluated_while_training(corpus: Path) -> None:
    """`log.eval_chars` limits the characters of val_loss, and a notice says so."""
    session = prepare(Request(files=(str(corpus),), options=config.merged(TINY, {"log": {"eval_chars": 20}})))
    assert session.loop.validation is not None
    assert session.loop.validation.ids.tolist() == session.corpus.ids[464:484].tolist()
    assert any("first 20 of 52 validation characters" in line for line in session.notices)


def test_minutes_become_planned_steps(tmp_path: Path, corpus: Path) -> None:
    """--minutes decides the number of steps once, at the start, and records it; --steps overrides it."""
    options = {**TINY, "train": {k: v for k, v in TINY["train"].items() if k != "steps"}}
    request = {"files": (str(corpus),), "threads": 1, "minutes": 0.01}
    session = prepare(Request(**request, options=options, out=tmp_path / "a"))
    assert any(f"planned {session.config.train.steps:,} steps" in line for line in session.notices)
    assert session.config.train.steps != config.TrainConfig().steps
    events = list(session.events())
    assert events[-1].reason in ("steps", "minutes")
    assert config.read(str(tmp_path / "a" / "config.toml"))["train"]["steps"] == session.config.train.steps
    assert prepare(Request(**request, options=TINY)).config.train.steps == 40
    planned = prepare(Request(out=tmp_path / "a", resume=True, minutes=0.5))
    assert planned.config.train.steps == session.config.train.steps
    (tmp_path / "cut").mkdir()  # killed before it had written down anything
    again = prepare(Request(**request, options=options, out=tmp_path / "cut", resume=True))
    assert any(line.startswith("planned ") for line in again.notices)
