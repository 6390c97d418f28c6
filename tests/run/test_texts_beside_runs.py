"""The files of a run are no texts, even if the run has only begun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import TINY as SMALL
from helpers.commands import Call
from helpers.processes import finished
from helpers.runs import TINY, run

from charrnn import checkpoint, config
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.text import expand

SCRIPT = """
import os, shutil, sys
from itertools import count
from pathlib import Path
from charrnn import checkpoint
from helpers.breaking import forked, import_module
for module in ("charrnn.api", "charrnn.cli.progress"):
    import_module(module)
words, out = sys.argv[2:], Path(sys.argv[1])
home = Path.cwd()
for moment in count(1):  # before the first nothing is there
    place = home / f"killed {moment}"
    (place / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b.txt"):
        shutil.copy(home / name, place / name)
    if (home / "runs").exists():
        shutil.copytree(home / "runs", place / "runs")
    os.chdir(place)
    first = forked(words, moment)
    begun = checkpoint.steps(out)
    assert forked([*words, "--resume"], None) == 0, moment
    if begun:
        break
assert first == -9
"""
"""Kills a training at every moment up to its first checkpoint, each in a folder of its own, and resumes each."""


@pytest.mark.skipif(os.name != "posix", reason="processes are killed here by SIGKILL")
@pytest.mark.parametrize(
    ("texts", "out"),
    [("a.txt", "runs/a-2"), (".", "runs/run"), (".", "r"), ("**/*", "r")],
)
def test_the_same_command_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: str, out: str) -> None:
    """A run that is killed before its first checkpoint is resumed in the same directory on the same text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("the cat sat on the mat; " * 9)
    (tmp_path / "sub" / "b.txt").write_text("the dog sat on the log; " * 9)
    options = [*SMALL, "--steps=2", "--set=log.sample_every=1", "--set=data.val_fraction=0"]
    command = ["train", texts, *options, *[f"--out={out}"] * (out == "r")]
    if out == "runs/a-2":  # an older run that is finished
        finished(*command)
    script = [sys.executable, "-c", SCRIPT, out, *command]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folders = sorted(tmp_path.glob("killed *"))
    assert len(folders) > 20
    for folder in folders:
        assert {path.parent for path in folder.rglob("config.toml")} == {folder / out, *folder.glob("runs/a")}, folder
        saved = checkpoint.find(folder / out, "last")[1].meta
        expected = [folder / "a.txt"] + [folder / "sub" / "b.txt"] * (texts in (".", "**/*"))
        assert saved.config.data.files == tuple(map(str, expected)), folder
        assert saved.step == 2, folder
        assert not list((folder / out).glob(".*")), folder


def test_a_glob_leaves_out_runs(call: Call, tmp_path: Path) -> None:
    """A glob that matches files of a run can resume that run; a glob that matches nothing else is an error."""
    command = ("train", "**/*.txt", *SMALL, "--steps=30", "--out=r", "--set=log.sample_every=10", "--stop-after=20")
    call(*command)
    assert (tmp_path / "r" / "samples.txt").stat().st_size > 0
    assert "done at step 30" in call(*command, "--resume")[0]
    assert expand(["**/*.txt"]) == expand(["./**/*.t?t"]) == ["t.txt"]
    assert expand([f"{tmp_path}/**/*.txt"]) == [f"{tmp_path}/t.txt"]
    for name in ("r/*.txt", "r"):
        assert "only files that training runs wrote" in call("train", name, *SMALL, "--out=s", status=2)[1]
    assert expand(["r/samples.txt"]) == ["r/samples.txt"]


def test_a_configuration_makes_no_run(tmp_path: Path, corpus: Path) -> None:
    """A directory of texts with a configuration in it is read, except a complete configuration, which runs write."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes(corpus.read_bytes())
    (folder / "corpus.txt").write_bytes(corpus.read_bytes())
    texts = [str(folder / "a.txt"), str(folder / "corpus.txt")]
    (folder / "config.toml").write_text("[train]\nsteps = 3\n")
    assert expand([str(folder)]) == [texts[0], str(folder / "config.toml"), texts[1]]
    (folder / "config.toml").write_text(config.dump(config.Config()))
    assert expand([str(folder)]) == texts
    run(folder / "r", corpus, stop_after=1)
    again = prepare(Request(files=(str(folder),), options=TINY))
    assert [Path(name).name for name in again.config.data.files] == ["a.txt", "corpus.txt"]
