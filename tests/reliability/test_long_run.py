"""A long run needs no more memory, open files and files on the disk than a short one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import long_run
from helpers.commands import TEXT

import charrnn
from charrnn import checkpoint
from charrnn.config import LogConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="no way to measure a resident set"),
]

GROWTH = 0.01
"""The share by which the resident set may grow after the first tenth."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the text t.txt and a run r on it."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "t.txt").write_text(TEXT)
    settings = {f"{section}.{key}": value for section, keys in long_run.OPTIONS.items() for key, value in keys.items()}
    charrnn.train(files=[folder / "t.txt"], settings=settings | {"train.steps": 500}, out=folder / "r", threads=1)
    return folder


def watched(work: str, trained: Path, run: Path) -> list[dict[str, int]]:
    """Run a work of `long_run.py`, check that memory and open files do not grow, and return its measurements."""
    program = [sys.executable, long_run.__file__, work, str(trained / "t.txt"), str(run)]
    lines = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    looks = [json.loads(line) for line in lines]
    assert len(looks) >= 100
    settled = looks[10:]
    assert max(look["resident"] for look in settled) < (1 + GROWTH) * settled[0]["resident"]
    assert {look["open"] for look in settled} == {settled[0]["open"]}
    return settled


def test_a_long_run_holds_no_more(trained: Path, tmp_path: Path) -> None:
    """Over 100,000 steps with evaluations, samples and checkpoints, memory and files stay those of the first tenth."""
    looks = watched("recorded", trained, tmp_path / "r")
    names = {"config.toml", "environment.json", "baselines.json", "metrics.jsonl", "samples.txt", ".lock", ".pid"}
    assert {look["files"] for look in looks} == {len(names)}
    assert max(look["checkpoints"] for look in looks) <= LogConfig().keep + 2
    assert checkpoint.steps(tmp_path / "r")[-1] == long_run.STEPS
    sample = LogConfig().sample_length + len("--- step 100000 ---\n\n\n")
    assert max(look["samples"] for look in looks) < 10 * sample + 100  # the last 9, one to come, a line about the rest


@pytest.mark.parametrize("work", ["unrecorded", "evaluated", "sampled"])
def test_nor_does_anything_else(trained: Path, work: str) -> None:
    """The same holds for training without a directory, 900 evaluations, and a million sampled characters."""
    watched(work, trained, trained / "r")
