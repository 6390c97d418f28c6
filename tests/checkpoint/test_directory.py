"""The checkpoints of a run directory: finding one, passing over damaged and renamed files, and removing old ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import TINY, TRAIN, Call
from helpers.crafted_checkpoints import with_flipped_byte
from helpers.example_checkpoint import example, run_with_four_checkpoints
from helpers.runs import contents

from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Best, directory
from charrnn.errors import CheckpointError

BEST = "step-00000002.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run directory with checkpoints of steps 0, 2, 4 and 6, of which 2 is the best."""
    return run_with_four_checkpoints(tmp_path)


@pytest.mark.parametrize(("which", "step"), [("best", 2), ("last", 6), ("0", 0), ("4", 4), ("0004", 4)])
def test_find(run: Path, which: str, step: int) -> None:
    """`best`, `last` and a step number find their checkpoint, and the path of a file finds this file."""
    expected = run / "checkpoints" / f"step-{step:08}.safetensors"
    for source, word in ((run, which), (expected, "best")):
        path, checkpoint, notices = checkpoints.find(source, word)
        assert (path, checkpoint.meta.step, notices) == (expected, step, [])


@pytest.mark.parametrize(
    ("name", "which", "words"),
    [
        ("", "5", "no checkpoint of step 5; there are: 0, 2, 4, 6"),
        ("", "bset", "--checkpoint must be best, last or a step, not 'bset'"),
        ("", "-1", "--checkpoint must be best, last or a step, not '-1'"),
        ("nothing", "best", "there is no run directory or checkpoint .*nothing$"),
        ("checkpoints", "best", "has no checkpoint: it is not a run directory, or training has not started"),
        ("x" * 300, "best", "File name too long"),
    ],
)
def test_a_missing_checkpoint_is_an_error(run: Path, name: str, which: str, words: str) -> None:
    """If no checkpoint matches, the error names the checkpoints that exist, or what is wrong with the path."""
    with pytest.raises(CheckpointError, match=words):
        checkpoints.find(run / name, which)


def test_damaged_newest_checkpoints_are_passed_over(run: Path) -> None:
    """If the newest checkpoints are damaged, `last` is the one before, with a notice for each; `best` is the same."""
    for damaged, newest in ((6, 4), (4, 2), (2, 0)):
        checkpoints.path_of(run, damaged).write_bytes(b"torn")
        _, checkpoint, notices = checkpoints.find(run, "last")
        assert checkpoint.meta.step == newest
        assert [f"step-{n:08}" in line for n, line in zip((6, 4, 2), notices, strict=False)] == [True] * len(notices)
        assert len(notices) == (8 - damaged) / 2
        if damaged > 2:
            _, best, best_notices = checkpoints.find(run, "best")
            assert (best.meta.step, best_notices) == (2, notices)
    checkpoints.path_of(run, 0).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"step-00000006.*no other can be read either$"):
        checkpoints.find(run)


def test_best_is_the_last_if_there_is_no_best(run: Path) -> None:
    """If the best checkpoint was deleted, or the run was never evaluated, `best` is the last checkpoint."""
    checkpoints.path_of(run, 2).unlink()
    assert checkpoints.find(run)[1].meta.step == 6
    checkpoints.save(checkpoints.path_of(run, 8), example(step=8, best=None))
    assert checkpoints.find(run)[1].meta.step == 8


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(1, None, [0, 6]), (1, 2, [0, 2, 6]), (2, 6, [0, 4, 6]), (3, None, [0, 2, 4, 6]), (9, 2, [0, 2, 4, 6])],
)
def test_prune(run: Path, keep: int, best: int | None, left: list[int]) -> None:
    """Pruning keeps step 0, the last `keep` checkpoints and the best, and removes no other file."""
    (run / "checkpoints" / "mine.safetensors").write_bytes(b"mine")
    checkpoints.prune(run, keep, best)
    assert checkpoints.steps(run) == left
    assert len(list((run / "checkpoints").iterdir())) == len(left) + 1
    assert (run / "checkpoints" / "mine.safetensors").read_bytes() == b"mine"


def flip(path: Path) -> None:
    """Change the last byte of the tensors."""
    content = path.read_bytes()
    path.write_bytes(with_flipped_byte(content, len(content) - 1))


DAMAGES = {
    "flipped": (flip, "cannot be read"),
    "torn": (lambda path: path.write_bytes(b"torn"), "cannot be read"),
    "missing": (Path.unlink, "is missing"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_the_last_replaces_a_damaged_best(run: Path, damage: Callable[[Path], None], words: str) -> None:
    """A best checkpoint that cannot be read is replaced by the last, with a notice; by its number it is an error."""
    damage(run / "checkpoints" / BEST)
    path, checkpoint, (notice,) = checkpoints.find(run)
    assert (path, checkpoint.meta.step) == (checkpoints.path_of(run, 6), 6)
    assert f"the best checkpoint (step 2) {words}: using step 6 instead" in notice
    assert (BEST in notice) == (words == "cannot be read")
    assert checkpoints.find(run, "last")[2] == []
    with pytest.raises(CheckpointError, match=r"step-00000002|no checkpoint of step 2"):
        checkpoints.find(run, "2")


def test_the_best_and_the_last_are_damaged(run: Path) -> None:
    """The newest undamaged checkpoint replaces a damaged best and last, with a notice for each of them."""
    for step in (2, 6):
        flip(checkpoints.path_of(run, step))
    _, checkpoint, notices = checkpoints.find(run)
    assert (checkpoint.meta.step, len(notices)) == (4, 2)
    assert "using step 4 instead" in notices[1]


def test_commands_use_another_checkpoint_than_a_damaged_best(call: Call, trained: Path) -> None:
    """sample, eval, compare and --init-from use the newest undamaged checkpoint, and print a notice."""
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
        notices = call(*words.split())[1]
        assert "the best checkpoint (step 10) cannot be read: using step 12 instead" in notices


def test_the_best_is_searched_again_if_it_was_pruned(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a training saves a better checkpoint and prunes the best meanwhile, the new best is found without a notice."""
    original = directory.last

    def last(folder: Path, *, resumed: bool = False) -> object:
        result = original(folder, resumed=resumed)
        if checkpoints.path_of(run, 2).exists():
            checkpoints.path_of(run, 2).unlink()
            checkpoints.save(checkpoints.path_of(run, 8), example(step=8, best=Best(8, 0.5)))
        return result

    monkeypatch.setattr(directory, "last", last)
    _, checkpoint, notices = checkpoints.find(run)
    assert (checkpoint.meta.step, notices) == (8, [])


def test_a_renamed_checkpoint_is_passed_over(call: Call, tmp_path: Path) -> None:
    """A copy under the name of a later step is quarantined with a notice, and the run continues from its newest one."""
    call(*TRAIN, "--out=whole", "--steps=12")
    call(*TRAIN, "--out=r", "--steps=12", "--stop-after=10")
    folder = tmp_path / "r" / "checkpoints"
    newest, renamed = checkpoints.find(Path("r"), "last")[0], folder / "step-00000900.safetensors"
    shutil.copy(folder / "step-00000005.safetensors", renamed)
    path, _, (notice,) = checkpoints.find(Path("r"), "last")
    assert (path, notice) == (
        newest,
        "r/checkpoints/step-00000900.safetensors is of step 5: it was renamed; using an earlier checkpoint",
    )
    with pytest.raises(CheckpointError, match="is of step 5: it was renamed"):
        checkpoints.find(Path("r"), "900")
    notices = call(*TRAIN, "--out=r", "--resume", "--steps=12")[1]
    assert notice in notices
    assert f"{renamed.relative_to(tmp_path)} is not used: it is kept as {renamed.name}.damaged" in notices
    assert notices.count("it is kept as") == 1
    (folder / f"{renamed.name}.damaged").unlink()
    assert contents(tmp_path / "r") == contents(tmp_path / "whole")
    shutil.copy(folder / "step-00000005.safetensors", renamed)
    assert "it is kept as" not in call(*TRAIN, "--out=r", "--resume", "--steps=12")[1]
    assert renamed.exists()
