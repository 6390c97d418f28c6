"""The run directory: `config.toml`, the logs, `floors.json`, `checkpoints/`, and nothing else of anyone's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from charrnn import checkpoint, config
from charrnn.checkpoint import Meta
from charrnn.config import Config
from charrnn.errors import CheckpointError, ConfigError
from charrnn.text import EMBEDDED, Corpus
from charrnn.training.events import Counted, Event, Metric, Sampled, Snapshot, as_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RUNS = Path("runs")
CONFIG, METRICS, SAMPLES, CORPUS = "config.toml", "metrics.jsonl", "samples.txt", "corpus.txt"
FLOORS = "floors.json"


def started(run: Path) -> bool:
    """Whether `run` is a run directory: it has a checkpoint, or a configuration that is ours."""
    if checkpoint.steps(run):
        return True
    try:
        return (run / CONFIG).is_file() and bool(config.read(str(run / CONFIG)))
    except ConfigError:
        return False


def check(run: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise `CheckpointError` where a run in `run` would lose something or mix with something else."""
    if run.exists() and not run.is_dir():
        raise CheckpointError(f"{run} is not a directory: name another --out")
    # A temporary file is all that a start leaves which was cut short before it wrote its configuration.
    if not run.is_dir() or {path.name for path in run.iterdir()} <= {f".{CONFIG}.tmp"}:
        return
    if not started(run):
        raise CheckpointError(f"{run} exists and is not a run directory, so it is left alone: name another --out")
    if not (overwrite or resume):
        raise CheckpointError(f"{run} already exists: add --resume to go on with it, --overwrite to start anew")


def default_out(corpus: str | None, *, resume: bool, overwrite: bool) -> Path:
    """Where a run is when nobody says: `runs/NAME`, or `runs/NAME-2`, ... so that no run is lost.

    Args:
        corpus: the text's name; None where none was given.
        resume: the one of them that was written last, of any text where none was given.
        overwrite: the first.

    Raises `CheckpointError` if no text was given and there is no run to resume.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(corpus or EMBEDDED).name.split(".")[0]).strip("-.") or "run"
    if resume:
        pattern = re.compile(rf"{re.escape(name)}(-\d+)?" if corpus else ".*")
        found = [path for path in RUNS.glob("*/") if started(path) and pattern.fullmatch(path.name)]
        if not found and corpus is None:
            raise CheckpointError(f"there is no run in {RUNS}/ to resume: add --out DIR")
        if found:
            return max(found, key=lambda run: max(path.stat().st_mtime_ns for path in run.iterdir()))
    number, path = 1, RUNS / name
    while path.exists() and not overwrite:
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def located(run: Path | None, files: Iterable[str]) -> tuple[str, ...]:
    """The texts of a run where they are now: at their recorded paths, or in the run directory, which may have moved."""

    def place(name: str) -> str:
        beside = run / Path(name).name if run is not None else None
        if beside is None or not beside.is_file():
            return name
        return str(beside) if beside.name == CORPUS or not Path(name).exists() else name

    return tuple(map(place, files))


class Recorder:
    """Writes what happens in a run into its directory. Use it as a context manager.

    Args:
        run: the directory; an earlier run in it is replaced unless `resumed` is given, and nothing else is touched.
        settings: the resolved configuration.
        resumed: the checkpoint that is gone on from; the logs are cut to it.
        corpus: to be kept in the directory as text, because it is in no file.

    Raises `CheckpointError` where the file system refuses.
    """

    def __init__(self, run: Path, settings: Config, resumed: Meta | None, corpus: Corpus | None) -> None:
        self.run, self.keep = run, settings.log.keep
        try:
            run.mkdir(parents=True, exist_ok=True)
            self.lock = lock(run)
            if resumed is not None:
                checkpoint.set_aside(run, resumed.step)
            for step in checkpoint.steps(run) if resumed is None else ():
                checkpoint.path_of(run, step).unlink()
            if resumed is None:
                (run / FLOORS).unlink(missing_ok=True)
            checkpoint.write_atomically(run / CONFIG, config.dump(settings).encode())
            (run / checkpoint.FOLDER).mkdir(exist_ok=True)
            if corpus is not None:
                marked = corpus.vocabulary.characters[corpus.ids[0]] == "\ufeff"  # reading drops the first one
                checkpoint.write_atomically(run / CORPUS, "\ufeff".encode() * marked, more=corpus.utf8())
            cut(run, resumed)
            self.metrics: IO[bytes] = (run / METRICS).open("ab")
            self.samples: IO[bytes] = (run / SAMPLES).open("ab")
        except OSError as error:
            raise CheckpointError(f"cannot write to {run}: {error.strerror or error}") from None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.metrics.close()
        self.samples.close()
        if self.lock is not None:
            os.close(self.lock)

    def record(self, event: Event) -> None:
        """Write one event. A checkpoint is the commit: logs reach the disk before it appears under its name.

        Raises `CheckpointError` where the file system refuses.
        """
        try:
            if isinstance(event, Metric):
                self.metrics.write(json.dumps(as_json(event), allow_nan=False).encode() + b"\n")
                self.metrics.flush()
            elif isinstance(event, Sampled):
                self.samples.write(event.entry)
                self.samples.flush()
            elif isinstance(event, Counted):
                content = json.dumps(event.floors.as_json(), indent=2) + "\n"
                checkpoint.write_atomically(self.run / FLOORS, content.encode())
            elif isinstance(event, Snapshot):
                for log in (self.metrics, self.samples):
                    os.fsync(log.fileno())
                meta = event.checkpoint.meta
                checkpoint.save(checkpoint.path_of(self.run, meta.step), event.checkpoint)
                checkpoint.prune(self.run, self.keep, meta.best.step if meta.best else None)
        except OSError as error:
            raise CheckpointError(f"cannot write to {self.run}: {error.strerror or error}") from None


def lock(run: Path) -> int | None:
    """Hold `run` for this process until the returned descriptor is closed; it ends with the process, however it ends.

    Raises `CheckpointError` if another process trains into it. None on Windows, where a directory cannot be locked.
    """
    if fcntl is None:
        return None
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise CheckpointError(f"another process is training into {run}: wait for it, or name another --out") from None
    return descriptor


def cut(run: Path, resumed: Meta | None) -> None:
    """Cut the logs to the checkpoint that is resumed (None: to nothing), torn lines included."""
    kept = []
    if resumed is not None:
        for line in (run / METRICS).read_bytes().splitlines(keepends=True) if (run / METRICS).is_file() else []:
            try:
                if line.endswith(b"\n") and json.loads(line)["step"] <= resumed.step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
    checkpoint.write_atomically(run / METRICS, b"".join(kept))
    samples = (run / SAMPLES).read_bytes() if (run / SAMPLES).is_file() else b""
    checkpoint.write_atomically(run / SAMPLES, samples[: resumed.samples_size if resumed else 0])


def metrics(run: Path) -> list[dict[str, Any]]:
    """The objects of `metrics.jsonl` so far, without a line that is torn or no metric; none where there is no file."""
    found = []
    for line in (run / METRICS).read_bytes().splitlines() if (run / METRICS).is_file() else []:
        try:
            metric = json.loads(line)
            if isinstance(metric["event"], str) and metric["step"] >= 0 and metric["seconds"] >= 0:
                found.append(metric)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def seconds(run: Path) -> float:
    """The time that a run has taken so far: that of its last whole metric."""
    return float(next((metric["seconds"] for metric in reversed(metrics(run))), 0.0))
