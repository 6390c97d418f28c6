"""When a run counts its n-gram baselines, when it reads them, and that training does not depend on them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TRAIN, Call
from helpers.runs import TINY, contents, metrics, run
from helpers.splits import split

from charrnn import checkpoint, config, text
from charrnn.evaluation.baselines import Baselines, Split, count_baselines
from charrnn.evaluation.verdict import announcement, verdict
from charrnn.run import baselines as run_baselines
from charrnn.run.baselines import count, split_to_count
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import BaselinesCounted, Evaluated, Trained

OFF = {"log": {"baselines": False}}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Split]:
    """The splits that were counted so far in this test."""
    splits = []

    def count(of: Split) -> Baselines:
        splits.append(of)
        return count_baselines(of)

    monkeypatch.setattr(run_baselines, "count_baselines", count)
    return splits


def counts_in(events: list[object]) -> list[Baselines]:
    """Return the baselines among events."""
    return [event.baselines for event in events if isinstance(event, BaselinesCounted)]


def test_a_run_counts_after_its_first_evaluation(tmp_path: Path, corpus: Path) -> None:
    """The event follows the evaluation at step 0, and `baselines.json` holds all of it."""
    events = run(tmp_path / "a", corpus)
    expected = count_baselines(split(fraction=0.1))
    assert counts_in(events) == [expected]
    assert [type(event) for event in events[:2]] == [Evaluated, BaselinesCounted]
    assert events[1].at.step == events[0].at.step == 0
    assert events[1].at.seconds >= events[0].at.seconds
    assert json.loads((tmp_path / "a" / "baselines.json").read_text()) == {
        "method": "witten-bell",
        "protocol": "carried",
        "nats_per_char": dict(zip("123456", expected.losses, strict=True)),
        "best": {"order": expected.best_order, "nats_per_char": min(expected.losses)},
        "counted": 464,
        "training": 464,
        "predicted": 51,
        "evaluated": 51,
    }


@pytest.mark.parametrize("separator", [";", "\n\n", "<>"])
@pytest.mark.parametrize("start_symbol", [True, False])
def test_ngrams_know_where_documents_begin(separator: str, start_symbol: bool) -> None:
    """On documents of one to three random letters, the best n-gram is within 1 % of their entropy.

    A document of n letters has ln 3 + n ln 2 nats: its length is one of three, each letter one of two. Only from the
    start of the document can a model know that it ends after three letters.
    """
    random = np.random.default_rng(3)
    lengths = random.integers(1, 4, 8000)
    documents = ["".join(random.choice(["a", "b"], n)) + separator for n in lengths]
    corpus = text.from_text("".join(documents), separator=separator)
    data, model = {"document_separator": separator}, {"start_symbol": start_symbol}
    training, validation = corpus.split(0.1, shuffle=True)
    configured = config.build({"data": data, "model": model})
    counted = count(split_to_count(configured, corpus.vocabulary, training, validation))
    written = corpus.vocabulary.decode(validation.ids)
    letters, ends = written.count("a") + written.count("b"), written.count(separator)
    nats = ends * np.log(3) + letters * np.log(2)
    assert counted.best_loss == pytest.approx(nats / len(written), rel=0.01)


def test_a_run_without_a_directory_counts_nothing(corpus: Path, counted: list[Split]) -> None:
    """A run that records nothing pays nothing for baselines."""
    assert counts_in(run(None, corpus)) == []
    assert counted == []


@pytest.mark.parametrize("options", [OFF, {"log": {"eval_every": 0}}, {"data": {"val_fraction": 0.0}}])
def test_runs_without_baselines(tmp_path: Path, corpus: Path, counted: list[Split], options: config.Table) -> None:
    """Nothing is counted with `log.baselines = false`, or if nothing is evaluated; an old `baselines.json` goes."""
    run(tmp_path / "a", corpus)
    assert (tmp_path / "a" / "baselines.json").exists()
    counted.clear()
    assert counts_in(run(tmp_path / "a", corpus, options, overwrite=True)) == []
    assert counted == []
    assert not (tmp_path / "a" / "baselines.json").exists()


def test_training_does_not_depend_on_baselines(tmp_path: Path, corpus: Path) -> None:
    """Metrics, samples and tensors are identical with the baselines on and off."""
    run(tmp_path / "on", corpus)
    run(tmp_path / "off", corpus, OFF)
    assert metrics(tmp_path / "on") == metrics(tmp_path / "off")
    assert (tmp_path / "on" / "samples.txt").read_bytes() == (tmp_path / "off" / "samples.txt").read_bytes()
    assert checkpoint.steps(tmp_path / "on") == checkpoint.steps(tmp_path / "off")
    for step in checkpoint.steps(tmp_path / "on"):
        on, off = (checkpoint.find(tmp_path / name, str(step))[1].tensors for name in ("on", "off"))
        assert on.keys() == off.keys()
        assert all(np.array_equal(on[name], off[name]) for name in on)


def test_a_resumed_run_reads_its_baselines(tmp_path: Path, corpus: Path, counted: list[Split]) -> None:
    """They are the first event, are not counted again, and the run ends in the same files as an uninterrupted one."""
    run(tmp_path / "whole", corpus)
    run(tmp_path / "parts", corpus, stop_after=9)
    assert len(counted) == 2
    events = run(tmp_path / "parts", corpus, resume=True)
    assert isinstance(events[0], BaselinesCounted)
    assert events[0].at.step == 9
    assert counts_in(events) == [count_baselines(counted[0])]
    assert len(counted) == 2
    last = f"checkpoints/{checkpoint.path_of(tmp_path, 40).name}"
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    for name in ("baselines.json", "samples.txt", last):
        assert whole[name] == parts[name]


def damaged(whole: bytes) -> dict[str, bytes | None]:
    """Return what may be in the place of `baselines.json`, by name; None is no file."""
    return {
        "missing": None,
        "empty": b"",
        "cut": whole[:-9],
        "no text": b"\xff",
        "nested": b"[" * 100_000,
        "of another split": whole.replace(b'"counted": 464', b'"counted": 465'),
        "not finite": whole.replace(b'"1": ', b'"1": 1e999'),
    }


@pytest.mark.parametrize("damage", list(damaged(b"")))
def test_a_damaged_file_is_counted_again(tmp_path: Path, corpus: Path, counted: list[Split], damage: str) -> None:
    """After the first evaluation of the resumed process, and the file is written anew."""
    run(tmp_path / "a", corpus, stop_after=9)
    path = tmp_path / "a" / "baselines.json"
    whole = path.read_bytes()
    content = damaged(whole)[damage]
    assert content != whole
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    events = run(tmp_path / "a", corpus, resume=True)
    (place,) = [n for n, event in enumerate(events) if isinstance(event, BaselinesCounted)]
    assert isinstance(events[place - 1], Evaluated)
    assert events[place].at.step == 10
    assert len(counted) == 2
    assert path.read_bytes() == whole


def test_a_link_out_of_the_run_is_not_read(tmp_path: Path, corpus: Path, counted: list[Split]) -> None:
    """The link is replaced by a file of the run's own."""
    run(tmp_path / "a", corpus, stop_after=9)
    path = tmp_path / "a" / "baselines.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    run(tmp_path / "a", corpus, resume=True)
    assert len(counted) == 2
    assert not path.is_symlink()


def test_a_run_from_before_the_key_is_resumed(tmp_path: Path, corpus: Path) -> None:
    """A `config.toml` without `log.baselines` reads as one with the default, true."""
    run(tmp_path / "a", corpus, stop_after=9)
    path = tmp_path / "a" / "config.toml"
    content = path.read_text()
    assert content.count("baselines = true\n") == 1
    path.write_text(content.replace("baselines = true\n", ""))
    assert config.build(config.read(str(path))).log.baselines is True
    assert run(tmp_path / "a", corpus, resume=True)[-1].reason == "steps"
    assert path.read_text() == content


@pytest.mark.parametrize("resumed", [False, True])
def test_rates_do_not_include_counting(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, *, resumed: bool
) -> None:
    """On a clock that moves by a second when it is read, counting takes 1,000 seconds and changes no rate."""
    clock = [0.0]

    def read() -> float:
        clock[0] += 1.0
        return clock[0]

    def count(of: Split) -> Baselines:
        clock[0] += 1000.0
        return count_baselines(of)

    rates = []
    for name, options in (("on", {}), ("off", OFF)):
        options = config.merged(options, {"train": {"shards": 1}})
        if resumed:
            run(tmp_path / name, corpus, options, stop_after=9)
            (tmp_path / name / "baselines.json").unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(time, "perf_counter", read)
            patch.setattr(run_baselines, "count_baselines", count)
            clock[0] = 0.0
            events = run(tmp_path / name, corpus, options, resume=resumed)
        assert (clock[0] > 1000) == (name == "on")
        rates.append([event.chars_per_second for event in events if isinstance(event, Trained)])
    assert len(rates[0]) == (8 if resumed else 10)
    assert rates[0] == rates[1]


def test_steps_are_planned_for_the_time_after_counting(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --minutes the baselines are counted before the plan, once: on a clock that only counting moves, by 100 s."""
    options = {name: keys for name, keys in TINY.items() if name != "train"}
    options["train"] = {k: v for k, v in TINY["train"].items() if k != "steps"} | {"steps": 4}
    clock, planned_for = [0.0], []

    def plan(_resolved: object, _trainer: object, seconds: float) -> tuple[int, str]:
        planned_for.append(seconds)
        return 4, ""

    def count(of: Split) -> Baselines:
        clock[0] += 100.0
        return count_baselines(of)

    monkeypatch.setattr(run_baselines, "count_baselines", count)
    monkeypatch.setattr("charrnn.run.session.plan_steps", plan)
    monkeypatch.setattr("charrnn.run.request.time.monotonic", lambda: clock[0])
    events = []
    for name, table in (("on", {}), ("off", OFF)):
        clock[0] = 0.0
        request = {"files": (str(corpus),), "threads": 1, "minutes": 100.0, "began": 0.0, "out": tmp_path / name}
        events.append(list(prepare(Request(**request, preset=config.merged(options, table))).events()))
        assert clock[0] == (100.0 if name == "on" else 0.0)
    assert planned_for == [5900.0, 6000.0]
    assert counts_in(events[0]) == [count_baselines(split(fraction=0.1))]


def test_too_little_memory_to_count(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose n-grams do not fit into memory trains without baselines."""

    def count(_: Split) -> Baselines:
        raise MemoryError

    monkeypatch.setattr(run_baselines, "count_baselines", count)
    events = run(tmp_path / "r", corpus)
    assert counts_in(events) == []
    assert events[-1].reason == "steps"


def test_train_prints_the_baselines_and_the_verdict(call: Call, tmp_path: Path) -> None:
    """The baselines follow the first validation loss, or the introduction of a resumed run; a verdict ends both."""
    expected = count_baselines(split((tmp_path / "t.txt").read_text(), 0.1))
    started = call(*TRAIN, "--out=a", "--stop-after=5")[0].splitlines()
    resumed = call("train", "--resume", "--out=a")[0].splitlines()
    line = announcement(expected)
    assert [started.count(line), resumed.count(line)] == [1, 1]
    assert started[started.index(line) - 1].startswith("step  0/10  validation ")
    assert resumed[resumed.index(line) - 1] == "resuming a at step 5"
    losses = {metric["step"]: metric["val_loss"] for metric in metrics(tmp_path / "a") if "val_loss" in metric}
    for lines, ending, step in ((started, "stopped", 5), (resumed, "done", 10)):
        (end,) = [n for n, shown in enumerate(lines) if shown.startswith(f"{ending} at step {step} ")]
        assert lines[end + 1] == verdict(losses[step], expected)
