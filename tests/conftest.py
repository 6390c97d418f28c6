"""Fixtures of the whole suite."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.commands import NO_GPU, TRAIN, Call
from helpers.commands import TEXT as SHELLS
from helpers.finetuning import FRENCH
from helpers.namespaces import Case, parameters
from helpers.textbook import example
from hypothesis import settings

import charrnn
from charrnn import cli
from charrnn.config import ModelConfig
from charrnn.model import Chunk, Workspace, build
from charrnn.text import cache, sources

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes share the whole suite; a part of it that is named runs in this process."""
    if config.args_source != pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n" * 6


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that one starts, touches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def ctrl_c() -> Iterator[None]:
    """Ctrl-C is heard, here and by the processes that tests start: a shell's background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a cache of the test's own, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "charrnn"


@pytest.fixture
def home(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a cache that every text over 100 bytes goes to."""
    monkeypatch.setattr(cache, "SMALL", 100)
    monkeypatch.setattr(sources, "BLOCK", 64)
    return fresh_cache


@pytest.fixture
def text() -> str:
    """A short text with some structure, 516 characters."""
    return TEXT


@pytest.fixture
def corpus(tmp_path: Path, text: str) -> Path:
    """A text file."""
    path = tmp_path / "text.txt"
    path.write_text(text)
    return path


@pytest.fixture(params=parameters())
def case(request: pytest.FixtureRequest) -> Case:
    """Each namespace and dtype."""
    return request.param


@pytest.fixture(params=["rnn", "gru", "lstm"])
def cell(request: pytest.FixtureRequest) -> str:
    """The name of each cell."""
    return request.param


@pytest.fixture
def net(case: Case, cell: str) -> SimpleNamespace:
    """A small network of each cell with random weights on each namespace, and the same numbers on the host."""
    return problem(case, cell)


def problem(case: Case, cell: str = "rnn", *, dropout: bool = False) -> SimpleNamespace:
    """The textbook's example as a network on a namespace."""
    backend, host = case.make(), example(cell, dropout=dropout)
    (T, B), (H, V) = host.inputs.shape, host.weights["output.W_hy"].shape
    model = ModelConfig(cell=cell, hidden_size=H, num_layers=host.layers, dtype=case.dtype)
    network = build(model, V, backend)
    assert {name: weight.shape for name, weight in host.weights.items()} == dict(network.layout.shapes)
    flat = np.zeros(network.layout.size)
    for name, view in network.layout.views(flat, xp=np).items():
        view[...] = host.weights[name]
    params = network.views(backend.from_host(flat, case.dtype))
    gradient = backend.zeros((network.layout.size,), case.dtype)
    inputs, targets = (backend.indices(backend.from_host(a.reshape(-1))) for a in (host.inputs, host.targets))
    return SimpleNamespace(
        case=case,
        backend=backend,
        network=network,
        host=host,
        params=params,
        gradient=gradient,
        grads=network.views(gradient),
        chunk=Chunk(inputs, targets, backend.from_host(host.keep, case.dtype)),
        state={name: backend.from_host(array, case.dtype) for name, array in host.state.items()},
        work=Workspace(network, T, B),
        T=T,
        B=B,
        V=V,
        H=H,
    )


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays agree relative to the largest element."""
    return bool(np.max(np.abs(actual - expected)) <= tolerance * max(1e-30, np.max(np.abs(expected))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the text t.txt and the run r trained on it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "t.txt").write_text(SHELLS)
    keys = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 10}
    charrnn.train(files=[folder / "t.txt"], settings=keys | {"train.device": "cpu"}, out=folder / "r")
    return folder


@pytest.fixture
def place(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a text, and a cache of its own."""
    (tmp_path / "t.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command in this process, beside the text t.txt and without a GPU; check its status; give what it printed.

    With status 2 or 3 standard error must end with the one line of the error, after notices at most.
    """
    (tmp_path / "t.txt").write_text(SHELLS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charrnn.backend.cupy.problem", lambda _=None: NO_GPU)

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


@pytest.fixture
def source(call: Call, tmp_path: Path) -> Path:
    """A directory with the run `old` on t.txt, and the texts old.txt (known characters only) and new.txt."""
    (tmp_path / "old.txt").write_text("he sells bells\n" * 30)
    (tmp_path / "new.txt").write_text(FRENCH)
    call(*TRAIN, "--steps=40", "--out=old", "--set=model.num_layers=2", "--set=model.cell=gru")
    return tmp_path
