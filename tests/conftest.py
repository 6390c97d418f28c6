"""Fixtures of the whole suite."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.commands import NO_GPU, Call
from helpers.commands import TEXT as SHELLS
from helpers.fake_cupy import trust
from helpers.namespaces import Case, parameters
from helpers.networks import problem
from helpers.texts import FOX
from helpers.windows import reason_to_skip, write_texts_as_elsewhere
from hypothesis import settings

import charrnn
from charrnn import cli
from charrnn.backend.kernels.check import Checks
from charrnn.text import cache, sources

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be missing, as on a machine that only checks its GPU
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes share the whole suite; a part of it that is named runs in this process."""
    if config.args_source != pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, on Windows, the tests that need another system: see `helpers/windows.py`."""
    for item in items if os.name == "nt" else ():
        reason = reason_to_skip(item.nodeid.removeprefix("tests/"))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="session")
def same_texts_everywhere() -> Iterator[None]:
    """Let the tests write the same bytes on Windows as elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        if os.name == "nt":
            write_texts_as_elsewhere(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests, and the processes that they start, away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def trusted_kernels() -> Iterator[pytest.MonkeyPatch]:
    """Trust all kernels of this process: a check takes seconds, and a fake GPU is not in a child process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checks, "check", trust)
        yield patch


@pytest.fixture(autouse=True, scope="session")
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt this process and those that tests start, even if a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory, not made yet, of a new cache that keeps every text over 100 bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cache, "SMALL", 100)
    monkeypatch.setattr(sources, "BLOCK", 64)
    return tmp_path / "home" / "charrnn"


@pytest.fixture
def text() -> str:
    """Return a short text with some structure, 516 characters."""
    return FOX


@pytest.fixture
def corpus(tmp_path: Path, text: str) -> Path:
    """Return the path of a file with the text."""
    path = tmp_path / "text.txt"
    path.write_text(text)
    return path


@pytest.fixture(params=parameters())
def case(request: pytest.FixtureRequest) -> Case:
    """Return each namespace with each dtype."""
    return request.param


@pytest.fixture(params=["rnn", "gru", "lstm"])
def cell(request: pytest.FixtureRequest) -> str:
    """Return the name of each cell."""
    return request.param


@pytest.fixture
def net(case: Case, cell: str) -> SimpleNamespace:
    """Return a small network of each cell with random weights on each namespace, and the same numbers on the host."""
    return problem(case, cell)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the text t.txt and the run r trained on it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "t.txt").write_text(SHELLS)
    keys = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 10}
    charrnn.train(files=[folder / "t.txt"], settings=keys | {"train.device": "cpu"}, out=folder / "r")
    return folder


@pytest.fixture
def place(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a directory with a text and an empty cache the current one, and return it."""
    (tmp_path / "t.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Return a function that runs a command in this process, beside the text t.txt and without a GPU.

    It checks the exit status, and that standard error has one line for an error, the last, after notices at most. It
    returns standard output, and standard error or that line.
    """
    (tmp_path / "t.txt").write_text(SHELLS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charrnn.backend.cupy.problem", lambda _=None: NO_GPU)
    monkeypatch.setattr("charrnn.backend.cupy.wheels", list)

    def run(*words: object, stdin: str = "", status: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["charrnn", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = (stream.decode() for stream in capfdbinary.readouterr())
        assert (ended.value.code or 0) == status, err
        *notices, last = err.splitlines() or [""]
        assert not any(line.startswith(("charrnn: ", "Traceback")) or "Warning" in line for line in notices)
        assert last.startswith("charrnn: ") == (status in (2, 3))
        return out, last if status in (2, 3) else err

    return run
