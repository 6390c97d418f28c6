"""Baselines counted beside training, by a process that leaves nothing and is never in training's way."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXT
from helpers.processes import PATIENCE
from helpers.runs import TINY, run
from helpers.splits import expected, split

from charrnn import text
from charrnn.evaluation import process
from charrnn.evaluation.baselines import Baselines, split_of
from charrnn.evaluation.process import Counting
from charrnn.run import beside
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import BaselinesCounted

needs_scripts = pytest.mark.skipif(os.name != "posix", reason="the stand-in for the interpreter is a script")


@pytest.fixture(autouse=True)
def temporary(fresh_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and a folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is called in place of Python to count: a script that a test fills; at first it waits for ever."""
    path = tmp_path / "interpreter"
    path.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    path.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(path))
    return path


def descriptors() -> list[str]:
    """What this process has open."""
    return os.listdir("/proc/self/fd") if sys.platform == "linux" else []  # noqa: PTH208 (names alone)


def test_another_process_counts_the_same() -> None:
    """Its answer is what is counted here, document starts included; it has ended then, and its answer is kept."""
    corpus = text.from_text(TEXT)
    parted = replace(corpus, starts=np.array([0, 50, 51, 260, 480, 490]))
    of = split_of(parted, 0.2, parted.split(0.2)[1])
    assert of is not None
    assert expected(of) != expected(split())
    before = descriptors()
    with Counting(of) as counting:
        assert counting.kept() is None
        assert counting.result(PATIENCE) is None  # not begun
        counting.start()
        assert counting.result(PATIENCE) == expected(of)
        assert counting.process is not None
        assert counting.process.returncode == 0
    assert descriptors() == before
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert Counting(of).kept() == expected(of)


@needs_scripts
def test_it_is_ended_with_the_run(interpreter: Path) -> None:
    """A process that is still counting is asked without waiting, then killed and waited for; nothing stays open."""
    before = descriptors()
    with Counting(split()) as counting:
        counting.start()
        first = counting.process
        counting.start()
        assert counting.process is first
        assert counting.result() is None
        assert counting.result(0.01) is None
        assert first is not None
        assert first.poll() is None
        assert os.getpriority(os.PRIO_PROCESS, first.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + process.NICE)
    assert first.returncode == -signal.SIGKILL
    assert descriptors() == before
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert counting.kept() is None


@needs_scripts
def test_its_priority_is_lower(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ten than that of the run, whatever that is, from the start."""
    asked = []
    monkeypatch.setattr(os, "getpriority", lambda *_: 3)
    monkeypatch.setattr(os, "setpriority", lambda *words: asked.append(words))
    with Counting(split()) as counting:
        counting.start()
        assert counting.process is not None
        assert asked == [(os.PRIO_PROCESS, counting.process.pid, 13)]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no way to wait for another's child")
def test_it_ends_by_itself_if_its_parent_is_killed(tmp_path: Path, corpus: Path) -> None:
    """Nobody is there to kill it or to take its answer: it ends, and leaves no file."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from charrnn.evaluation.process import Counting; from charrnn.evaluation.baselines import split_of\n"
        "from charrnn.text import from_files\n"
        f"corpus = from_files([{str(corpus)!r}])\n"
        "counting = Counting(split_of(corpus, 0.2, corpus.split(0.2)[1]))\n"
        "counting.start()\n"
        "print(counting.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir(), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert done.returncode == -signal.SIGKILL
    try:
        child = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        pass
    else:
        assert select.select([child], [], [], PATIENCE)[0] == [child]
        os.close(child)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert not (tmp_path / "home").exists()


@needs_scripts
@pytest.mark.parametrize("script", ["exit 1", "echo what", "echo '[1.5, NaN]'", "echo '[-1.0]'", "echo '[]'", "echo 2"])
def test_an_answer_that_is_none_is_no_error(interpreter: Path, fresh_cache: Path, script: str) -> None:
    """Whatever else the process does or says, there are no baselines, now and later, and none are kept."""
    interpreter.write_text(f"#!/bin/sh\n{script}\n")
    with Counting(split()) as counting:
        counting.start()
        assert counting.result(PATIENCE) is None
        assert counting.result(PATIENCE) is None
    assert not fresh_cache.exists()


def test_a_process_that_cannot_be_started_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No interpreter, or no room for temporary files."""
    for patch in ((process.sys, "executable", None), (tempfile, "tempdir", "/nowhere/at/all")):
        monkeypatch.setattr(*patch)
        with Counting(split()) as counting:
            counting.start()
            assert counting.process is None
            assert counting.result(PATIENCE) is None


@needs_scripts
def test_a_run_waits_only_at_its_end(
    tmp_path: Path, corpus: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way it asks; done, it waits its patience out; stopped, it does not wait; the process is gone then."""
    asked, ask, made = [], Counting.result, []
    popen = subprocess.Popen

    def asking(counting: Counting, patience: float = 0.0) -> Baselines | None:
        asked.append(patience)
        return ask(counting, patience)

    def making(words: list[str], **options: object) -> object:
        started = popen(words, **options)
        made.extend([started] * ("charrnn.evaluation" in words))  # the platform module starts others
        return started

    monkeypatch.setattr(beside, "PATIENCE", 0.01)
    monkeypatch.setattr(Counting, "result", asking)
    monkeypatch.setattr(process.subprocess, "Popen", making)
    for options, last in (({"stop_after": 9}, 0.0), ({"resume": True}, 0.01)):
        asked.clear()
        events = run(tmp_path / "a", corpus, **options)
        assert not any(isinstance(event, BaselinesCounted) for event in events)
        assert (asked[-1], set(asked[:-1])) == (last, {0.0})
        assert made[-1].returncode == -signal.SIGKILL
    session = prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / "b"))
    on_the_way = session.events()
    while next(on_the_way).at.step < 12:
        pass
    assert made[-1].returncode is None
    on_the_way.close()
    assert [each.returncode for each in made] == [-signal.SIGKILL] * 3
    assert not (tmp_path / "a" / "baselines.json").exists()
