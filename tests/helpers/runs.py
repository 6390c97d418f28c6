"""Tiny runs in this process, and the files that they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charrnn import checkpoint, config
from charrnn.run.request import Request
from charrnn.run.session import prepare

TINY = {
    "model": {"hidden_size": 8, "num_layers": 2},
    "train": {"batch_size": 4, "seq_length": 6, "steps": 40, "shards": 2, "device": "cpu"},
    "optimizer": {"name": "adagrad", "learning_rate": 0.05, "clip_norm": 3.0, "schedule": "constant", "warmup": 0.0},
    "log": {"every": 4, "eval_every": 10, "sample_every": 10, "checkpoint_every": 8, "sample_length": 30, "keep": 50},
}
FEW = {"train": {"steps": 6, "shards": 1}, "log": {"every": 1, "eval_every": 3, "sample_every": 2, "keep": 2}}
OFTEN = {"log": {"checkpoint_every": 2, "keep_samples": 2}}


def run(out: Path | None, corpus: Path, *tables: dict, **request: object) -> list[object]:
    """Train a tiny run on one thread, and return its events."""
    request = {"files": (str(corpus),), "out": out, "options": config.merged(TINY, *tables), "threads": 1} | request
    return list(prepare(Request(**request)).events())


def metrics(out: Path) -> list[dict]:
    """Return the metrics of a run without times and rates."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "chars_per_second")} for line in lines]


def newest_checkpoint(out: Path) -> bytes:
    """Return the bytes of the newest checkpoint."""
    return checkpoint.path_of(out, checkpoint.steps(out)[-1]).read_bytes()


def contents(run: Path) -> dict[str, Any]:
    """Return every file of a run by name but `environment.json`; the metrics as complete lines without times."""
    files: dict[str, Any] = {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}
    files.pop("environment.json", None)  # it describes the last process
    lines = [json.loads(line) for line in files["metrics.jsonl"].splitlines(keepends=True) if line.endswith(b"\n")]
    files["metrics.jsonl"] = [
        {k: v for k, v in line.items() if k not in ("seconds", "chars_per_second")} for line in lines
    ]
    return files


def tree(folder: Path) -> dict[Path, bytes]:
    """Return the bytes of every file below `folder` by path."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
