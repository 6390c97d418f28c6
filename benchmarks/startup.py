"""The row "start-up": the time of whole commands, in a temporary directory with its own cache."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import corpus

ROUNDS = 5
QUIET = [f"--set=log.{name}_every=0" for name in ("eval", "sample", "checkpoint")]
COMMANDS = {
    "charrnn --help": ["--help"],
    "train, 1 MB, 1 step": ["train", "text.txt", "--steps=1", "--overwrite", "--out=run", *QUIET],
}


def measure() -> list[dict[str, object]]:
    """Run the commands in turns, and return the median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        corpus.write_text(Path(folder, "text.txt"), 10**6, corpus.ASCII)
        for _ in range(ROUNDS):
            for name, arguments in COMMANDS.items():
                began = time.perf_counter()
                command = [sys.executable, "-m", "charrnn", *arguments]
                environment = os.environ | {"XDG_CACHE_HOME": folder}
                subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return [{"row": "start-up", "system": name, "seconds": value} for name, value in medians.items()]


def show(line: dict[str, object]) -> None:
    """Print one line."""
    print(f"{line['row']:34} {line['system']:18} {line['seconds']:.2f} s", flush=True)
