"""Write the events of a training for TensorBoard, into the folder `tensorboard` of its run directory.

The scalars have the names and values of `metrics.jsonl`, as in `train/loss` and `eval/val_loss`. Samples are texts.
Each evaluation adds histograms of the parameters. Each n-gram baseline is a run of its own in a subfolder, with the
tag `eval/val_loss`: so TensorBoard draws it as a line beside the validation loss.

A run that is resumed first writes the mark of a restart after its checkpoint. TensorBoard then drops the later points
that the process before it wrote.
"""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import backend, files
from charrnn.errors import CheckpointError, ConfigError
from charrnn.evaluation.baselines import Baselines
from charrnn.run.session import Session
from charrnn.training.events import BaselinesCounted, Evaluated, Event, Metric, Sampled, as_json

FOLDER = "tensorboard"
EVENT_FILES = "events.out.tfevents.*"
PLACE = ("step", "chars", "seconds")
"""What is no scalar of its own in an object of `metrics.jsonl`: TensorBoard has an axis for the steps and the time."""
BINS = 64
"""Bins of a histogram."""


def check_installed() -> None:
    """Raise `ConfigError`, naming the extra, unless tensorboardX can be imported."""
    try:
        import tensorboardX  # noqa: F401 (only whether it is installed)
    except ImportError:
        raise ConfigError("--tensorboard needs tensorboardX: pip install 'charrnn-xp[tensorboard]'") from None


class TensorBoard:
    """Writes events for TensorBoard. Nothing is written before the first event.

    Args:
        session: the run, which has a directory.

    Raises `ConfigError` if tensorboardX is not installed.
    """

    def __init__(self, session: Session) -> None:
        check_installed()
        assert session.out is not None
        self.session, self.folder = session, session.out / FOLDER
        self.writer: EventFile | None = None

    def record(self, event: Event) -> None:
        """Write one event. Raises `OSError` where the file system refuses."""
        writer = self.writer = self.writer or self.begin()
        if isinstance(event, Metric):
            for name, value in as_json(event).items():
                if name not in PLACE and type(value) in (int, float):
                    writer.scalar(f"{event.event}/{name}", value, event.at.step)
        elif isinstance(event, Sampled):
            writer.text("sample", event.text, event.at.step)
        elif isinstance(event, BaselinesCounted):
            self.draw_baselines(event.baselines)
        if isinstance(event, Evaluated):
            for name, values in self.parameters().items():
                if np.isfinite(values).all():
                    writer.histogram(f"parameters/{name}", values, event.at.step)
        writer.flush()

    def begin(self) -> EventFile:
        """Open the file of this process. A new run removes the files of a run that it replaces."""
        saved = self.session.checkpoint
        if files.is_outside(self.folder, self.folder.parent):
            raise CheckpointError(f"{self.folder} leads out of its run directory: remove the link")
        if saved is None:
            for path in [*self.folder.glob(EVENT_FILES), *self.folder.glob(f"*-gram/{EVENT_FILES}")]:
                path.unlink()
            return EventFile(self.folder, 0)
        writer = EventFile(self.folder, saved.meta.step)
        writer.restart(saved.meta.step + 1)
        return writer

    def draw_baselines(self, baselines: Baselines) -> None:
        """Write each baseline as a line from the first to the last planned step, in place of an earlier line."""
        for order, loss in enumerate(baselines.losses, 1):
            folder = self.folder / f"{order}-gram"
            for path in folder.glob(EVENT_FILES):
                path.unlink()
            line = EventFile(folder, 0)
            for step in (0, self.session.config.train.steps):
                line.scalar("eval/val_loss", loss, step)
            line.close()

    def parameters(self) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Return name -> the values that were evaluated, on the host."""
        network, trainer = self.session.network, self.session.loop.trainer
        with backend.computing(network.backend):
            views = network.views(trainer.average)
            return {name: network.backend.to_host(array) for name, array in views.items()}  # sync

    def close(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()


class EventFile:
    """A file of events. It is written at once: a thread of tensorboardX would not report a full disk.

    Args:
        folder: where; it is made.
        step: the step at which the process begins. It is in the name, because TensorBoard reads files in the order of
            their names, and two processes may begin in the same second.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.events = EventsWriter(str(folder / "events"), f".{step:08d}.{os.getpid()}")

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a number."""
        from tensorboardX import summary

        self.write(step, summary=summary.scalar(tag, value))

    def text(self, tag: str, text: str, step: int) -> None:
        """Write a text, indented: TensorBoard reads it as Markdown, and this is Markdown for code."""
        from tensorboardX import summary

        self.write(step, summary=summary.text(tag, textwrap.indent(text, "    ", lambda _: True)))

    def histogram(self, tag: str, values: np.ndarray[Any, np.dtype[Any]], step: int) -> None:
        """Write how the values of an array are distributed."""
        from tensorboardX import summary

        self.write(step, summary=summary.histogram(tag, values, BINS))

    def restart(self, step: int) -> None:
        """Write that a process begins here: what earlier files have of `step` and after it does not count."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self.write(step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, **content: Any) -> None:
        """Write a record with the time now."""
        from tensorboardX.proto.event_pb2 import Event as Record

        self.events.write_event(Record(wall_time=time.time(), step=step, **content))

    def flush(self) -> None:
        """Hand everything to the system."""
        self.events.flush()

    def close(self) -> None:
        """Close the file."""
        self.events.close()
