"""The logs of a run directory, `metrics.jsonl` and `samples.txt`: cut to a checkpoint, kept short, read.

`samples.txt` holds the last samples of a run. A line at its top says how many bytes of earlier ones are gone, so that a
place in all samples, which is what a checkpoint remembers, can be found in it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from charrnn import checkpoint, files
from charrnn.checkpoint import Meta
from charrnn.errors import CheckpointError

METRICS, SAMPLES = "metrics.jsonl", "samples.txt"
GONE = re.compile(rb"\((\d{1,18}) bytes of earlier samples are gone: log\.keep_samples\)\n\n")
NUMBER = {"train": "chars_per_second", "eval": "val_loss"}
"""The number that a line of each kind must have to count as a metric."""
ENTRY = re.compile(rb"^--- step \d+ ---$", re.MULTILINE)


def content(run: Path, name: str) -> bytes:
    """What a log holds so far; nothing where there is none. Raises `CheckpointError` for a link out of the run."""
    path = run / name
    if files.is_outside(path, run):
        raise CheckpointError(f"{path} leads out of its run directory, so it is not read: remove the link")
    return path.read_bytes() if path.is_file() else b""


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line of metrics; None for one that is torn or no metric."""
    try:
        metric = json.loads(line)
        numbers = ("step", "seconds", NUMBER.get(metric["event"], "step"))
        whole = isinstance(metric["event"], str) and all(number(metric[name]) for name in numbers)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return metric if whole else None


def number(value: object) -> bool:
    """Whether this is a number that a metric may be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18


def metrics(run: Path) -> list[dict[str, Any]]:
    """The objects of `metrics.jsonl` so far, without a line that is torn or no metric; none where there is no file."""
    return [metric for line in content(run, METRICS).splitlines() if (metric := parsed(line)) is not None]


def seconds(run: Path) -> float:
    """The time that a run has taken so far: that of its last whole metric."""
    return float(next((metric["seconds"] for metric in reversed(metrics(run))), 0.0))


def cut(run: Path, resumed: Meta | None) -> None:
    """Cut the logs to the checkpoint that is resumed (None: to nothing), torn lines included."""
    step, size = (resumed.step, resumed.samples_size) if resumed else (-1, 0)
    lines = content(run, METRICS).splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and (parsed(line) or {"step": step + 1})["step"] <= step]
    checkpoint.write_atomically(run / METRICS, b"".join(kept))
    gone, samples = parts(content(run, SAMPLES))
    put_samples(run, min(gone, size), samples[: max(0, size - gone)])


def prune(run: Path, keep: int) -> None:
    """Leave only the last `keep` samples (0: all)."""
    if not keep:
        return
    gone, samples = parts(content(run, SAMPLES))
    starts = [entry.start() for entry in ENTRY.finditer(samples)]
    if len(starts) > keep:
        put_samples(run, gone + starts[-keep], samples[starts[-keep] :])


def parts(samples: bytes) -> tuple[int, bytes]:
    """The bytes that are gone from a `samples.txt`, and those that follow."""
    top = GONE.match(samples)
    return (int(top[1]), samples[top.end() :]) if top else (0, samples)


def put_samples(run: Path, gone: int, samples: bytes) -> None:
    """Make `samples.txt` of these."""
    top = b"(%d bytes of earlier samples are gone: log.keep_samples)\n\n" % gone if gone else b""
    checkpoint.write_atomically(run / SAMPLES, top, samples)
