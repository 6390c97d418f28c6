"""The best checkpoint of a run that is damaged, missing or renamed: the newest good one is used, and a line says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import TINY, Call
from helpers.crafted_checkpoints import with_flipped_byte
from helpers.example_checkpoint import example, run_with_four_checkpoints

from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Best, directory
from charrnn.errors import CheckpointError

BEST = "step-00000002.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with checkpoints of steps 0, 2, 4 and 6, of which 2 is the best."""
    return run_with_four_checkpoints(tmp_path)


def flip(path: Path) -> None:
    """Change a bit of the tensors."""
    good = path.read_bytes()
    path.write_bytes(with_flipped_byte(good, len(good) - 1))


SPOILT = {
    "flipped": (flip, "cannot be read"),
    "torn": (lambda path: path.write_bytes(b"torn"), "cannot be read"),
    "missing": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_the_best_gives_way_to_the_last(run: Path, spoil: Callable[[Path], None], words: str) -> None:
    """One that cannot be had is named, with the step that is used; asked for by its number it is an error."""
    spoil(run / "checkpoints" / BEST)
    path, found, (notice,) = checkpoints.find(run)
    assert (path, found.meta.step) == (checkpoints.path_of(run, 6), 6)
    assert f"the best checkpoint (step 2) {words}: using step 6 instead" in notice
    assert (BEST in notice) == (words == "cannot be read")
    assert checkpoints.find(run, "last")[2] == []
    with pytest.raises(CheckpointError, match=r"step-00000002|no checkpoint of step 2"):
        checkpoints.find(run, "2")


def test_the_best_and_the_last_are_damaged(run: Path) -> None:
    """Then it is the newest that is whole, with a line for each of the two."""
    for step in (2, 6):
        flip(checkpoints.path_of(run, step))
    _, found, notices = checkpoints.find(run)
    assert (found.meta.step, len(notices)) == (4, 2)
    assert "using step 4 instead" in notices[1]


def test_every_command_goes_on_without_the_best(call: Call, trained: Path) -> None:
    """sample, eval, compare and --init-from use what is good of a run, and say what is not."""
    shutil.copytree(trained / "r", "d")
    _, saved, _ = checkpoints.find(Path("d"), "10")
    later = replace(saved, meta=replace(saved.meta, step=12, best=Best(10, 1.0)))
    checkpoints.save(checkpoints.path_of(Path("d"), 12), later)
    flip(checkpoints.path_of(Path("d"), 10))
    for words in (
        "sample d --length=5",
        "eval d t.txt",
        f"compare d {trained / 'r'} --file t.txt",
        f"train t.txt --init-from d --out=x {' '.join(TINY)} --steps=0",
    ):
        said = call(*words.split())[1]
        assert "the best checkpoint (step 10) cannot be read: using step 12 instead" in said


def test_a_best_that_is_pruned_meanwhile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that has found a better one, and pruned the best, is looked at again: no notice."""
    right = directory.last

    def last(where: Path, *, resumed: bool = False) -> object:
        found = right(where, resumed=resumed)
        if checkpoints.path_of(run, 2).exists():
            checkpoints.path_of(run, 2).unlink()
            checkpoints.save(checkpoints.path_of(run, 8), example(step=8, best=Best(8, 0.5)))
        return found

    monkeypatch.setattr(directory, "last", last)
    _, found, notices = checkpoints.find(run)
    assert (found.meta.step, notices) == (8, [])
