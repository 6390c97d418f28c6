"""Numbers that go wrong: the guard skips or stops as documented, whoever looks; all of it resumes bit for bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import TRAIN, Call
from helpers.runs import TINY, metrics, newest_checkpoint, run
from helpers.trainers import poison_gradients

from charrnn import checkpoint, config
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config, Table
from charrnn.errors import DivergedError
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import Guarded, Snapshot

EVERY = (0, 1, 7, 100)
QUIET = {"log": {"eval_every": 0, "sample_every": 0, "checkpoint_every": 10}}
BATCH, LENGTH, STEPS = 4, 6, 40  # those of TINY
PROSE = "the quick brown fox; " * 30
NEVER = "Z"

Course = tuple[str, list[Guarded], list[Checkpoint]]


def course(*tables: Table, **request: Any) -> Course:
    """Why a run without a directory ended, what the guard said, and what was to be saved: free of times and options."""
    session = prepare(Request(options=config.merged(TINY, QUIET, *tables), threads=1, **request))
    events, reason = [], ""
    try:
        events.extend(session.events())
        reason = events[-1].reason
    except DivergedError as error:
        reason = str(error)
    guards = [replace(event, at=replace(event.at, seconds=0)) for event in events if isinstance(event, Guarded)]
    saved = [event.checkpoint for event in events if isinstance(event, Snapshot)]
    return reason, guards, [replace(each, meta=replace(each.meta, config=Config())) for each in saved]


def same_course(*tables: Table, **request: Any) -> Course:
    """The `course` of a run: the same bits whatever `log.every` is, and nothing to be saved that is not finite."""
    courses = [course(*tables, {"log": {"every": every}}, **request) for every in EVERY]
    for reason, guards, saved in courses[1:]:
        assert (reason, repr(guards)) == (courses[0][0], repr(courses[0][1]))  # NaN is not equal to itself
        for one, other in zip(saved, courses[0][2], strict=True):
            assert one.meta == other.meta
            assert checkpoint.digest_of(one.tensors) == checkpoint.digest_of(other.tensors)
    assert all(np.isfinite(tensor).all() for saved in courses[0][2] for tensor in saved.tensors.values())
    return courses[0]


def skips(guards: list[Guarded]) -> list[tuple[int, int]]:
    """Of each skipped step its number and how many there were in a row."""
    return [(guard.at.step, guard.bad_in_a_row) for guard in guards]


# -- real ones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e3, 1e38])
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_absurd_learning_rates(text: str, cell: str, name: str, rate: float) -> None:
    """With 1,000 a run gets to its end, and nowhere else; with 1e38 three bad steps stop it."""
    reason, guards, saved = same_course(
        {"model": {"cell": cell}, "optimizer": {"name": name, "learning_rate": rate}}, text=text
    )
    if rate == 1e3:
        assert (reason, guards, saved[-1].meta.step) == ("steps", [], STEPS)
    elif name == "adagrad":
        assert (reason, skips(guards), saved[-1].meta.step) == ("diverged", [(2, 1), (3, 2), (4, 3)], 4)
    else:  # one update exceeds the rate, and overflows in a step that was good
        assert (reason[:10], skips(guards)) == ("parameters", [(2, 1), (3, 2), (4, 3)])
        assert [each.meta.step for each in saved] == [0]


def impossible(*places: tuple[int, int]) -> str:
    """Prose in which chunk k of stream b, of each of `places`, predicts two characters that cannot be."""
    characters = list(PROSE)
    for stream, chunk in places:
        first = len(PROSE) // BATCH * stream + LENGTH * chunk + 2
        characters[first : first + 2] = NEVER * 2
    return "".join(characters)


def believing(folder: Path, text: str, model: Table) -> Table:
    """Options of a run on `text` from weights by which `NEVER` is so unlikely that the surprise of two overflows."""
    path, table = folder / "impossible.safetensors", {"data": {"val_fraction": 0.0}, "train": {"random_offset": False}}
    session = prepare(Request(text=text, options=config.merged(TINY, model, {"train": {"steps": 0}}), threads=1))
    (saved,) = (event.checkpoint for event in session.events() if isinstance(event, Snapshot))
    saved.tensors["parameters/output.b_y"][saved.meta.vocabulary.characters.index(NEVER)] = -3e38
    checkpoint.save(path, saved)
    return config.merged(model, table, {"train": {"init_from": str(path)}})


def test_a_loss_that_overflows_in_one_stream_is_skipped(tmp_path: Path, cell: str) -> None:
    """Two of four streams meet the impossible once a sweep of 25 chunks: four steps of 40 do not count, no other."""
    text = impossible((1, 3), (2, 9))
    reason, guards, saved = same_course(believing(tmp_path, text, {"model": {"cell": cell}}), text=text)
    assert (reason, skips(guards)) == ("steps", [(4, 1), (10, 1), (29, 1), (35, 1)])
    assert {str(guard.loss) for guard in guards} == {"inf"}
    assert all(np.isfinite(guard.grad_norm) for guard in guards)
    assert float(saved[-1].tensors["guard/scale"]) == 0.5**4


def test_three_losses_that_overflow_stop_the_run(tmp_path: Path) -> None:
    """In three chunks running, each time in another stream: the third stops the run, and is where it goes on."""
    text = impossible((0, 5), (3, 6), (1, 7))
    reason, guards, saved = same_course(believing(tmp_path, text, {}), text=text)
    assert (reason, skips(guards), saved[-1].meta.step) == ("diverged", [(6, 1), (7, 2), (8, 3)], 8)


# -- injected ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38])
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_a_bad_gradient_is_skipped_and_three_stop_the_run(
    text: str, monkeypatch: pytest.MonkeyPatch, cell: str, name: str, value: float
) -> None:
    """One element that is not finite, or whose square is not, is enough; the third in a row ends the run."""
    poison_gradients(monkeypatch, lambda done: done in (5, 10, 11, 21, 22, 23), value)
    tables: tuple[Table, ...] = {"model": {"cell": cell}}, {"optimizer": {"name": name, "average": 0.9}}
    reason, guards, saved = same_course(*tables, text=text)
    assert (reason, skips(guards)) == ("diverged", [(6, 1), (11, 1), (12, 2), (22, 1), (23, 2), (24, 3)])
    assert {str(guard.grad_norm) for guard in guards} == {"nan" if np.isnan(value) else "inf"}
    last = saved[-1]
    assert (last.meta.step, float(last.tensors["guard/scale"]), int(last.tensors["guard/bad"])) == (24, 0.5**6, 3)


def test_memory_that_overflows_is_not_saved(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares of huge gradients that count add up to infinity: the run ends before a file that nobody could load."""
    poison_gradients(monkeypatch, lambda done: done > 10, 1.5e19)
    clips = {"optimizer": {"name": "adagrad", "clip_norm": 0.0}}
    reason, guards, saved = same_course(clips, text=text)
    assert (reason.split(":")[0], guards) == ("optimizer/square_sum/layer0.W_xh overflows at step 20", [])
    assert [each.meta.step for each in saved] == [0, 10]


# -- resumed ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text file, on a disk that nobody waits for."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    path = tmp_path / "text.txt"
    path.write_text(text)
    return path


def to_the_end(out: Path, corpus: Path, *tables: Table) -> int:
    """Resume until the planned steps are done; how often the guard stopped the run before."""
    stops = 0
    while (events := run(out, corpus, *tables, resume=True)) and events[-1].reason == "diverged":
        stops += 1
    return stops


def resumes_from_everywhere(whole: Path, corpus: Path, *tables: Table) -> None:
    """Go on from each checkpoint of a finished run, and end in its bytes, metrics and samples."""
    for step in checkpoint.steps(whole)[:-1]:
        again = whole.with_name(f"from-{step}")
        shutil.copytree(whole, again)
        for later in checkpoint.steps(again):
            if later > step:
                checkpoint.path_of(again, later).unlink()
        to_the_end(again, corpus, *tables)
        assert newest_checkpoint(again) == newest_checkpoint(whole)
        assert metrics(again) == metrics(whole)
        assert (again / "samples.txt").read_bytes() == (whole / "samples.txt").read_bytes()


OFTEN = {"log": {"checkpoint_every": 4}}


@pytest.mark.parametrize(
    ("bad", "stops"),
    [((3, 4, 14, 15, 30), 0), ((5, 20, 21, 22, 23, 30), 1), ((0, 1, 2, 3, 4, 5, 6, 37, 38, 39), 3)],
)
def test_a_guarded_run_is_resumed_bit_for_bit(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, bad: tuple[int, ...], stops: int
) -> None:
    """Bad steps, also where they stopped it, before, at and after each of its checkpoints leave the same bytes."""
    poison_gradients(monkeypatch, lambda done: done in bad)
    assert to_the_end(tmp_path / "whole", corpus, OFTEN) == stops
    resumes_from_everywhere(tmp_path / "whole", corpus, OFTEN)


@pytest.mark.parametrize(("places", "stops"), [(((1, 3), (2, 9)), 0), (((0, 5), (3, 6), (1, 7)), 2)])
def test_a_run_with_losses_that_overflow_is_resumed_bit_for_bit(
    tmp_path: Path, corpus: Path, places: tuple[tuple[int, int], ...], stops: int
) -> None:
    """The same without anything injected: the text comes round again after 25 steps."""
    corpus.write_text(impossible(*places))
    options = believing(tmp_path, corpus.read_text(), {})
    assert to_the_end(tmp_path / "whole", corpus, options, OFTEN) == stops
    resumes_from_everywhere(tmp_path / "whole", corpus, options, OFTEN)


def test_the_rate_is_halved_alike_down_to_zero(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 150th halving leaves a float32 nothing: also in the metrics, whether the run went on or was resumed."""
    poison_gradients(monkeypatch, lambda done: done % 2 == 0)
    options = {"train": {"steps": 310}}, {"log": {"eval_every": 0, "sample_every": 0, "checkpoint_every": 305}}
    run(tmp_path / "whole", corpus, *options)
    resumes_from_everywhere(tmp_path / "whole", corpus, *options)
    assert metrics(tmp_path / "whole")[-1]["learning_rate"] == 0


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cell"), [("rmsprop", "lstm"), ("adam", "gru")])
def test_parameters_that_overflow_are_one_line_and_status_3(call: Call, name: str, cell: str) -> None:
    """Also when the run is resumed; and what it leaves can be sampled from. (Three bad steps: `test_cli_train`.)"""
    absurd = {"name": name, "learning_rate": "1e38", "schedule": "constant", "warmup": "0"}
    settings = [f"--set=model.cell={cell}", *(f"--set=optimizer.{key}={value}" for key, value in absurd.items())]
    for words in ([*TRAIN, *settings, "--out=r"], ["train", "--resume", "--out=r"]):
        error = call(*words, status=3)[1]
        assert error.endswith("lower optimizer.learning_rate, or clip gradients (optimizer.clip_norm)")
    assert len(call("sample", "r", "--checkpoint=last", "--length=20", "--seed=1")[0]) == 21
