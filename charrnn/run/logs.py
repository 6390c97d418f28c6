"""The logs of a run directory, `metrics.jsonl` and `samples.txt`: cut to a checkpoint, kept short, read.

`samples.txt` holds the last samples of a run. A line at its top says how many bytes of earlier samples were removed. So
`samples_size` of a checkpoint, which counts all bytes since the start, can be converted to a position in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn import checkpoint, files
from charrnn.checkpoint import Meta
from charrnn.errors import CheckpointError
from charrnn.evaluation.verdict import Losses
from charrnn.run_files import METRICS, SAMPLES

REMOVED = re.compile(rb"\((\d{1,18}) bytes of earlier samples are gone: log\.keep_samples\)\n\n")
HEADER = re.compile(rb"^--- step (\d{1,18}) ---$", re.MULTILINE)
"""The first line of a sample. `Sampled.entry` changes lines of a text that look like it."""
QUOTED = re.compile(r"^>(>*--- step [0-9]+ ---)$", re.MULTILINE)
"""A line that `Sampled.entry` changed."""
REQUIRED = {"train": "chars_per_second", "eval": "val_loss", "test": "test_loss"}
"""The number that a metric of each kind must have, besides `step` and `seconds`."""


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the objects of `metrics.jsonl` so far; lines that are incomplete or no metric are left out."""
    return [metric for line in read(run, METRICS).splitlines() if (metric := parse_metric(line)) is not None]


def losses(metrics: Iterable[dict[str, Any]]) -> list[Losses]:
    """Return the losses of the evaluations among `metrics`; early runs did not measure the training loss."""
    evaluations = (metric for metric in metrics if metric["event"] == "eval")
    return [
        Losses(e["step"], e["val_loss"], e["train_loss"] if is_valid_number(e.get("train_loss")) else None)
        for e in evaluations
    ]


def seconds(run: Path) -> float:
    """Return the time that a run has taken so far: that of its last complete metric."""
    return float(next((metric["seconds"] for metric in reversed(metrics(run))), 0.0))


def cut(run: Path, resumed: Meta | None) -> None:
    """Cut the logs to the checkpoint that is resumed (None: to nothing), and remove incomplete lines."""
    step, size = (resumed.step, resumed.samples_size) if resumed else (-1, 0)
    lines = read(run, METRICS).splitlines(keepends=True)
    complete = [(line, parse_metric(line)) for line in lines if line.endswith(b"\n")]
    earlier = [line for line, metric in complete if metric is not None and metric["step"] <= step]
    checkpoint.write_atomically(run / METRICS, b"".join(earlier))
    removed, samples = split_samples(read(run, SAMPLES))
    write_samples(run, min(removed, size), samples[: max(0, size - removed)])


def samples(run: Path) -> list[tuple[int, str]]:
    """Return (step, text) of each sample that is kept, oldest first."""
    _, content = split_samples(read(run, SAMPLES))
    headers = list(HEADER.finditer(content))
    bounds = [*(header.start() for header in headers), len(content)]
    texts = [content[h.end() + 1 : end].decode("utf-8", "replace") for h, end in zip(headers, bounds[1:], strict=True)]
    steps = [int(header[1]) for header in headers]
    return [(step, QUOTED.sub(r"\1", text.removesuffix("\n\n"))) for step, text in zip(steps, texts, strict=True)]


def prune(run: Path, keep: int) -> None:
    """Remove all but the last `keep` samples (0: keep all)."""
    if not keep:
        return
    removed, samples = split_samples(read(run, SAMPLES))
    starts = [header.start() for header in HEADER.finditer(samples)]
    if len(starts) > keep:
        with suppress(PermissionError):  # on Windows, while another process reads the file: it is cut next time
            write_samples(run, removed + starts[-keep], samples[starts[-keep] :])


def read(run: Path, name: str) -> bytes:
    """Return the content of a log; nothing if there is no file. Raise `CheckpointError` for a link out of the run."""
    path = run / name
    if files.is_outside(path, run):
        raise CheckpointError(f"{path} leads out of its run directory, so it is not read: remove the link")
    return path.read_bytes() if path.is_file() else b""


def parse_metric(line: bytes) -> dict[str, Any] | None:
    """Parse a line of `metrics.jsonl`. Return None if it is incomplete or no metric."""
    try:
        metric = json.loads(line)
        numbers = ("step", "seconds", REQUIRED.get(metric["event"], "step"))
        valid = isinstance(metric["event"], str) and all(is_valid_number(metric[name]) for name in numbers)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return metric if valid else None


def is_valid_number(value: object) -> bool:
    """Return whether a metric may have this number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18


def split_samples(content: bytes) -> tuple[int, bytes]:
    """Return the number of bytes that were removed from a `samples.txt`, and the samples that are left."""
    top = REMOVED.match(content)
    return (int(top[1]), content[top.end() :]) if top else (0, content)


def write_samples(run: Path, removed: int, samples: bytes) -> None:
    """Write `samples.txt`: the number of removed bytes, if any, and the samples. Raises `OSError`."""
    top = b"(%d bytes of earlier samples are gone: log.keep_samples)\n\n" % removed if removed else b""
    files.write_atomically(run / SAMPLES, top, samples)
