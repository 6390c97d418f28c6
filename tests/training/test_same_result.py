"""The same command with the same seed writes the same bytes on any threads, cores and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from helpers.commands import TEXT
from helpers.runs import metrics

import charrnn
from charrnn import checkpoint, config
from charrnn.run.request import Request
from charrnn.run.session import prepare

SETTINGS = {
    **{"model.cell": "lstm", "model.hidden_size": 72, "model.num_layers": 2},
    **{"model.dropout": 0.2, "model.input_dropout": 0.1, "model.recurrent_dropout": 0.2},
    **{"train.batch_size": 6, "train.seq_length": 20, "train.steps": 30, "train.shards": 3, "train.seed": 4},
    **{"train.device": "cpu", "optimizer.average": 0.9, "optimizer.weight_decay": 0.01},
    **{"log.every": 5, "log.eval_every": 10, "log.sample_every": 10, "log.checkpoint_every": 10, "log.keep": 9},
}
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LINUX = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot choose cores")


NARROW = """
import os, runpy
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
runpy.run_module("charrnn", run_name="__main__", alter_sys=True)
"""


def charrnn_in(folder: Path, *words: str | Path, one_core: bool = False, **environment: str) -> bytes:
    """Run a command in a process, and return what it writes to standard output."""
    program = [sys.executable, *(("-c", NARROW) if one_core else ("-m", "charrnn")), *map(str, words)]
    environment = os.environ | environment
    return subprocess.run(program, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE).stdout


def train(text: Path, folder: Path, *words: str, one_core: bool = False, **environment: str) -> dict[str, object]:
    """Train in a process with the current directory `folder`, and return the files of the run `r`."""
    settings = ["--config=quickstart", *(f"--set={key}={value}" for key, value in SETTINGS.items())]
    folder.mkdir(parents=True)
    charrnn_in(folder, "train", text, *settings, *words, "--out=r", one_core=one_core, **environment)
    return files_of(folder / "r")


def files_of(run: Path) -> dict[str, object]:
    """Return the files of a run directory by name, without the baselines; the metrics are without times."""
    files = [*(run / "checkpoints").iterdir(), run / "config.toml", run / "samples.txt"]
    return {path.name: path.read_bytes() for path in files} | {"metrics": metrics(run)}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a text file."""
    path = tmp_path_factory.mktemp("same") / "t.txt"
    path.write_text(TEXT + "Où ?\n", "utf-8")
    return path


@pytest.fixture(scope="module")
def first(text: Path) -> dict[str, object]:
    """Return the files of the run with which all others are compared."""
    return train(text, text.parent / "first")


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--threads=1"], {}),
        (["--threads=2"], {"PYTHONHASHSEED": "1"}),
        pytest.param(["--threads=3"], {"PYTHONHASHSEED": "2"}, marks=pytest.mark.slow),
        pytest.param([], dict.fromkeys(BLAS_THREADS, "1"), marks=pytest.mark.slow),
        ([], dict.fromkeys(BLAS_THREADS, "4")),
        ([], {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONOPTIMIZE": "2", "PYTHONUNBUFFERED": "1", "COLUMNS": "20"}),
        pytest.param([], {"one_core": True}, marks=LINUX),
    ],
    ids=["one-thread", "two-threads", "three-threads", "blas-1", "blas-4", "elsewhere", "one-core"],
)
def test_training_writes_the_same_bytes(
    tmp_path: Path, text: Path, first: dict[str, object], words: list[str], environment: dict[str, str]
) -> None:
    """Another process, directory, environment or number of threads and cores writes the same bytes in every file."""
    assert len(first) == 7
    assert train(text, tmp_path / "a" / "b", *words, **environment) == first


def test_the_api_writes_the_same_bytes(tmp_path: Path, text: Path, first: dict[str, object]) -> None:
    """`charrnn.train` writes the same bytes, in a process that did other work before."""
    charrnn.train(files=[text], settings=SETTINGS, out=tmp_path / "r", threads=2)
    assert files_of(tmp_path / "r") == first


def test_the_first_weights_come_from_one_thread(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS runs on one thread while it decomposes initial weights, because its bits may depend on the threads."""
    qr, counts = np.linalg.qr, []

    def counting_qr(matrix: np.ndarray) -> object:
        counts.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas")
        return qr(matrix)

    monkeypatch.setattr(np.linalg, "qr", counting_qr)
    with threadpoolctl.threadpool_limits(3, user_api="blas"):  # more than one, even on a machine with one core
        prepare(Request(files=(str(text),), options={"train": {"device": "cpu"}}, threads=1)).loop.trainer.close()
    assert set(counts) == {1}


@pytest.mark.parametrize(
    "off", [["eval_every"], ["sample_every"], ["every", "eval_every", "sample_every", "checkpoint_every"]]
)
def test_evaluations_and_samples_do_not_change_training(
    tmp_path: Path, text: Path, first: dict[str, object], off: list[str]
) -> None:
    """Without evaluations, samples or logs a run has the same tensors, positions in the text and losses."""
    charrnn.train(files=[text], settings=SETTINGS | {f"log.{key}": 0 for key in off}, out=tmp_path / "r", threads=1)
    runs = text.parent / "first" / "r", tmp_path / "r"
    assert checkpoint.steps(runs[1])[-1] == 30
    for step in checkpoint.steps(runs[1]):
        observed, silent = (checkpoint.load(checkpoint.path_of(run, step)) for run in runs)
        assert checkpoint.digest_of(observed.tensors) == checkpoint.digest_of(silent.tensors)
        assert (observed.meta.chunk, observed.meta.smooth_loss) == (silent.meta.chunk, silent.meta.smooth_loss)


def test_the_configuration_of_a_time_budget_repeats_the_run(tmp_path: Path, text: Path) -> None:
    """The configuration that a run with a time budget wrote gives the bytes of that run, every time."""
    quiet = {"log.eval_every": 0, "log.sample_every": 0, "log.keep": 1000}
    settings = {key: value for key, value in (SETTINGS | quiet).items() if key != "train.steps"}
    charrnn.train(files=[text], settings=settings, out=tmp_path / "minutes", minutes=0.02)
    for name, threads in (("one", 1), ("other", 2)):
        table = config.read(str(tmp_path / "minutes" / "config.toml"))
        list(prepare(Request(preset=table, out=tmp_path / name, threads=threads)).events())
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")
    before, again = (
        {p.name: p.read_bytes() for p in (tmp_path / n / "checkpoints").iterdir()} for n in ("minutes", "one")
    )
    common = before.keys() & again.keys()
    assert len(common) >= 1
    assert all(before[name] == again[name] for name in common)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        {"PYTHONHASHSEED": "2", "OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4", "LC_ALL": "C"},
        pytest.param({"one_core": True}, marks=LINUX),
    ],
    ids=["blas-1", "blas-4", "one-core"],
)
def test_sampling_writes_the_same_bytes(
    tmp_path: Path, text: Path, first: dict[str, object], environment: dict[str, str]
) -> None:
    """A command in another process and environment writes the texts that the API samples, in UTF-8, several groups."""
    run, words = (
        text.parent / "first" / "r",
        ("--device=cpu", "--seed=9", "--count=66", "--length=40", "--prompt=she ", "-0"),
    )
    output = charrnn_in(tmp_path, "sample", run, *words, **environment)
    batches = [(64, 0), (2, 1)]
    model = charrnn.load(run, device="cpu")
    parts = [model.sample_many("she ", count=n, batch=batch, length=40, seed=9) for n, batch in batches]
    texts = ["".join(each) for batch in parts for each in zip(*batch, strict=True)]
    assert output == "\0".join("she " + each for each in texts).encode()
