"""The checkpoints of a run directory: choosing one and keeping few."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.example_checkpoint import example, run_with_four_checkpoints

from charrnn import checkpoint as checkpoints
from charrnn.errors import CheckpointError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with checkpoints of steps 0, 2, 4 and 6, of which 2 is the best."""
    return run_with_four_checkpoints(tmp_path)


@pytest.mark.parametrize(("which", "step"), [("best", 2), ("last", 6), ("0", 0), ("4", 4), ("0004", 4)])
def test_find(run: Path, which: str, step: int) -> None:
    """best, last and a step each find their checkpoint, and a file is taken as it is."""
    expected = run / "checkpoints" / f"step-{step:08}.safetensors"
    for where, word in ((run, which), (expected, "best")):
        path, found, notices = checkpoints.find(where, word)
        assert (path, found.meta.step, notices) == (expected, step, [])


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
def test_find_nothing(run: Path, name: str, which: str, words: str) -> None:
    """What does not exist is an error that says what does."""
    with pytest.raises(CheckpointError, match=words):
        checkpoints.find(run / name, which)


def test_damaged_newest_gives_way(run: Path) -> None:
    """Where the newest checkpoints are damaged the one before is used, with a line for each; best still means best."""
    for damaged, newest in ((6, 4), (4, 2), (2, 0)):
        checkpoints.path_of(run, damaged).write_bytes(b"torn")
        _, found, notices = checkpoints.find(run, "last")
        assert found.meta.step == newest
        assert [f"step-{n:08}" in line for n, line in zip((6, 4, 2), notices, strict=False)] == [True] * len(notices)
        assert len(notices) == (8 - damaged) / 2
        if damaged > 2:
            _, best, same = checkpoints.find(run, "best")
            assert (best.meta.step, same) == (2, notices)
    checkpoints.path_of(run, 0).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"step-00000006.*no other can be read either$"):
        checkpoints.find(run)


def test_best_without_its_file_is_the_last(run: Path) -> None:
    """Where the best checkpoint was deleted, or nothing was ever evaluated, best means last."""
    checkpoints.path_of(run, 2).unlink()
    assert checkpoints.find(run)[1].meta.step == 6
    checkpoints.save(checkpoints.path_of(run, 8), example(step=8, best=None))
    assert checkpoints.find(run)[1].meta.step == 8


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(1, None, [0, 6]), (1, 2, [0, 2, 6]), (2, 6, [0, 4, 6]), (3, None, [0, 2, 4, 6]), (9, 2, [0, 2, 4, 6])],
)
def test_prune(run: Path, keep: int, best: int | None, left: list[int]) -> None:
    """Pruning keeps step 0, the last so many and the best, and touches no other file."""
    (run / "checkpoints" / "mine.safetensors").write_bytes(b"mine")
    checkpoints.prune(run, keep, best)
    assert checkpoints.steps(run) == left
    assert len(list((run / "checkpoints").iterdir())) == len(left) + 1
    assert (run / "checkpoints" / "mine.safetensors").read_bytes() == b"mine"
