"""Write a run directory: configuration, logs, baselines and checkpoints. Other files in it are not changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from io import FileIO
from pathlib import Path

from charrnn import checkpoint, config, files
from charrnn.checkpoint import Checkpoint, Marks, Meta
from charrnn.config import Config
from charrnn.config.schema import DataConfig, LogConfig
from charrnn.errors import CheckpointError
from charrnn.run import environment, logs
from charrnn.run.lock import Lock
from charrnn.run_files import BASELINES, CHECKPOINTS, CONFIG, COPIES, FILES, METRICS, SAMPLES
from charrnn.text import Corpus
from charrnn.training.events import BaselinesCounted, Event, Metric, Sampled, Snapshot, as_json


class Recorder:
    """Writes the events of a run into its directory. Use it as a context manager.

    Args:
        run: the directory. Unless `resumed` is given, an earlier run in it is replaced.
        settings: the resolved configuration.
        resumed: the metadata of the checkpoint that training continues from; the logs are cut to it.
        copies: the texts that are copied into the directory, by the names of the copies.
        marks: `checkpoint.marks` when the session was prepared.
        described: what computes the run, from `environment.describe`.

    Raises `CheckpointError` where the file system refuses, and if another process trained in `run` since then.
    """

    def __init__(
        self,
        run: Path,
        settings: Config,
        resumed: Meta | None,
        copies: Mapping[str, Corpus],
        marks: Marks,
        described: environment.Environment,
    ) -> None:
        self.run, self.log = run, settings.log
        with ExitStack() as stack, disk_errors(run):
            run.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(run)
            stack.callback(self.lock.close)
            if checkpoint.marks(run) != marks:
                raise CheckpointError(f"another process has just trained in {run}: run the command again")
            files.remove_temporaries(run, FILES.__contains__)
            # The directory counts as the earlier run while it has one of its checkpoints. The newest is removed last.
            files.write_atomically(run / CONFIG, config.dump(settings).encode())
            environment.write(run, described)
            old = None if resumed else remove_all_but_newest(run)
            if resumed is not None:
                checkpoint.quarantine(run, resumed.step)
            (run / CHECKPOINTS).mkdir(exist_ok=True)
            copy_texts(run, settings.data, copies)
            if old is not None:
                old.unlink()
            logs.cut(run, resumed)
            self.metrics, self.samples = (stack.enter_context(open_log(run / name)) for name in (METRICS, SAMPLES))
            stack.pop_all()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.metrics.close()
        self.samples.close()
        self.lock.close()

    def record(self, event: Event) -> None:
        """Write one event. All lines that are logged before a checkpoint reach the disk before the checkpoint does.

        Raises `CheckpointError` where the file system refuses, with the last step that is saved. Nothing is written
        into a directory that this process no longer holds.
        """
        with disk_errors(self.run, self.remedy):
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
                self.save(event.checkpoint)

    def save(self, saved: Checkpoint) -> None:
        """Save a checkpoint, then remove old checkpoints and samples."""
        for log in (self.metrics, self.samples):
            os.fsync(log.fileno())
        self.lock.confirm()  # again, because each of these steps may take long
        checkpoint.save(checkpoint.path_of(self.run, saved.meta.step), saved)
        self.lock.confirm()
        self.samples.close()  # Windows cannot replace an open file
        remove_old(self.run, self.log, saved.meta)
        self.samples = open_log(self.run / SAMPLES)

    def remedy(self) -> str:
        """Return the end of an error message: from which step the run can continue.

        Raises `CheckpointError` if this process no longer holds the directory: then only that is the error.
        """
        self.lock.confirm()
        saved = checkpoint.steps(self.run)
        if not saved:
            return "; nothing of this run was saved yet"
        return f"; the run is saved up to step {saved[-1]:,}: fix this and continue with --resume"


@contextmanager
def disk_errors(run: Path, remedy: Callable[[], str] = str) -> Iterator[None]:
    """Turn an `OSError` into a `CheckpointError`, and append a remedy to the message of either."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot write to {run}: {error.strerror or error}{remedy()}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{error}{remedy()}") from None


def open_log(path: Path) -> FileIO:
    """Open a log to append to it, unbuffered, so that the write that fails raises the error."""
    return path.open("ab", buffering=0)


def remove_all_but_newest(run: Path) -> Path | None:
    """Remove the checkpoints and baselines of an earlier run. Return the path of its newest checkpoint, which stays."""
    paths = [checkpoint.path_of(run, step) for step in checkpoint.steps(run)]
    for path in paths[:-1]:
        path.unlink()
    checkpoint.remove_quarantined(run)
    for name in (BASELINES, "floors.json"):  # its first name
        (run / name).unlink(missing_ok=True)
    return paths[-1] if paths else None


def copy_texts(run: Path, data: DataConfig, copies: Mapping[str, Corpus]) -> None:
    """Write the copies of texts, by name; remove those of an earlier run that are not among the files of this run."""
    used = {os.path.realpath(name) for name in (*data.files, *data.val_files, *data.test_files)}
    for name in COPIES:
        if name in copies:
            copy_text(run / name, copies[name], data.jsonl)
        elif os.path.realpath(run / name) not in used:
            (run / name).unlink(missing_ok=True)


def copy_text(path: Path, corpus: Corpus, field: str = "") -> None:
    """Write a text to `path`; with a `field` as JSON Lines, with one object for each document."""
    if field:
        rows = (json.dumps({field: document}, ensure_ascii=False).encode() for document in corpus.documents())
        files.write_atomically(path, more=(row + b"\n" for row in rows))
        return
    # Reading drops one byte order mark. A text that begins with the character needs another before it.
    marked = corpus.vocabulary.characters[corpus.ids[0]] == "\ufeff"
    files.write_atomically(path, "\ufeff".encode() * marked, more=corpus.utf8())


def remove_old(run: Path, log: LogConfig, newest: Meta) -> None:
    """Remove the checkpoints and samples that `log` does not keep."""
    files.remove_temporaries(run / CHECKPOINTS, checkpoint.is_name)
    checkpoint.prune(run, log.keep, newest.best.step if newest.best else None)
    logs.prune(run, log.keep_samples)


def remove_old_of_finished(run: Path, log: LogConfig, newest: Meta, marks: Marks) -> None:
    """Remove what a finished run would have removed if it had not been killed right after its last checkpoint.

    Do nothing if the directory cannot be written, or if another process trains in it.
    """
    with suppress(CheckpointError, OSError), closing(Lock(run)):
        if checkpoint.marks(run) == marks:
            files.remove_temporaries(run, FILES.__contains__)
            remove_old(run, log, newest)
