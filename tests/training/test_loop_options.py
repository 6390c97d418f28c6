"""Whole runs with dropout, Adam, weight decay, averages, schedules, random offsets and patience."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.runs import metrics, newest_checkpoint, run
from helpers.trainers import EVERYTHING

from charrnn import api, checkpoint, config
from charrnn.backend import ThreadPool
from charrnn.errors import CheckpointError
from charrnn.evaluation import protocols
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training import loop
from charrnn.training.events import Ended, Evaluated

SLOW = {
    "optimizer": {"name": "rmsprop", "schedule": "plateau", "decay_patience": 1, "learning_rate": 0.5},
    "log": {"eval_every": 3},
}


@pytest.mark.parametrize("settings", [EVERYTHING, SLOW])
@pytest.mark.parametrize("stops", [(8,), (13, 7), (39,)])
def test_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, corpus: Path, stops: tuple[int, ...], settings: dict[str, Any]
) -> None:
    """A resumed run continues its masks, offsets, averages and schedule, and ends in the same bytes."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, corpus, settings)
    for stop in stops:
        run(parts, corpus, settings, stop_after=stop, resume=True)
    run(parts, corpus, settings, resume=True, files=())
    assert newest_checkpoint(parts) == newest_checkpoint(whole)
    assert metrics(parts) == metrics(whole)
    rates = {line["learning_rate"] for line in metrics(whole) if line["event"] == "train"}
    assert len(rates) > 2, "the schedule does nothing"


def test_evaluations_and_samples_do_not_change_training(tmp_path: Path, corpus: Path) -> None:
    """With and without evaluations, samples, logs and checkpoints a run ends with the same parameters and averages."""
    observed, silent = tmp_path / "observed", tmp_path / "silent"
    run(observed, corpus, EVERYTHING)
    run(
        silent,
        corpus,
        EVERYTHING,
        {"log": dict.fromkeys(("every", "eval_every", "sample_every", "checkpoint_every"), 0)},
    )
    last = [checkpoint.load(checkpoint.path_of(out, 40)).tensors for out in (observed, silent)]
    assert last[0].keys() == last[1].keys()
    assert any(name.startswith("average/") for name in last[0])
    assert all(np.array_equal(last[0][name], last[1][name]) for name in last[0])


def test_evaluation_and_loading_use_the_average_without_dropout(tmp_path: Path, corpus: Path) -> None:
    """Evaluations in training, at its end and of a checkpoint use the averaged weights, without dropout."""
    session = prepare(Request(files=(str(corpus),), out=tmp_path / "r", options=config.merged(EVERYTHING, SMALL)))
    evaluations = [event for event in session.events() if isinstance(event, Evaluated)]
    trainer, part = session.loop.trainer, session.loop.validation
    views = trainer.network.views(trainer.average)
    exact = protocols.carried(trainer.network, views, part, ThreadPool(1)).nats_per_char
    assert evaluations[-1].val_loss == pytest.approx(exact, rel=1e-4)
    raw = protocols.carried(trainer.network, trainer.params, part, ThreadPool(1)).nats_per_char
    assert abs(raw - exact) > 1e-3 * exact
    assert api.load(tmp_path / "r", checkpoint="last", device="cpu").evaluate().nats_per_char == pytest.approx(
        exact, rel=1e-6
    )
    saved = checkpoint.load(checkpoint.path_of(tmp_path / "r", 30))
    damaged = {name: tensor for name, tensor in saved.tensors.items() if name != "average/output.b_y"}
    checkpoint.save(checkpoint.path_of(tmp_path / "r", 30), checkpoint.Checkpoint(saved.meta, damaged))
    with pytest.raises(CheckpointError, match=r"average/output\.b_y is missing"):
        api.load(tmp_path / "r", checkpoint="30", device="cpu")


SMALL: dict[str, Any] = {
    "model": {"hidden_size": 8},
    "train": {"batch_size": 4, "seq_length": 6, "steps": 30, "device": "cpu"},
    "optimizer": {"learning_rate": 0.05},
    "log": {"every": 5, "eval_every": 10, "sample_every": 0, "checkpoint_every": 10},
    "data": {"val_fraction": 0.3},
}


def script_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Replace the evaluations by these losses, in order; the first is that of the untrained network."""
    remaining = iter([x for loss in losses for x in (loss, 0.0)])  # an evaluation measures the training loss, too
    monkeypatch.setattr(loop.protocols, "streams", lambda *_: protocols.Evaluation(next(remaining), 10, "streams"))


def test_patience_ends_a_run_without_progress(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two evaluations in a row without a new best loss end the run; that of the untrained network does not count."""
    script_losses(monkeypatch, [1.0, 4.0, 4.0, 3.0, 3.5, 3.0, 0.0, 0.0])
    events = run(tmp_path / "r", corpus, {"train": {"patience": 2, "steps": 400}})
    assert isinstance(events[-1], Ended)
    assert (events[-1].reason, events[-1].at.step) == ("patience", 50)
    assert checkpoint.find(tmp_path / "r", "best")[1].meta.best == checkpoint.Best(30, 3.0)
    saved = checkpoint.last(tmp_path / "r")
    assert saved is not None
    assert (saved[1].meta.step, saved[1].meta.stale_evaluations) == (50, 2)


def test_plateau_lowers_the_rate_after_its_patience(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every two evaluations without a new best loss the rate is divided by ten, from the next step on."""
    script_losses(monkeypatch, [9.0, 3.0, 4.0, 4.0, 4.0, 4.0, 2.0, 3.0, 3.0])
    settings = {"optimizer": {"schedule": "plateau", "decay": 0.1, "decay_patience": 2}, "train": {"steps": 80}}
    events = run(None, corpus, settings, {"log": {"every": 10}})
    rates = [event.learning_rate for event in events if type(event).__name__ == "Trained"]
    assert rates == pytest.approx([0.05] * 3 + [0.005] * 2 + [0.0005] * 3)
    best = [event.best for event in events if isinstance(event, Evaluated)]
    assert best == [False, True, False, False, False, False, True, False, False]


def test_a_run_out_of_patience_is_finished(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that patience ended, or that stopped at this step, is finished; with more patience it continues."""
    settings = {"train": {"patience": 2, "steps": 400}}
    for name, request in (("a", {}), ("b", {"stop_after": 30})):
        script_losses(monkeypatch, [1.0, 3.0, 3.5, 3.0, 0.0])
        run(tmp_path / name, corpus, settings, **request)
        assert run(tmp_path / name, corpus, settings, resume=True) == []
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    script_losses(monkeypatch, [2.0, 3.0, 3.0, 3.0])
    more = {"train": {"patience": 3, "steps": 400}}
    assert run(tmp_path / "a", corpus, more, resume=True)[-1].at.step == 70


def test_patience_and_plateau_without_evaluations_are_noted(tmp_path: Path, corpus: Path) -> None:
    """A notice names patience and plateau in a run without evaluations, and only in it."""
    idle = {"train": {"patience": 1}, "optimizer": {"schedule": "plateau"}}
    for more, noted in (({"log": {"eval_every": 0}}, True), ({"data": {"val_fraction": 0.0}}, True), ({}, False)):
        table = config.merged(SMALL, idle, more)
        notices = prepare(Request(files=(str(corpus),), options=table)).notices
        for key in ("train.patience", "optimizer.schedule = plateau"):
            assert (f"{key} does nothing: the run evaluates nothing" in notices) == noted


def test_a_budget_without_time_saves_nothing(tmp_path: Path, corpus: Path) -> None:
    """A time budget that ends before the first step saves no checkpoint, and the run can be resumed from its start."""
    events = run(tmp_path / "r", corpus, minutes=1e-9)
    assert (events[-1].reason, events[-1].at.step) == ("time", 0)
    assert checkpoint.steps(tmp_path / "r") == []
    assert run(tmp_path / "r", corpus, resume=True)[-1].reason == "steps"
    assert 0 in checkpoint.steps(tmp_path / "r")


def test_keys_that_a_first_file_lacks_have_their_old_meaning(tmp_path: Path, corpus: Path) -> None:
    """A checkpoint without the newer keys is read with no schedule, no warm-up and no offsets."""
    run(tmp_path / "r", corpus, stop_after=8)
    path = checkpoint.path_of(tmp_path / "r", 8)
    saved = checkpoint.load(path)
    values = checkpoint.file.encode(saved.meta)
    for section, keys in checkpoint.file.FIRST_DEFAULTS.items():
        for key in keys:
            del values["config"][section][key]
    read = checkpoint.file.decode(values).config
    assert (read.optimizer.schedule, read.optimizer.warmup, read.train.random_offset) == ("constant", 0.0, False)
    assert read.model.input_std == 0.1


def test_an_extra_evaluation_at_the_end_does_not_count(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation that is made only because the run ends changes neither the rate nor the patience."""
    settings = {"optimizer": {"schedule": "plateau", "decay": 0.1, "decay_patience": 1}, "train": {"steps": 35}}
    script_losses(monkeypatch, [9.0, 3.0, 2.0, 4.0, 5.0])
    run(tmp_path / "r", corpus, settings)
    saved = checkpoint.last(tmp_path / "r")
    assert saved is not None
    assert (saved[1].meta.step, saved[1].meta.lr_reductions, saved[1].meta.stale_evaluations) == (35, 1, 1)
