"""The run directory: `config.toml`, the logs, `baselines.json`, `checkpoints/`, and nothing else of anyone's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from io import FileIO
from pathlib import Path

from charrnn import checkpoint, config, files
from charrnn.checkpoint import Checkpoint, Meta
from charrnn.config import Config
from charrnn.config.schema import LogConfig
from charrnn.errors import CheckpointError
from charrnn.run import logs
from charrnn.run.lock import Lock
from charrnn.run.logs import METRICS, SAMPLES
from charrnn.text import Corpus
from charrnn.training.events import BaselinesCounted, Event, Metric, Sampled, Snapshot, as_json

CONFIG, CORPUS, BASELINES = "config.toml", "corpus.txt", "baselines.json"
OURS = {CONFIG, METRICS, SAMPLES, CORPUS, BASELINES}.__contains__


def located(run: Path | None, names: Iterable[str]) -> tuple[str, ...]:
    """The texts of a run where they are now: at their recorded paths, or in the run directory, which may have moved."""

    def place(name: str) -> str:
        beside = run / Path(name).name if run is not None else None
        if run is None or beside is None or not beside.is_file() or files.is_outside(beside, run):
            return name
        return str(beside) if beside.name == CORPUS or not Path(name).exists() else name

    return tuple(map(place, names))


class Recorder:
    """Writes what happens in a run into its directory. Use it as a context manager.

    Args:
        run: the directory; an earlier run in it is replaced unless `resumed` is given, and nothing else is touched.
        settings: the resolved configuration.
        resumed: the checkpoint that is gone on from; the logs are cut to it.
        corpus: to be kept in the directory as text, because it is in no file.
        seen: `checkpoint.marks` when that was decided.

    Raises `CheckpointError` where the file system refuses, and where another process has trained meanwhile.
    """

    def __init__(
        self, run: Path, settings: Config, resumed: Meta | None, corpus: Corpus | None, seen: checkpoint.Marks
    ) -> None:
        self.run, self.log = run, settings.log
        with ExitStack() as stack, refusing(run):
            run.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(run)
            stack.callback(self.lock.close)
            if checkpoint.marks(run) != seen:
                raise CheckpointError(f"another process has just trained into {run}: run the command again")
            files.remove_temporaries(run, OURS)
            # As long as an earlier run has a checkpoint, it is that run: the newest goes when all else is there.
            files.write_atomically(run / CONFIG, config.dump(settings).encode())
            old = None if resumed else clear(run)
            if resumed is not None:
                checkpoint.quarantine(run, resumed.step)
            (run / checkpoint.FOLDER).mkdir(exist_ok=True)
            keep_text(run, settings.data.files, corpus)
            if old is not None:
                old.unlink()
            logs.cut(run, resumed)
            self.metrics, self.samples = (stack.enter_context(appended(run / name)) for name in (METRICS, SAMPLES))
            stack.pop_all()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.metrics.close()
        self.samples.close()
        self.lock.close()

    def record(self, event: Event) -> None:
        """Write one event. A checkpoint is the commit: logs reach the disk before it appears under its name.

        Raises `CheckpointError` where the file system refuses; it says up to where the run is safe. Nothing is
        written into a directory that this process holds no longer.
        """
        with refusing(self.run, self.safe):
            self.lock.confirm()
            if isinstance(event, Metric):
                line = json.dumps(as_json(event), allow_nan=False).encode() + b"\n"
                files.write_whole(self.metrics, line)
            elif isinstance(event, Sampled):
                files.write_whole(self.samples, event.entry)
            elif isinstance(event, BaselinesCounted):
                content = json.dumps(event.baselines.as_json(), indent=2) + "\n"
                files.write_atomically(self.run / BASELINES, content.encode())
            elif isinstance(event, Snapshot):
                self.commit(event.checkpoint)

    def commit(self, saved: Checkpoint) -> None:
        """Save a checkpoint, then remove what is no longer kept."""
        for log in (self.metrics, self.samples):
            os.fsync(log.fileno())
        self.lock.confirm()  # each of these may have taken a while
        checkpoint.save(checkpoint.path_of(self.run, saved.meta.step), saved)
        self.lock.confirm()
        self.samples.close()  # Windows replaces no open file
        tidy(self.run, self.log, saved.meta)
        self.samples = appended(self.run / SAMPLES)

    def safe(self) -> str:
        """The end of an error: up to where the run can go on. Where it is held no longer, that alone is the error."""
        self.lock.confirm()
        saved = checkpoint.steps(self.run)
        if not saved:
            return "; nothing of this run was saved yet"
        return f"; the run is saved up to step {saved[-1]:,}: mend this and go on with --resume"


@contextmanager
def refusing(run: Path, remedy: Callable[[], str] = str) -> Iterator[None]:
    """What the file system refuses, as a `CheckpointError` that ends with a remedy."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot write to {run}: {error.strerror or error}{remedy()}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{error}{remedy()}") from None


def appended(log: Path) -> FileIO:
    """A log to write at the end of, unbuffered: nothing waits for a moment at which it may fail."""
    return log.open("ab", buffering=0)


def clear(run: Path) -> Path | None:
    """Remove what an earlier run has left, but for its newest checkpoint; that, if there is one."""
    paths = [checkpoint.path_of(run, step) for step in checkpoint.steps(run)]
    for path in paths[:-1]:
        path.unlink()
    checkpoint.remove_quarantined(run)
    (run / BASELINES).unlink(missing_ok=True)
    return paths[-1] if paths else None


def keep_text(run: Path, names: Iterable[str], corpus: Corpus | None) -> None:
    """Write a text that is in no file; one of an earlier run goes, unless it is among the files of this one."""
    path = run / CORPUS
    if corpus is not None:
        marked = corpus.vocabulary.characters[corpus.ids[0]] == "\ufeff"  # reading drops the first one
        files.write_atomically(path, "\ufeff".encode() * marked, more=corpus.utf8())
    elif os.path.realpath(path) not in map(os.path.realpath, names):
        path.unlink(missing_ok=True)


def tidy(run: Path, log: LogConfig, last: Meta) -> None:
    """Remove checkpoints and samples that are no longer kept, `last` being the newest."""
    files.remove_temporaries(run / checkpoint.FOLDER, checkpoint.is_name)
    checkpoint.prune(run, log.keep, last.best.step if last.best else None)
    logs.prune(run, log.keep_samples)


def finish(run: Path, log: LogConfig, last: Meta, seen: checkpoint.Marks) -> None:
    """Do what a finished run had still to do when it was killed right after its last checkpoint.

    A directory that cannot be written, or into which another process trains, stays as it is.
    """
    with suppress(CheckpointError, OSError), closing(Lock(run)):
        if checkpoint.marks(run) == seen:
            files.remove_temporaries(run, OURS)
            tidy(run, log, last)
