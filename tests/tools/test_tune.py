"""Measuring shards, threads and devices: the candidates, the turns, and what counts as better."""

from __future__ import annotations

import errno
import multiprocessing
import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.backend import Ranks, ThreadPool, process_pool
from charrnn.errors import ConfigError
from charrnn.run import resolve
from charrnn.run.request import Request
from charrnn.run.resolve import pace, start
from charrnn.tools import tune
from charrnn.tools.tune import (
    Bench,
    Candidate,
    Plan,
    Result,
    Slice,
    best_of,
    cpu_candidates,
    measure_in_turns,
    plan,
    powers_of_two,
    summarize,
    warm_up,
    write_configuration,
)
from charrnn.training.step import Trainer

TINY = {
    "model": {"hidden_size": 8},
    "train": {"seq_length": 6, "batch_size": 4, "shards": 2, "device": "cpu"},
}


def cpu(shards: int, threads: int) -> Candidate:
    """Return a candidate on the CPU."""
    return Candidate("cpu", shards, threads)


def result_of(plan: Plan, **rates: float) -> Result:
    """Return the result of one slice for each candidate; the candidates have names like `cpu_2_1`."""
    named = {f"{c.device.replace(':', '')}_{c.shards}_{c.threads}": c for c in plan.candidates}
    return summarize(plan, [Slice(named[name], rate, 0.0) for name, rate in rates.items()])


@pytest.fixture
def planned(text: str, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return a plan for two cores; the configuration has two shards."""
    monkeypatch.setattr("charrnn.backend.cores", lambda: 2)
    return plan(Request(text=text, options=TINY), 1.0)


@pytest.fixture
def with_gpu(planned: Plan) -> Plan:
    """Return the same plan with a GPU as a second device."""
    gpu = Candidate("cuda:0", 1, 1)
    backends = planned.backends | {"cuda:0": planned.backends["cpu"]}
    return replace(planned, backends=backends, candidates=(*planned.candidates, gpu))


ALL_OF_8 = {1: {1}, 2: {1, 2}, 4: {1, 2, 4}, 8: {1, 2, 4, 8}}


@pytest.mark.parametrize(
    ("cores", "streams", "configured", "expected"),
    [
        (1, 1, 1, {1: {1}}),
        (1, 3, 1, {1: {1}}),
        (1, 32, 2, {1: {1}, 2: {1}}),
        (2, 1, 1, {1: {1}}),
        (2, 3, 1, {1: {1}, 2: {1, 2}}),
        (2, 32, 2, {1: {1}, 2: {1, 2}}),
        (2, 32, 5, {1: {1}, 2: {1, 2}, 5: {1, 2}}),
        (8, 1, 1, {1: {1}}),
        (8, 3, 1, {1: {1}, 2: {1, 2}, 3: {1, 2, 3}}),
        (8, 32, 2, ALL_OF_8),
        (8, 32, 32, ALL_OF_8 | {32: {1, 2, 4, 8}}),
        (6, 32, 2, {1: {1}, 2: {1, 2}, 4: {1, 2, 4}, 6: {1, 2, 4, 6}}),
    ],
)
def test_candidates_on_the_cpu(cores: int, streams: int, configured: int, expected: dict[int, set[int]]) -> None:
    """Shards are powers of two up to the cores or streams, and as configured; threads go up to shards and cores."""
    found = cpu_candidates(cores, streams, configured)
    assert set(found) == {cpu(shards, threads) for shards, some in expected.items() for threads in some}
    assert len(found) == len(set(found))
    assert list(found) == sorted(found, key=lambda c: (c.shards, c.threads))


def test_powers_of_two_end_with_the_maximum() -> None:
    """The result holds the powers of two up to a number, and the number itself."""
    assert [powers_of_two(n) for n in (1, 2, 3, 8, 12)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 12]]


def test_plan_holds_the_current_configuration(planned: Plan, text: str) -> None:
    """The configured shards on all cores are the current candidate; the shape is the resolved one."""
    assert planned.current == cpu(2, 2)
    assert planned.candidates == (cpu(1, 1), cpu(2, 1), cpu(2, 2))
    assert planned.table == TINY
    assert planned.missing == {}  # the configuration says cpu
    short = plan(Request(text=text[:20], options=TINY), 1.0)
    assert (short.settings.train.batch_size, short.settings.train.seq_length) == (2, 6)
    assert any("train.batch_size is 2 instead of 4" in line for line in short.notices)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"^--seconds must be above 0"):
            plan(Request(text=text, options=TINY), seconds)


def test_rounds_alternate_and_end_in_time() -> None:
    """Every round measures all candidates, every second one backwards; the last round still fits into the time."""
    now, requested = 0.0, []

    def measure(candidate: Candidate, seconds: float) -> float:
        nonlocal now
        now += 1.0
        requested.append(seconds)
        return now

    three = (cpu(1, 1), cpu(2, 1), cpu(2, 2))
    found = list(measure_in_turns(three, 10.0, measure, clock=lambda: now))
    assert [each.candidate for each in found] == [*three, *reversed(three), *three]
    assert [each.rate for each in found] == [each.elapsed for each in found] == list(range(1, 10))
    assert set(requested) == {tune.LONGEST_SLICE}
    assert len(list(measure_in_turns(three, 0.001, measure, clock=lambda: now))) == 3  # at least one round
    requested.clear()
    list(measure_in_turns(three, 1.5, measure, clock=lambda: now))
    assert requested == [pytest.approx(1.5 / 15)] * 3


RATES = {cpu(1, 1): 100.0, cpu(2, 1): 100.0, cpu(2, 2): 100.0, cpu(4, 4): 100.0}


@pytest.mark.parametrize(
    ("changed", "current", "expected"),
    [
        ({}, cpu(2, 2), cpu(2, 2)),  # a tie: as configured
        ({}, cpu(4, 4), cpu(4, 4)),
        ({cpu(4, 4): 103.0}, cpu(2, 2), cpu(2, 2)),  # equal: as configured
        ({cpu(4, 4): 103.2}, cpu(2, 2), cpu(4, 4)),  # better
        ({cpu(2, 2): 120.0, cpu(4, 4): 123.0}, cpu(1, 1), cpu(2, 2)),  # equal: fewer shards
        ({cpu(2, 1): 121.0, cpu(2, 2): 123.0}, cpu(1, 1), cpu(2, 1)),  # equal: fewer threads
        ({cpu(4, 4): 200.0}, cpu(1, 1), cpu(4, 4)),
        ({cpu(2, 2): 50.0}, cpu(2, 2), cpu(1, 1)),
    ],
)
def test_best_candidate(changed: dict[Candidate, float], current: Candidate, expected: Candidate) -> None:
    """The current candidate wins within 3 % of the fastest; else, within 3 %, the fewest shards, then threads, win."""
    assert best_of(RATES | changed, current) == expected


def test_rates_are_medians_relative_to_the_current(planned: Plan) -> None:
    """One disturbed slice changes nothing; a step has B times T characters."""
    rates = {cpu(1, 1): [50, 10, 51], cpu(2, 1): [40, 42], cpu(2, 2): [100, 100, 1]}
    found = summarize(planned, [Slice(c, r, 0.0) for c, some in rates.items() for r in some])
    assert [row.steps_per_second for row in found.rows] == [50, 41, 100]
    assert [row.relative for row in found.rows] == [0.5, 0.41, 1.0]
    assert [row.chars_per_second for row in found.rows] == [50 * 24, 41 * 24, 100 * 24]
    assert [(row.shards, row.threads) for row in found.rows if row.best and row.current] == [(2, 2)]


def test_recommendation_and_changed_keys(planned: Plan, with_gpu: Plan) -> None:
    """The keys hold the device only where a GPU was measured, and no shards for a GPU."""
    gpu_is_current = replace(with_gpu, current=with_gpu.candidates[-1])
    results = [
        result_of(planned, cpu_1_1=9, cpu_2_1=9, cpu_2_2=9),
        result_of(planned, cpu_1_1=18, cpu_2_1=9, cpu_2_2=9),
        result_of(with_gpu, cpu_1_1=18, cpu_2_1=9, cpu_2_2=9, cuda0_1_1=90),
        result_of(gpu_is_current, cpu_1_1=1, cpu_2_1=1, cpu_2_2=6, cuda0_1_1=4),
        result_of(gpu_is_current, cpu_1_1=1, cpu_2_1=1, cpu_2_2=1, cuda0_1_1=1),
    ]
    as_it_is = "best: the configuration as it is"
    assert [result.recommendation for result in results] == [
        f"{as_it_is}, train.shards = 2 with --threads 2: nothing is more than 3% faster",
        f"best: train.shards = 1 with --threads 1: 2.00x {as_it_is[6:]}",
        f"best: train.device = cuda:0: 10.00x {as_it_is[6:]}",
        f"best: train.device = cpu, train.shards = 2 with --threads 2: 1.50x {as_it_is[6:]}",
        f"{as_it_is}, train.device = cuda:0: nothing is more than 3% faster",
    ]
    assert [result.changes["train"] for result in results] == [
        {"shards": 2}, {"shards": 1}, {"device": "cuda:0"}, {"shards": 2, "device": "cpu"}, {"device": "cuda:0"}
    ]  # fmt: skip


def test_slice_starts_when_every_process_is_ready(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice starts with all processes ready and the candidate's shards; an interruption ends all processes."""
    seen = []

    def pace(trainer: Trainer, seconds: float) -> float:
        assert all(worker.ready for worker in trainer.pool.workers)
        assert trainer.params["layer0.W_hh"].all()  # not from zeros, which would stay
        children = [child for child in multiprocessing.active_children() if child.daemon]
        seen.append((len(trainer.shards), trainer.thread_pool.count, len(children), seconds))
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "pace", pace)
    bench = Bench(planned)
    for candidate in planned.candidates:
        with pytest.raises(KeyboardInterrupt):
            bench(candidate, 0.25)
        assert multiprocessing.active_children() == []
    helpers = 1 if process_pool.CAN_FORK else 0
    assert seen == [(1, 1, 0, 0.25), (2, 1, 0, 0.25), (2, 2, helpers, 0.25)]


def test_processes_that_never_become_ready(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the waiting time the measurement starts without them."""
    monkeypatch.setattr(resolve, "WORKER_TIMEOUT", 3.0)
    monkeypatch.setattr(process_pool.ForkPool, "ready", property(lambda _: False))
    trainer = start(planned.settings, Bench(planned).networks["cpu"], planned.part, ThreadPool(1))
    warm_up(trainer, clock=count().__next__)
    assert trainer.done == 5
    monkeypatch.setattr(process_pool.ForkPool, "ready", property(lambda _: True))
    warm_up(trainer, clock=count().__next__)
    assert trainer.done == 7
    trainer.close()


@pytest.mark.parametrize(("seconds", "steps"), [(1.0, 16), (1.5, 24), (0.0, 1)])
def test_the_pace_is_measured_for_its_time(seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes 1/16 s, so the rate is 16 steps a second. As many steps are measured as the time allows."""
    done = list[float]()
    trainer: Any = SimpleNamespace(step=lambda: done.append(1 / 16), drain=lambda: None, ranks=Ranks())
    monkeypatch.setattr("charrnn.run.resolve.time.perf_counter", lambda: sum(done))
    assert pace(trainer, seconds) == 16
    assert len(done) == steps


def test_failed_write_is_a_configuration_error(planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk raises `ConfigError`, leaves the old file as it was, and leaves no other file."""
    path = tmp_path / "mine.toml"
    path.write_text("# mine\n")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"^cannot write .*mine\.toml: No space left on device$"):
        write_configuration(path, result_of(planned, cpu_1_1=9, cpu_2_1=9, cpu_2_2=9), overwrite=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["# mine\n"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_overwritten_file_keeps_its_mode(planned: Plan, tmp_path: Path) -> None:
    """A private configuration stays private."""
    (tmp_path / "private.toml").touch(0o600)
    result = result_of(planned, cpu_1_1=9, cpu_2_1=9, cpu_2_2=9)
    write_configuration(tmp_path / "private.toml", result, overwrite=True)
    assert (tmp_path / "private.toml").stat().st_mode & 0o777 == 0o600


def test_file_that_appears_while_measuring_is_kept(planned: Plan, tmp_path: Path) -> None:
    """A file that another program writes after the first check is not replaced."""
    result = result_of(planned, cpu_1_1=9, cpu_2_1=9, cpu_2_2=9)
    (tmp_path / "new.toml").write_text("# new\n")
    with pytest.raises(ConfigError, match=r"new\.toml already exists: add --overwrite"):
        write_configuration(tmp_path / "new.toml", result, overwrite=False)
    assert (tmp_path / "new.toml").read_text() == "# new\n"
