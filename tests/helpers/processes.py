"""Run `charrnn` in processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds after which a process that does not answer is a failure."""

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals, forks, and open files that can be removed")

KEYS = {
    **{"model.hidden_size": 6, "train.batch_size": 4, "train.seq_length": 6, "train.shards": 2, "train.device": "cpu"},
    **{"model.cell": "lstm", "model.dropout": 0.2, "model.recurrent_dropout": 0.2, "optimizer.average": 0.9},
    **{"log.keep": 1, "log.sample_length": 9, "log.keep_samples": 3, "optimizer.learning_rate": 0.05},
}


def words(**keys: Any) -> list[str]:
    """Return the words of a command that trains on the text t.txt."""
    table = KEYS | {name.replace("_", ".", 1): value for name, value in keys.items()}
    return ["train", "t.txt", *(f"--set={key}={json.dumps(value)}" for key, value in table.items())]


def started(*command: str) -> subprocess.Popen[str]:
    """Start `charrnn` with a pipe for its output."""
    call = [sys.executable, "-m", "charrnn", *command]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(*command: str) -> None:
    """Run `charrnn` to its end."""
    subprocess.run([sys.executable, "-m", "charrnn", *command], check=True, capture_output=True)


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process at the end of the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read the output of a process until a line has `word` in it."""
    assert process.stdout is not None
    assert any(word in line for line in process.stdout), "it ended before"
