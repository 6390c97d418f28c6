"""Runs and their baselines: what is told, recorded, said and kept, and that training is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.commands import TRAIN, Call
from helpers.runs import TINY, last_bytes, run
from helpers.splits import expected, split

from charrnn import config, text
from charrnn.evaluation.baselines import split_of
from charrnn.evaluation.process import Counting
from charrnn.evaluation.verdict import announcement, verdict
from charrnn.run import beside
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import BaselinesCounted, Ended

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_a_run_is_told_its_baselines(tmp_path: Path, corpus: Path) -> None:
    """Once, before the end at the latest, and from the start where they are kept; `baselines.json` has them in full."""
    of = split(fraction=0.1)
    baselines = expected(of)
    first, second = run(tmp_path / "a", corpus), run(tmp_path / "b", corpus)
    for events in (first, second):
        assert [event.baselines for event in events if isinstance(event, BaselinesCounted)] == [baselines]
        assert isinstance(events[-1], Ended)
    assert first.index(next(e for e in first if isinstance(e, BaselinesCounted))) > 0
    assert isinstance(second[0], BaselinesCounted)
    assert second[0].at.step == 0
    assert (tmp_path / "a" / "baselines.json").read_bytes() == (tmp_path / "b" / "baselines.json").read_bytes()
    assert json.loads((tmp_path / "a" / "baselines.json").read_text()) == {
        "method": "witten-bell",
        "protocol": "carried",
        "nats_per_char": dict(zip("123456", baselines.losses, strict=True)),
        "best": {"order": 1 + baselines.losses.index(min(baselines.losses)), "nats_per_char": min(baselines.losses)},
        "counted": 464,
        "training": 464,
        "predicted": 51,
        "evaluated": 51,
    }


def test_baselines_change_nothing_else(tmp_path: Path, corpus: Path) -> None:
    """Checkpoints and samples of runs with baselines counted, kept and missing are the same bytes; resumed too."""
    run(tmp_path / "counted", corpus)
    run(tmp_path / "kept", corpus)
    run(tmp_path / "resumed", corpus, stop_after=9)
    run(tmp_path / "resumed", corpus, resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "split_of", lambda *_: None)
        run(tmp_path / "missing", corpus)
    assert not (tmp_path / "missing" / "baselines.json").exists()
    for name in ("kept", "resumed", "missing"):
        assert last_bytes(tmp_path / name) == last_bytes(tmp_path / "counted")
        assert (tmp_path / name / "samples.txt").read_bytes() == (tmp_path / "counted" / "samples.txt").read_bytes()
    assert (tmp_path / "resumed" / "baselines.json").read_bytes() == (tmp_path / "kept" / "baselines.json").read_bytes()


def test_nothing_is_begun_before_the_first_step(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is started once, when a step has been made, also in a run that is resumed; no step, no process."""
    started = []

    def start(counting: Counting) -> None:
        started.append(session.loop.trainer.done)

    monkeypatch.setattr(Counting, "start", start)
    for steps, resume in ((0, False), (9, False), (20, True)):
        options = config.merged(TINY, {"train": {"steps": steps}})
        session = prepare(
            Request(files=(str(corpus),), options=options, out=tmp_path / "a", resume=resume, overwrite=not resume)
        )
        assert list(session.events())[-1].at.step == steps
    assert started
    assert min(started[: started.index(12)]) == 4
    assert min(started[started.index(12) :]) == 12


def test_without_a_directory_nothing_is_counted(corpus: Path, fresh_cache: Path) -> None:
    """A run that writes nothing has no baselines and leaves the cache alone."""
    assert not any(isinstance(event, BaselinesCounted) for event in run(None, corpus))
    assert not fresh_cache.exists()


def test_an_old_answer_does_not_stay(tmp_path: Path, corpus: Path) -> None:
    """A run that replaces another removes its baselines, also where it has none of its own."""
    run(tmp_path / "a", corpus)
    assert (tmp_path / "a" / "baselines.json").exists()
    events = run(tmp_path / "a", corpus, {"data": {"val_fraction": 0.0}}, overwrite=True)
    assert not any(isinstance(event, BaselinesCounted) for event in events)
    assert not (tmp_path / "a" / "baselines.json").exists()


def test_train_says_what_must_be_beaten_and_where_it_stands(call: Call, tmp_path: Path) -> None:
    """The baselines as soon as they are known, at the start where they are kept; the verdict after the last line."""
    outs = [call(*TRAIN, f"--out={name}")[0].splitlines() for name in "ab"]
    corpus = text.from_files([str(tmp_path / "t.txt")])
    of = split_of(corpus, 0.1, corpus.split(0.1)[1])
    assert of is not None
    for lines in outs:
        assert lines.count(announcement(expected(of))) == 1
        (done,) = [n for n, line in enumerate(lines) if line.startswith("done at step 10 ")]
        best = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[-1])["val_loss"]
        assert lines[done + 1] == verdict(best, expected(of))
        assert lines[done + 2] in ("run: a", "run: b")
    assert outs[1].index(announcement(expected(of))) == 2


def test_the_cache_lists_and_clears_them(call: Call, fresh_cache: Path) -> None:
    """Their number stands in the total, and --clear removes them with what a killed process left."""
    call(*TRAIN, "--out=r")
    (fresh_cache / f".{'0' * 64}.baselines.json.0123abcd.tmp").write_text("{")
    assert call("cache")[0].splitlines()[1:] == ["total: 0 texts, 0.0 MB, and the baselines of 1 split"]
    assert call("cache", "--clear")[0].splitlines()[1:] == ["removed: 0 texts, 0.0 MB, and the baselines of 1 split"]
    assert list(fresh_cache.iterdir()) == []
    assert call("cache")[0].splitlines()[1:] == ["total: 0 texts, 0.0 MB"]
