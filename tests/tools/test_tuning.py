"""Which shards, threads and device are fastest: what is compared, in which turns, and what counts as better."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from itertools import count

import pytest

from charrnn.backend import ThreadPool, process_pool
from charrnn.errors import ConfigError
from charrnn.run import resolve
from charrnn.run.request import Request
from charrnn.run.resolve import start
from charrnn.tools import tune
from charrnn.tools.tune import Bench, Candidate, Plan, Slice, doubling, on_cpu, plan, slices, warm_up
from charrnn.tools.verdict import Verdict, best, verdict
from charrnn.training.step import Trainer

TINY = {
    "model": {"hidden_size": 8},
    "train": {"seq_length": 6, "batch_size": 4, "shards": 2, "device": "cpu"},
}


def cpu(shards: int, threads: int) -> Candidate:
    """A candidate on the CPU."""
    return Candidate("cpu", shards, threads)


def judged(plan: Plan, **rates: float) -> Verdict:
    """The verdict of one slice for each candidate, by names like `cpu_2_1`."""
    named = {f"{c.device.replace(':', '')}_{c.shards}_{c.threads}": c for c in plan.candidates}
    return verdict(plan, [Slice(named[name], rate, 0.0) for name, rate in rates.items()])


@pytest.fixture
def planned(text: str, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan for two cores, the configuration with two shards."""
    monkeypatch.setattr("charrnn.backend.cores", lambda: 2)
    return plan(Request(text=text, options=TINY), 1.0)


@pytest.fixture
def with_gpu(planned: Plan) -> Plan:
    """The same, as if a GPU were there too."""
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
def test_what_is_compared_on_the_cpu(cores: int, streams: int, configured: int, expected: dict[int, set[int]]) -> None:
    """Shards by powers of two up to the cores or streams and as configured, threads up to the shards and cores."""
    found = on_cpu(cores, streams, configured)
    assert set(found) == {cpu(shards, threads) for shards, some in expected.items() for threads in some}
    assert len(found) == len(set(found))
    assert list(found) == sorted(found, key=lambda c: (c.shards, c.threads))


def test_doubling_ends_with_the_most() -> None:
    """Powers of two, and the number itself."""
    assert [doubling(n) for n in (1, 2, 3, 8, 12)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 12]]


def test_plan_knows_the_configuration_as_it_is(planned: Plan, text: str) -> None:
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


def test_rounds_take_turns_and_end_in_time() -> None:
    """Every round measures all, every other one backwards; none is begun that would not end within the time."""
    now, asked = 0.0, []

    def measure(candidate: Candidate, seconds: float) -> float:
        nonlocal now
        now += 1.0
        asked.append(seconds)
        return now

    three = (cpu(1, 1), cpu(2, 1), cpu(2, 2))
    found = list(slices(three, 10.0, measure, clock=lambda: now))
    assert [each.candidate for each in found] == [*three, *reversed(three), *three]
    assert [each.rate for each in found] == [each.elapsed for each in found] == list(range(1, 10))
    assert set(asked) == {tune.LONGEST}
    assert len(list(slices(three, 0.001, measure, clock=lambda: now))) == 3  # one round, whatever it takes
    asked.clear()
    list(slices(three, 1.5, measure, clock=lambda: now))
    assert asked == [pytest.approx(1.5 / 15)] * 3


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
def test_what_is_best(changed: dict[Candidate, float], current: Candidate, expected: Candidate) -> None:
    """The fastest, unless the current one is within 3 %; else, within 3 %, the fewest shards, then threads."""
    assert best(RATES | changed, current) == expected


def test_rates_are_medians_relative_to_the_current(planned: Plan) -> None:
    """A slice that was disturbed does not count; characters are B times T a step."""
    rates = {cpu(1, 1): [50, 10, 51], cpu(2, 1): [40, 42], cpu(2, 2): [100, 100, 1]}
    found = verdict(planned, [Slice(c, r, 0.0) for c, some in rates.items() for r in some])
    assert [row.steps_per_second for row in found.rows] == [50, 41, 100]
    assert [row.relative for row in found.rows] == [0.5, 0.41, 1.0]
    assert [row.chars_per_second for row in found.rows] == [50 * 24, 41 * 24, 100 * 24]
    assert [(row.shards, row.threads) for row in found.rows if row.best and row.current] == [(2, 2)]


def test_words_say_what_to_do(planned: Plan, with_gpu: Plan) -> None:
    """The winner in words and as keys; the device only where a GPU was measured, its shards never."""
    as_it_is = judged(planned, cpu_1_1=9, cpu_2_1=9, cpu_2_2=9)
    assert as_it_is.words == (
        "best: the configuration as it is, train.shards = 2 with --threads 2: nothing is more than 3% faster"
    )
    assert as_it_is.changes == {"train": {"shards": 2}}
    one = judged(planned, cpu_1_1=18, cpu_2_1=9, cpu_2_2=9)
    assert one.words == "best: train.shards = 1 with --threads 1: 2.00x the configuration as it is"
    assert one.changes == {"train": {"shards": 1}}
    gpu = judged(with_gpu, cpu_1_1=18, cpu_2_1=9, cpu_2_2=9, cuda0_1_1=90)
    assert gpu.words == "best: train.device = cuda:0: 10.00x the configuration as it is"
    assert gpu.changes == {"train": {"device": "cuda:0"}}
    back = judged(replace(with_gpu, current=with_gpu.candidates[-1]), cpu_1_1=1, cpu_2_1=1, cpu_2_2=6, cuda0_1_1=4)
    assert back.words == "best: train.device = cpu, train.shards = 2 with --threads 2: 1.50x the configuration as it is"
    assert back.changes == {"train": {"shards": 2, "device": "cpu"}}
    kept = judged(replace(with_gpu, current=with_gpu.candidates[-1]), cpu_1_1=1, cpu_2_1=1, cpu_2_2=1, cuda0_1_1=1)
    assert kept.words == "best: the configuration as it is, train.device = cuda:0: nothing is more than 3% faster"


def test_helpers_take_part_before_time_counts(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a slice begins every helper works; the trainer has the candidate's shards; an interruption ends all."""
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


def test_helpers_that_are_never_ready_are_not_waited_for(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some patience the threads are measured, as they would train."""
    monkeypatch.setattr(resolve, "PATIENCE", 3.0)
    monkeypatch.setattr(process_pool.ForkPool, "ready", property(lambda _: False))
    trainer = start(planned.settings, Bench(planned).networks["cpu"], planned.part, ThreadPool(1))
    warm_up(trainer, clock=count().__next__)
    assert trainer.done == 5
    monkeypatch.setattr(process_pool.ForkPool, "ready", property(lambda _: True))
    warm_up(trainer, clock=count().__next__)
    assert trainer.done == 7
    trainer.close()
