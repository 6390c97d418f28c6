"""A process writes nothing into a run directory that was moved, removed or replaced while it trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.processes import POSIX
from helpers.runs import TINY, tree

from charrnn import checkpoint, config
from charrnn.errors import CheckpointError
from charrnn.run import lock
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.run_files import CHECKPOINTS, LOCK
from charrnn.training.events import Event

LOST = r"^r, or its \.lock, was moved, removed or replaced while this process trained: [^\n;]*$"


def training(corpus: Path, upto: int, *, seed: int = 0, resume: bool = False) -> Iterator[Event]:
    """Train into r up to a step, with one checkpoint kept besides step 0 and the best; return the events to come."""
    options = config.merged(TINY, {"train": {"seed": seed}, "log": {"keep": 1, "checkpoint_every": 4}})
    request = Request(files=(str(corpus),), options=options, out=Path("r"), threads=1, resume=resume)
    events = prepare(request).events()
    assert any(event.at.step >= upto for event in events)
    return events


def check_that_it_stops(events: Iterator[Event], place: Path) -> None:
    """Check that the next event is an error of one line, and that all files of the directory stay unchanged."""
    before = tree(place)
    with pytest.raises(CheckpointError, match=LOST):
        next(events)
    assert tree(place) == before


@POSIX
@pytest.mark.parametrize("upto", [2, 8, 14, *(pytest.param(upto, marks=pytest.mark.slow) for upto in (4, 6, 10, 12))])
@pytest.mark.parametrize("resume", [False, True])
def test_a_second_training_is_not_disturbed_by_the_first(place: Path, upto: int, resume: bool) -> None:
    """The second trains in a new directory of the same name, or resumes the run after its lock was removed."""
    first = training(place / "t.txt", upto)
    if resume:
        (place / "r" / LOCK).unlink()
    else:
        shutil.rmtree(place / "r")
    second = training(place / "t.txt", 13, seed=0 if resume else 5, resume=resume)
    check_that_it_stops(first, place / "r")
    with pytest.raises(CheckpointError, match="is training in"):
        lock.check(place / "r")
    assert [event.at.step for event in second][-1] == 40
    assert not (place / "r" / LOCK).exists()


@POSIX
@pytest.mark.parametrize("taken", [lambda run: run.rename("r9"), shutil.rmtree])
def test_a_run_that_is_moved_or_removed(place: Path, taken: Callable[[Path], object]) -> None:
    """A moved run can be resumed at its new place. Nothing is written at the old one."""
    events = training(place / "t.txt", 9)
    taken(Path("r"))
    check_that_it_stops(events, place)
    assert not Path("r").exists()
    if Path("r9").exists():
        (Path("r9") / LOCK).unlink()
        done = prepare(Request(out=Path("r9"), resume=True)).events()
        assert [event.at.step for event in done][-1] == 40


@POSIX
@pytest.mark.parametrize("late", [False, True])
def test_the_lock_is_removed_while_a_checkpoint_is_saved(
    place: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """If the lock is removed before the checkpoint appears, none is written; if after, none is pruned."""
    events, right = training(place / "t.txt", 9), checkpoint.save
    before = tree(place / "r" / CHECKPOINTS)

    def save(path: Path, saved: checkpoint.Checkpoint) -> None:
        right(path, saved)
        (place / "r" / LOCK).unlink()

    if late:
        monkeypatch.setattr(checkpoint, "save", save)
    else:
        monkeypatch.setattr("os.fsync", lambda _: (place / "r" / LOCK).unlink(missing_ok=True))
    with pytest.raises(CheckpointError, match=LOST):
        list(events)
    after = tree(place / "r" / CHECKPOINTS)
    assert before.items() <= after.items()
    assert len(after) == len(before) + late
