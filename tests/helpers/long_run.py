"""Do something small very often, and print after each hundredth what the process holds.

python long_run.py WORK TEXT RUN        # a key of `WORKS`, a text, a run directory to train into or that was trained
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import charrnn
from charrnn import config
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import Evaluated

STEPS = 100_000
OPTIONS = {
    "model": {"hidden_size": 4, "dropout": 0.0},
    "train": {"batch_size": 1, "seq_length": 2, "steps": STEPS, "device": "cpu"},
    "optimizer": {"name": "adagrad"},
    "log": {
        "every": 500,
        "eval_every": STEPS // 100,
        "sample_every": 1000,
        "checkpoint_every": 1000,
        "keep_samples": 9,
    },
}


def recorded(text: Path, run: Path) -> Iterator[object]:
    """Train into a run directory, with logs, evaluations, samples and checkpoints on the way."""
    request = Request(files=(str(text),), out=run, options=OPTIONS, threads=1)
    return (event for event in prepare(request).events() if isinstance(event, Evaluated))


def unrecorded(text: Path, run: Path) -> Iterator[object]:
    """Train without a run directory, a fifth as long."""
    fewer = {"train": {"steps": STEPS // 5}, "log": {"eval_every": STEPS // 500, "every": 0}}
    request = Request(text=text.read_text(), options=config.merged(OPTIONS, fewer), threads=1)
    return (event for event in prepare(request).events() if isinstance(event, Evaluated))


def evaluated(text: Path, run: Path) -> Iterator[object]:
    """Evaluate 300 times under each protocol."""
    model, words = charrnn.load(run, device="cpu"), text.read_text()
    for _ in range(100):
        for _ in range(3):
            model.evaluate(words)
            model.evaluate(words, window=64)
            model.evaluate(words[:200], dynamic=True)
        yield


def sampled(text: Path, run: Path) -> Iterator[object]:
    """Write a million characters, in 64 streams."""
    made, each = 0, 10**6 // 64 // 100
    for block in charrnn.load(run, device="cpu").sample_many(count=64, length=each * 100, seed=1):
        made += len(block[0])
        if made >= each:
            made -= each
            yield


WORKS: dict[str, Callable[[Path, Path], Iterator[object]]] = {
    work.__name__: work for work in (recorded, unrecorded, evaluated, sampled)
}


def held(run: Path) -> dict[str, int]:
    """Return resident bytes, open files, files and checkpoints in the run directory, and bytes of samples."""
    rollup = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return {
        "resident": int(rollup["Rss"].split()[0]) * 1024,
        "open": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (names alone)
        "files": sum(path.is_file() for path in run.glob("*")),
        "checkpoints": sum(1 for _ in run.glob("checkpoints/*")),
        "samples": sum(path.stat().st_size for path in run.glob("samples.txt")),
    }


def main(work: str, text: str, run: str) -> None:
    """Print a line of JSON for each hundredth.

    Python's table of interned strings grows once, by half a megabyte, when some ten thousand names of files have come
    and gone; here it does so before anything is measured.
    """
    for number in range(100_000):
        sys.intern(f"name {number}")
    for _ in WORKS[work](Path(text), Path(run)):
        print(json.dumps(held(Path(run))))


if __name__ == "__main__":
    main(*sys.argv[1:])
