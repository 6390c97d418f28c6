"""Which directories a training can use, and which texts it can read from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.commands import TINY as SMALL
from helpers.commands import TRAIN, Call
from helpers.processes import POSIX, killed, started, until, words
from helpers.runs import TINY, run, tree

from charrnn import checkpoint, config
from charrnn.errors import CheckpointError
from charrnn.run import lock
from charrnn.run.directory import default_out
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.run_files import LOCK, OWNER


@POSIX
def test_the_same_command_again_names_the_process_that_trains(place: Path) -> None:
    """The error names the process, with and without --resume and --overwrite, as soon as the lock file exists."""
    command = [*words(train_steps=10**6, log_every=1), "--out", "r"]
    with killed(started(*command)) as first:
        until(first, "loss")
        with started(*command) as second:
            said = second.communicate()[0]
    assert said == f"charrnn: process {first.pid} is training in r: wait for it, or name another --out\n"
    (place / "new").mkdir()
    held = lock.Lock(place / "new")
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(CheckpointError, match=f"^process {os.getpid()} is training in new"):
            prepare(Request(files=("no such text",), out=Path("new"), **how))
    held.close()


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("said", ["[train]\nsteps = 3\n", "", "whole"])
def test_a_project_of_the_user_is_no_run(tmp_path: Path, corpus: Path, how: dict[str, bool], said: str) -> None:
    """Files with the names of a run, beside a configuration that no start has written, stay unchanged."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("corpus.txt", "samples.txt", "metrics.jsonl"):
        (project / name).write_text("precious")
    (project / "config.toml").write_text(config.dump(config.Config()) if said == "whole" else said)
    before = tree(project)
    with pytest.raises(CheckpointError, match="not a run directory, so it is left alone"):
        run(project, corpus, **how)
    assert tree(project) == before
    assert set(project.iterdir()) == set(before)


def test_a_start_is_a_run_before_its_text_is_copied(tmp_path: Path, text: str) -> None:
    """A start with a text in no file can be resumed before and after corpus.txt is written."""
    request = {"text": text, "out": tmp_path / "a", "options": TINY}
    list(prepare(Request(**request)).events())
    whole = checkpoint.digest_of(checkpoint.find(tmp_path / "a", "last")[1].tensors)
    for left in ({"config.toml"}, {"config.toml", "corpus.txt"}):
        for path in tree(tmp_path / "a"):
            if path.name not in left:
                path.unlink()
        list(prepare(Request(resume=True, **request)).events())
        assert checkpoint.digest_of(checkpoint.find(tmp_path / "a", "last")[1].tensors) == whole


def test_an_interrupted_start_is_found_without_out(place: Path, corpus: Path) -> None:
    """--resume finds it by the name of the text, though an older run is finished, and never for another text."""

    def found(text: str | None) -> Path:
        return default_out(text, resume=True, overwrite=False)

    first, cut = Path("runs", "t"), Path("runs", "t-2")
    run(first, corpus)
    for path in (first, *first.rglob("*")):
        os.utime(path, (5, 5))
    assert default_out("t.txt", resume=False, overwrite=False) == cut
    cut.mkdir()
    for left in ((), (LOCK,), (LOCK, OWNER, ".config.toml.0123abcd.tmp")):
        for name in left:
            (cut / name).touch()
        assert found("t.txt") == cut
        assert found(None) == found("text.txt").with_name("t") == first
    (cut / "notes").touch()
    assert found("t.txt") == first
    (Path("runs") / "python-topics").mkdir()
    assert found(None) == Path("runs", "python-topics")


@pytest.mark.parametrize(
    "name", ["r/samples.txt", "r/metrics.jsonl", "r/config.toml", "r/checkpoints/notes.txt", "link.txt", "r/../r/*.txt"]
)
def test_a_text_that_the_run_would_overwrite(call: Call, tmp_path: Path, name: str) -> None:
    """A text that is one of the files of the run is refused before anything is written."""
    call(*TRAIN, "--out=r")
    (tmp_path / "r" / "checkpoints" / "notes.txt").write_text("notes of mine\n" * 9)
    (tmp_path / "link.txt").symlink_to(tmp_path / "r" / "samples.txt")
    before = tree(tmp_path)
    line = call("train", name, *SMALL, "--out=r", "--overwrite", "--steps=1", status=2)[1]
    assert "is written by the run in r" in line or "only files that training runs wrote" in line
    assert tree(tmp_path) == before


def test_a_text_beside_the_files_of_a_run(call: Call, tmp_path: Path) -> None:
    """Another file in the run directory can be the text, and so can a file of another run."""
    call(*TRAIN, "--out=r")
    (tmp_path / "r" / "mine.txt").write_text("notes of mine\n" * 9)
    call("train", "r/mine.txt", *SMALL, "--out=r", "--overwrite", "--steps=1")
    assert (tmp_path / "r" / "mine.txt").read_text() == "notes of mine\n" * 9
    call("train", "r/config.toml", *SMALL, "--out=s", "--steps=1")


def test_resume_without_a_run(call: Call) -> None:
    """--resume with a wrong directory does not train on the embedded corpus; with a text it starts a run."""
    _, error = call("train", "--resume", "--out", "inptu", status=2)
    assert error == "charrnn: there is no run inptu to resume: name a text to start one there"
    assert not Path("inptu").exists()
    call("train", "t.txt", "--resume", "--out", "inptu", *SMALL, "--steps=2")
    assert Path("inptu", "config.toml").exists()
