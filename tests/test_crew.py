"""The crew: processes that share the parts of a step, and whatever can happen to them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from charrnn import config, text
from charrnn.backend import Crew, Workers
from charrnn.backend import crew as crews
from charrnn.backend.crew import shared_zeros
from charrnn.backend.numpy_backend import NumpyBackend
from charrnn.model import build
from charrnn.training import Request, prepare
from charrnn.training.resolve import start
from charrnn.training.step import Trainer

PATIENCE = 60
"""Seconds after which a helper that does not answer is a failure; none is ever waited for so long."""

pytestmark = pytest.mark.skipif(not crews.CAN_FORK, reason="no helpers on this system")


@pytest.fixture
def make() -> Iterator[Callable[..., Crew]]:
    """Makes crews whose helpers are ready, and ends them."""
    made: list[Crew] = []

    def ready(function: crews.Part, parts: int, count: int) -> Crew:
        made.append(Crew(function, parts, Workers(count)))
        made[-1].helpers = made[-1].start()
        assert all(helper.line.pipe.poll(PATIENCE) for helper in made[-1].helpers)
        return made[-1]

    yield ready
    for crew in made:
        crew.close()
        crew.workers.close()


def test_parts_are_done_by_as_many_processes(make: Callable[..., Crew]) -> None:
    """Five parts on three workers: every part is done once an order, two helpers and this process take turns."""
    done, who = shared_zeros((5,), "float64"), shared_zeros((5,), "int64")

    def function(part: int, order: int) -> None:
        done[part] += 10.0**order
        who[part] = os.getpid()

    crew = make(function, 5, 3)
    for order in range(3):
        crew.run(order)
    assert done.tolist() == [111.0] * 5
    assert who[0] == who[3] == os.getpid()
    assert who[1] == who[4] != who[2]
    assert len(set(who.tolist())) == 3


def test_nobody_waits_for_helpers_that_are_not_ready(
    make: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order is done here while a helper is not ready, and one worker has no helpers."""
    who = shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        who[part] = os.getpid()

    for count in (1, 2):
        crew = make(function, 2, count)
        assert len(crew.helpers or ()) == count - 1
        for helper in crew.helpers or ():
            monkeypatch.setattr(helper.line.pipe, "poll", lambda: False)
        crew.run(0)
        assert who.tolist() == [os.getpid()] * 2
        assert crew.ready == (count == 1)


@pytest.mark.parametrize("end", [lambda: os._exit(1), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_what_a_helper_fails_to_do_is_done_here(
    make: Callable[..., Crew], end: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    """A helper that exits, is killed or raises in the middle of a part loses nothing, and is not asked again."""
    here, done = os.getpid(), shared_zeros((3, 2), "int64")

    def function(part: int, order: int) -> None:
        if os.getpid() != here and order == 1:
            end()
        done[order, part] = os.getpid()

    crew = make(function, 2, 2)
    for order in range(3):
        crew.run(order)
    assert done[0, 1] not in (0, here)
    assert done[1:].tolist() == [[here, here]] * 2
    assert capfd.readouterr().err == ""


def test_a_helper_that_never_becomes_ready_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends before it has said anything is noticed, given up, and its parts are done here."""
    monkeypatch.setattr(crews, "serve", lambda *_: os._exit(1))
    who = shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        who[part] = os.getpid()

    crew = Crew(function, 2, Workers(2))
    assert not crew.ready
    crew.helpers = crew.start()
    assert crew.helpers[0].line.pipe.poll(PATIENCE)  # its end
    for order in range(2):
        crew.run(order)
        assert who.tolist() == [os.getpid()] * 2
        assert crew.helpers[0].lost
        assert crew.ready
        assert not crew.helpers[0].process.is_alive()
    crew.workers.close()


def test_a_helper_holds_nothing_and_leaves_signals_to_its_parent(make: Callable[..., Crew], tmp_path: Path) -> None:
    """No file that was open here is open there, and Ctrl-C, which reaches every process, does not end it."""
    held, who = shared_zeros((2,), "int64"), shared_zeros((2,), "int64")

    def function(part: int, order: int) -> None:
        held[part] = len([fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2])  # noqa: PTH208
        who[part] = os.getpid()

    with (tmp_path / "lock").open("w"):
        crew = make(function, 2, 2)
        crew.run(0)
        os.kill(int(who[1]), signal.SIGINT)
        os.kill(int(who[1]), signal.SIGHUP)
        crew.run(1)
        assert held[1] == 2  # its pipe, and the list that it is reading
        assert who[1] != os.getpid()


def test_helpers_end_with_their_parent_however_it_ends() -> None:
    """After SIGKILL nobody holds the standard output any more: it ends."""
    program = """
import os, signal
from charrnn.backend import Crew, Workers
crew = Crew(lambda part, order: None, 4, Workers(4))
crew.run(0)
assert all(helper.ready or helper.line.pipe.poll(60) for helper in crew.helpers)
print(len(crew.helpers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGKILL, "3\n", "")


@pytest.mark.parametrize("system", ["refuses", "cannot"])
def test_without_helpers_threads_do_the_parts(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """Where the system refuses to fork, or has no such thing, threads of this process do the parts."""

    def refuse(*args: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(crews, "Helper", refuse)
    monkeypatch.setattr(crews, "CAN_FORK", system == "refuses")
    done = np.zeros(3)
    crew = Crew(lambda part, order: done.__setitem__(part, order), 3, Workers(2))
    crew.run(7)
    crew.workers.close()
    assert done.tolist() == [7, 7, 7]


def test_training_with_helpers_has_the_same_bits() -> None:
    """Parameters, states and losses are those of one process, also when a helper is killed on the way."""
    settings = config.build(
        {"model": {"hidden_size": 8}, "train": {"batch_size": 6, "seq_length": 5, "shards": 3, "seed": 1}}
    )
    corpus = text.from_text("the quick brown fox jumps over the lazy dog; " * 20)

    def trainer(threads: int) -> Trainer:
        network = build(settings.model, len(corpus.vocabulary), NumpyBackend())
        return start(settings, network, corpus.part(0, len(corpus.ids)), Workers(threads))

    alone, crowd = trainer(1), trainer(3)
    for step in range(30):
        alone.step()
        crowd.step()
        assert crowd.crew.helpers is not None
        if step == 0:
            assert all(helper.ready or helper.line.pipe.poll(PATIENCE) for helper in crowd.crew.helpers)
        if step == 1:
            assert [helper.ready for helper in crowd.crew.helpers] == [True, True]
        if step == 20:
            crowd.crew.helpers[0].process.kill()
    assert [helper.lost for helper in crowd.crew.helpers or ()] == [True, False]
    crowd.close()
    assert np.array_equal(alone.vector, crowd.vector)
    assert np.array_equal(alone.state()["hidden"], crowd.state()["hidden"])
    assert alone.drain() == crowd.drain()


def test_planning_leaves_no_helper_behind() -> None:
    """The trainer by which `--minutes` measures the rate is thrown away, with its helpers."""
    options = {"train": {"batch_size": 4, "seq_length": 5, "shards": 2}, "model": {"hidden_size": 4}}
    session = prepare(Request(text="abcdef " * 50, options=options, threads=2, minutes=0.02))
    assert multiprocessing.active_children() == []
    session.loop.trainer.close()
