"""Losses and gradients that are not finite: the guard skips steps or stops the run, for any `log.every`."""

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
BATCH, LENGTH, STEPS = 4, 6, 40  # as in TINY
PROSE = "the quick brown fox; " * 30
NEVER = "Z"

Result = tuple[str, list[Guarded], list[Checkpoint]]


def result_of(*tables: Table, **request: Any) -> Result:
    """Train without a run directory; return why it ended, its guard events and checkpoints, without times and keys."""
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


def same_result_for_any_log_every(*tables: Table, **request: Any) -> Result:
    """Return `result_of`; assert that it has the same bits for any `log.every`, and that all its tensors are finite."""
    results = [result_of(*tables, {"log": {"every": every}}, **request) for every in EVERY]
    for reason, guards, saved in results[1:]:
        assert (reason, repr(guards)) == (results[0][0], repr(results[0][1]))  # NaN is not equal to itself
        for one, other in zip(saved, results[0][2], strict=True):
            assert one.meta == other.meta
            assert checkpoint.digest_of(one.tensors) == checkpoint.digest_of(other.tensors)
    assert all(np.isfinite(tensor).all() for saved in results[0][2] for tensor in saved.tensors.values())
    return results[0]


def skips(guards: list[Guarded]) -> list[tuple[int, int]]:
    """Return for each skipped step its number, and the number of skipped steps in a row."""
    return [(guard.at.step, guard.bad_in_a_row) for guard in guards]


# -- natural overflows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e3, 1e38])
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_absurd_learning_rates(text: str, cell: str, name: str, rate: float) -> None:
    """With a rate of 1,000 a run reaches its last step without a skip; with 1e38 three bad steps stop it."""
    reason, guards, saved = same_result_for_any_log_every(
        {"model": {"cell": cell}, "optimizer": {"name": name, "learning_rate": rate}}, text=text
    )
    if rate == 1e3:
        assert (reason, guards, saved[-1].meta.step) == ("steps", [], STEPS)
    elif name == "adagrad":
        assert (reason, skips(guards), saved[-1].meta.step) == ("diverged", [(2, 1), (3, 2), (4, 3)], 4)
    else:  # an update is larger than the rate, so it overflows in a step whose loss and gradient are finite
        assert (reason[:10], skips(guards)) == ("parameters", [(2, 1), (3, 2), (4, 3)])
        assert [each.meta.step for each in saved] == [0]


def text_with_impossible(*positions: tuple[int, int]) -> str:
    """Return a text with two characters `NEVER` as targets in each of `positions`, pairs of stream and chunk."""
    characters = list(PROSE)
    for stream, chunk in positions:
        first = len(PROSE) // BATCH * stream + LENGTH * chunk + 2
        characters[first : first + 2] = NEVER * 2
    return "".join(characters)


def overflowing_options(folder: Path, text: str, model: Table) -> Table:
    """Return options of a run on `text` with initial weights for which the loss of two characters `NEVER` overflows."""
    path, table = folder / "impossible.safetensors", {"data": {"val_fraction": 0.0}, "train": {"random_offset": False}}
    session = prepare(Request(text=text, options=config.merged(TINY, model, {"train": {"steps": 0}}), threads=1))
    (saved,) = (event.checkpoint for event in session.events() if isinstance(event, Snapshot))
    saved.tensors["parameters/output.b_y"][saved.meta.vocabulary.characters.index(NEVER)] = -3e38
    checkpoint.save(path, saved)
    return config.merged(model, table, {"train": {"init_from": str(path)}})


def test_a_loss_that_overflows_in_one_stream_is_skipped(tmp_path: Path, cell: str) -> None:
    """Two of four streams overflow once in a sweep of 25 chunks: exactly four of 40 steps are skipped."""
    text = text_with_impossible((1, 3), (2, 9))
    options = overflowing_options(tmp_path, text, {"model": {"cell": cell}})
    reason, guards, saved = same_result_for_any_log_every(options, text=text)
    assert (reason, skips(guards)) == ("steps", [(4, 1), (10, 1), (29, 1), (35, 1)])
    assert {str(guard.loss) for guard in guards} == {"inf"}
    assert all(np.isfinite(guard.grad_norm) for guard in guards)
    assert float(saved[-1].tensors["guard/scale"]) == 0.5**4


def test_three_losses_that_overflow_stop_the_run(tmp_path: Path) -> None:
    """The third overflow in a row, each in another stream, stops the run, whose last checkpoint is of this step."""
    text = text_with_impossible((0, 5), (3, 6), (1, 7))
    reason, guards, saved = same_result_for_any_log_every(overflowing_options(tmp_path, text, {}), text=text)
    assert (reason, skips(guards), saved[-1].meta.step) == ("diverged", [(6, 1), (7, 2), (8, 3)], 8)


# -- injected values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38])
@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_a_bad_gradient_is_skipped_and_three_stop_the_run(
    text: str, monkeypatch: pytest.MonkeyPatch, cell: str, name: str, value: float
) -> None:
    """A gradient with one element that is not finite, or has such a square, is skipped; three in a row end the run."""
    poison_gradients(monkeypatch, lambda done: done in (5, 10, 11, 21, 22, 23), value)
    tables: tuple[Table, ...] = {"model": {"cell": cell}}, {"optimizer": {"name": name, "average": 0.9}}
    reason, guards, saved = same_result_for_any_log_every(*tables, text=text)
    assert (reason, skips(guards)) == ("diverged", [(6, 1), (11, 1), (12, 2), (22, 1), (23, 2), (24, 3)])
    assert {str(guard.grad_norm) for guard in guards} == {"nan" if np.isnan(value) else "inf"}
    last = saved[-1]
    assert (last.meta.step, float(last.tensors["guard/scale"]), int(last.tensors["guard/bad"])) == (24, 0.5**6, 3)


def test_optimizer_state_that_overflows_is_not_saved(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the sum of squared gradients overflows, the run ends before it saves a checkpoint that could not be loaded."""
    poison_gradients(monkeypatch, lambda done: done > 10, 1.5e19)
    clips = {"optimizer": {"name": "adagrad", "clip_norm": 0.0}}
    reason, guards, saved = same_result_for_any_log_every(clips, text=text)
    assert (reason.split(":")[0], guards) == ("optimizer/square_sum/layer0.W_xh overflows at step 20", [])
    assert [each.meta.step for each in saved] == [0, 10]


# -- resumed runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a text file, on a disk without fsync."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    path = tmp_path / "text.txt"
    path.write_text(text)
    return path


def resume_to_the_end(out: Path, corpus: Path, *tables: Table) -> int:
    """Resume until the planned steps are done, and return how often the guard stopped the run."""
    stops = 0
    while (events := run(out, corpus, *tables, resume=True)) and events[-1].reason == "diverged":
        stops += 1
    return stops


def assert_resumes_from_every_checkpoint(whole: Path, corpus: Path, *tables: Table) -> None:
    """Resume a finished run from each of its checkpoints; assert that bytes, metrics and samples are the same."""
    for step in checkpoint.steps(whole)[:-1]:
        resumed = whole.with_name(f"from-{step}")
        shutil.copytree(whole, resumed)
        for later in checkpoint.steps(resumed):
            if later > step:
                checkpoint.path_of(resumed, later).unlink()
        resume_to_the_end(resumed, corpus, *tables)
        assert newest_checkpoint(resumed) == newest_checkpoint(whole)
        assert metrics(resumed) == metrics(whole)
        assert (resumed / "samples.txt").read_bytes() == (whole / "samples.txt").read_bytes()


OFTEN = {"log": {"checkpoint_every": 4}}


@pytest.mark.parametrize(
    ("bad", "stops"),
    [((3, 4, 14, 15, 30), 0), ((5, 20, 21, 22, 23, 30), 1), ((0, 1, 2, 3, 4, 5, 6, 37, 38, 39), 3)],
)
def test_a_guarded_run_is_resumed_bit_for_bit(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, bad: tuple[int, ...], stops: int
) -> None:
    """A run with skipped steps, before, at and after its checkpoints, resumes to the same bytes, also after a stop."""
    poison_gradients(monkeypatch, lambda done: done in bad)
    assert resume_to_the_end(tmp_path / "whole", corpus, OFTEN) == stops
    assert_resumes_from_every_checkpoint(tmp_path / "whole", corpus, OFTEN)


@pytest.mark.parametrize(("positions", "stops"), [(((1, 3), (2, 9)), 0), (((0, 5), (3, 6), (1, 7)), 2)])
def test_a_run_with_losses_that_overflow_is_resumed_bit_for_bit(
    tmp_path: Path, corpus: Path, positions: tuple[tuple[int, int], ...], stops: int
) -> None:
    """A run with losses that overflow by themselves resumes to the same bytes; the text repeats after 25 steps."""
    corpus.write_text(text_with_impossible(*positions))
    options = overflowing_options(tmp_path, corpus.read_text(), {})
    assert resume_to_the_end(tmp_path / "whole", corpus, options, OFTEN) == stops
    assert_resumes_from_every_checkpoint(tmp_path / "whole", corpus, options, OFTEN)


def test_the_rate_is_halved_down_to_zero(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 150 halvings the rate is 0 in float32, also in the metrics, and in a resumed run."""
    poison_gradients(monkeypatch, lambda done: done % 2 == 0)
    options = {"train": {"steps": 310}}, {"log": {"eval_every": 0, "sample_every": 0, "checkpoint_every": 305}}
    run(tmp_path / "whole", corpus, *options)
    assert_resumes_from_every_checkpoint(tmp_path / "whole", corpus, *options)
    assert metrics(tmp_path / "whole")[-1]["learning_rate"] == 0


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cell"), [("rmsprop", "lstm"), ("adam", "gru")])
def test_parameters_that_overflow_are_one_line_and_status_3(call: Call, name: str, cell: str) -> None:
    """A run whose parameters overflow ends with one line and status 3, also if it is resumed, and can be sampled.

    `test_cli_train` tests the end after three bad steps.
    """
    absurd = {"name": name, "learning_rate": "1e38", "schedule": "constant", "warmup": "0"}
    settings = [f"--set=model.cell={cell}", *(f"--set=optimizer.{key}={value}" for key, value in absurd.items())]
    for words in ([*TRAIN, *settings, "--out=r"], ["train", "--resume", "--out=r"]):
        error = call(*words, status=3)[1]
        assert error.endswith("lower optimizer.learning_rate, or clip gradients (optimizer.clip_norm)")
    assert len(call("sample", "r", "--checkpoint=last", "--length=20", "--seed=1")[0]) == 21
