"""Directories and files that the user may not write or read give an error of one line, and stay unchanged.

Root ignores permissions. So, as root, the commands run without the capabilities to do that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.hostile_inputs import outcome
from helpers.processes import words

HUMBLE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
ROOT = os.name == "posix" and os.geteuid() == 0
pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX"),
    pytest.mark.skipif(ROOT and not shutil.which("setpriv"), reason="root cannot be kept from anything here"),
]

COMMAND = words(train_steps=6, train_shards=1, log_checkpoint_every=2, log_keep=9, log_eval_every=2)


def charrnn(*command: str) -> tuple[int, str]:
    """Run a command; return its exit status and standard error."""
    call = [*(HUMBLE if ROOT else []), sys.executable, "-m", "charrnn", *command]
    done = subprocess.run(call, capture_output=True, text=True)
    return done.returncode, done.stderr


def refused(*command: str) -> str:
    """Run a command that fails; return its error line."""
    status, said = charrnn(*command)
    assert status == 2, said
    line = said.splitlines()[-1]
    assert line.startswith("charrnn: ")
    assert said.count("charrnn: ") == 1
    assert "Traceback" not in said
    return line


@pytest.fixture
def ours(place: Path) -> Iterator[Path]:
    """Change to a directory with a text and the run r, which was stopped after four steps."""
    assert outcome([*COMMAND, "--out=r", "--stop-after=4"]).status == 0
    yield place
    for path in place.rglob("*"):
        path.chmod(0o700)


def tree(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_parent_that_is_read_only(ours: Path) -> None:
    """A new run cannot be made in a directory that is read-only."""
    (ours / "fixed").mkdir(mode=0o555)
    assert "cannot write to fixed/r: Permission denied" in refused(*COMMAND, "--out=fixed/r")
    assert list((ours / "fixed").iterdir()) == []


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_a_run_that_is_read_only(ours: Path, option: str) -> None:
    """A run that is read-only can be sampled and evaluated, but not resumed or overwritten."""
    (ours / "r").chmod(0o555)
    before = tree(ours / "r")
    assert "cannot write to r: Permission denied" in refused(*COMMAND, "--out=r", option)
    assert charrnn("sample", "r", "--length=3")[0] == 0
    assert charrnn("eval", "r")[0] == 0
    assert tree(ours / "r") == before


def test_checkpoints_that_are_read_only(ours: Path) -> None:
    """If a checkpoint cannot be written, the error names the last step that is saved. Earlier checkpoints stay."""
    folder = ours / "r" / "checkpoints"
    folder.chmod(0o555)
    before = tree(folder)
    line = refused(*COMMAND, "--out=r", "--resume")
    assert (
        "cannot write r/checkpoints/step-00000006.safetensors: Permission denied; the run is saved up to step 4" in line
    )
    assert tree(folder) == before
    folder.chmod(0o755)
    assert charrnn(*COMMAND, "--out=r", "--resume")[0] == 0


def test_a_run_that_may_not_be_entered(ours: Path) -> None:
    """Every command that reads a run without permission to enter it says so."""
    before = tree(ours / "r")
    (ours / "r").chmod(0o000)
    for command in (["sample", "r"], ["eval", "r"], ["compare", "r"], [*COMMAND, "--out=r", "--resume"]):
        line = refused(*command)
        assert "Permission denied" in line or "is not readable" in line
    (ours / "r").chmod(0o755)
    assert tree(ours / "r") == before


def test_a_checkpoint_that_may_not_be_read(ours: Path) -> None:
    """The previous checkpoint is used, and a notice says so."""
    newest = ours / "r" / "checkpoints" / "step-00000004.safetensors"
    newest.chmod(0o000)
    status, said = charrnn("sample", "r", "--checkpoint=last", "--length=3")
    assert status == 0, said
    assert f"cannot read {newest.relative_to(ours)}: " in said
    assert "using an earlier checkpoint" in said


def test_a_cache_that_may_not_be_written(ours: Path) -> None:
    """A small text needs none: the run is made, the baselines are counted, nothing is kept."""
    shutil.rmtree(ours / "cache", ignore_errors=True)
    (ours / "cache").mkdir(mode=0o555)
    status, said = charrnn(*COMMAND, "--out=n")
    assert status == 0, said
    assert (ours / "n" / "baselines.json").is_file()
    assert list((ours / "cache").iterdir()) == []


def test_a_text_that_may_not_be_read(ours: Path) -> None:
    """Both `train` and `eval` say that the text cannot be read."""
    (ours / "t.txt").chmod(0o000)
    assert refused(*COMMAND, "--out=n") == "charrnn: t.txt: cannot be read (Permission denied)"
    assert refused("eval", "r", "t.txt") == "charrnn: t.txt: cannot be read (Permission denied)"
    assert not (ours / "n").exists()
