"""Whole runs: resumed bit for bit, repeatable from their own configuration, learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.runs import TINY, metrics, newest_checkpoint, run

from charrnn import checkpoint, config
from charrnn.backend import ThreadPool
from charrnn.errors import CheckpointError, ConfigError
from charrnn.evaluation import protocols
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import Evaluated, Sampled, Snapshot


@pytest.mark.parametrize(
    ("stops", "cell"),
    [((1,), "rnn"), ((8,), "rnn"), ((13, 7), "lstm"), ((13, 7), "gru"), ((3, 3, 3, 3, 20), "rnn"), ((39,), "rnn")],
)
def test_resumed_run_is_the_uninterrupted_one(tmp_path: Path, corpus: Path, stops: tuple[int, ...], cell: str) -> None:
    """A run that is stopped and resumed has the same bytes in weights, optimizer state, state, metrics and samples."""
    whole, parts, model = tmp_path / "whole", tmp_path / "parts", {"model": {"cell": cell}}
    run(whole, corpus, model)
    for stop in stops:
        run(parts, corpus, model, stop_after=stop, resume=True)
    events = run(parts, corpus, resume=True, files=())
    assert events[-1].reason == "steps"
    assert newest_checkpoint(parts) == newest_checkpoint(whole)
    assert metrics(parts) == metrics(whole)
    assert (parts / "samples.txt").read_bytes() == (whole / "samples.txt").read_bytes()
    assert (parts / "config.toml").read_bytes() == (whole / "config.toml").read_bytes()


def test_resume_cuts_off_logs_after_the_checkpoint(tmp_path: Path, corpus: Path) -> None:
    """A run that was killed between two checkpoints, while it wrote a line, resumes to the same bytes."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    run(whole, corpus)
    run(torn, corpus)
    for step in checkpoint.steps(torn):
        if step > 16:
            checkpoint.path_of(torn, step).unlink()
    with (torn / "metrics.jsonl").open("a") as stream:
        stream.write('{"event": "train", "step": 4')
    run(torn, corpus, resume=True)
    assert metrics(torn) == metrics(whole)
    assert newest_checkpoint(torn) == newest_checkpoint(whole)
    assert (torn / "samples.txt").read_bytes() == (whole / "samples.txt").read_bytes()


def test_a_run_repeats_from_its_own_configuration(tmp_path: Path, corpus: Path) -> None:
    """The config.toml that a run wrote gives the same run."""
    run(tmp_path / "first", corpus)
    table = config.read(str(tmp_path / "first" / "config.toml"))
    list(prepare(Request(preset=table, out=tmp_path / "again")).events())
    assert newest_checkpoint(tmp_path / "first") == newest_checkpoint(tmp_path / "again")
    assert metrics(tmp_path / "first") == metrics(tmp_path / "again")


def test_more_steps_extend_a_finished_run(tmp_path: Path, corpus: Path) -> None:
    """A finished run does nothing if it is resumed; with more steps it continues to the bytes of a longer run."""
    run(tmp_path / "long", corpus, {"train": {"steps": 48}})
    run(tmp_path / "short", corpus)
    assert run(tmp_path / "short", corpus, resume=True) == []
    run(tmp_path / "short", corpus, {"train": {"steps": 48}}, resume=True)
    assert newest_checkpoint(tmp_path / "short") == newest_checkpoint(tmp_path / "long")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"model": {"hidden_size": 9}}, "model.hidden_size"),
        ({"train": {"seed": 1}}, "train.seed"),
        ({"optimizer": {"learning_rate": 0.01}}, "optimizer.learning_rate"),
        ({"data": {"val_fraction": 0.2}}, "data.val_fraction"),
    ],
)
def test_resume_refuses_changed_keys(tmp_path: Path, corpus: Path, change: dict, key: str) -> None:
    """A changed key that would make it another run is an error that names the key, and nothing is written."""
    run(tmp_path / "a", corpus, stop_after=9)
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=key):
        run(tmp_path / "a", corpus, change, resume=True)
    assert before == {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}


def test_resume_refuses_another_text(tmp_path: Path, corpus: Path, text: str) -> None:
    """Another text is an error that names the differences; the same text under another file name is accepted."""
    run(tmp_path / "a", corpus, stop_after=9)
    corpus.write_text(text + "Z")
    with pytest.raises(CheckpointError, match=r"517.*new: 'Z'"):
        run(tmp_path / "a", corpus, resume=True, files=())
    (tmp_path / "moved.txt").write_text(text)
    assert run(tmp_path / "a", tmp_path / "moved.txt", resume=True)[-1].at.step == 40


def test_the_best_checkpoint_is_kept(tmp_path: Path, corpus: Path) -> None:
    """Step 0, the last `keep` checkpoints and the best remain, and the best has the lowest validation loss."""
    run(tmp_path / "a", corpus, {"log": {"keep": 2, "checkpoint_every": 3}, "optimizer": {"learning_rate": 0.3}})
    evaluations = {line["step"]: line["val_loss"] for line in metrics(tmp_path / "a") if line["event"] == "eval"}
    best = min(evaluations, key=evaluations.__getitem__)
    assert checkpoint.steps(tmp_path / "a") == sorted({0, best, 39, 40})
    assert checkpoint.find(tmp_path / "a", "best")[1].meta.best == checkpoint.Best(best, evaluations[best])


def test_training_evaluation_agrees_with_the_carried_pass(tmp_path: Path, text: str) -> None:
    """The val_loss of training, from warmed-up streams, equals that of one carried pass at every evaluation."""
    path = tmp_path / "long.txt"
    path.write_text(text * 40)
    session = prepare(
        Request(files=(str(path),), options=config.merged(TINY, {"data": {"val_fraction": 0.4}}), threads=1)
    )
    count = 0
    for event in session.events():
        if isinstance(event, Evaluated):
            trainer, count = session.loop.trainer, count + 1
            exact = protocols.carried(trainer.network, trainer.params, session.loop.validation, ThreadPool(1))
            assert event.val_loss == pytest.approx(exact.nats_per_char, rel=1e-5)
    assert count == 5


def test_the_warm_up_begins_with_the_training_state(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a warm-up of one character the loss depends on the initial state of every stream but the first."""
    monkeypatch.setattr(protocols, "WARM_UP", 1)
    monkeypatch.setattr(protocols, "STREAMS", 4)
    session = prepare(Request(files=(str(corpus),), options=TINY, threads=1))
    trainer, losses = session.loop.trainer, []
    for stream in (None, 0, 1, 2, 3):
        state = trainer.network.zero_state(4)
        if stream is not None:
            state["hidden"][:, stream, :] = 0.9
        part, thread_pool = session.loop.validation, trainer.thread_pool
        losses.append(protocols.streams(trainer.network, trainer.params, part, thread_pool, state).nats_per_char)
    assert losses[1] == losses[0]  # the first stream begins with the text, from a zero state
    assert len(set(losses)) == 4


def test_a_tiny_network_memorizes_a_short_text(tmp_path: Path, corpus: Path) -> None:
    """On a text that repeats, the loss starts at ln V and falls below 0.1 nats/char."""
    options = {
        "model": {"hidden_size": 64, "num_layers": 1, "dropout": 0.0, "input_std": 0.1},
        "train": {"steps": 400},
        "data": {"val_fraction": 0.0},
    }
    quiet = {"log": {"every": 1, "sample_every": 400, "checkpoint_every": 0, "sample_length": 300}}
    events = run(None, corpus, options, quiet)
    losses = [event.loss for event in events if hasattr(event, "smooth_loss")]
    assert losses[0] == pytest.approx(np.log(29), rel=0.05)
    assert losses[-1] < 0.1
    assert "over the lazy dog; pack my box" in [event.text for event in events if isinstance(event, Sampled)][-1]


def test_events_are_in_order(tmp_path: Path, corpus: Path) -> None:
    """The steps of events never decrease, step 0 is saved first, and the last event has the reason of the end."""
    events = run(None, corpus)
    steps = [event.at.step for event in events]
    assert steps == sorted(steps)
    saved = [event.checkpoint.meta.step for event in events if isinstance(event, Snapshot)]
    assert set(saved) >= {0, 8, 16, 24, 32, 40}
    assert saved[0] == 0
    assert events[-1].reason == "steps"
