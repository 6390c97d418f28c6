"""The Python API: `train` and `load`, which return a `Model`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from charrnn import backend
from charrnn import checkpoint as checkpoints
from charrnn import config as configuration
from charrnn.errors import DivergedError, TextError
from charrnn.model import build
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.trained import Model
from charrnn.training.events import Ended, Event

__all__ = ["Model", "load", "one_or_more", "train"]

LONGEST_NAME = 256
"""Characters of a text from which on nobody takes it for the name of a file."""


def load(run: str | Path, *, checkpoint: str | int = "best", device: str = "auto", fallback: bool = True) -> Model:
    """The model of a run directory or checkpoint file.

    Args:
        run: the path.
        checkpoint: of a run directory: `best` (lowest validation loss), `last`, or a step.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        fallback: whether a CUDA device that cannot be used gives way to the CPU.

    Raises `CheckpointError`, `DeviceError`, or `ConfigError` for a device of another name.
    """
    configuration.checked({"train": {"device": device}}, "--device")
    path, saved, notices = checkpoints.find(Path(run), str(checkpoint))
    choice = backend.choose(device, fallback=fallback)
    network = build(saved.meta.config.model, len(saved.meta.vocabulary), choice.backend)
    vector = choice.backend.from_host(saved.weights(network.layout))
    lines = (*notices, *([choice.reason] if choice.fell_back else []))
    meta = saved.meta
    return Model(
        network,
        network.views(vector),
        meta.config,
        meta.vocabulary,
        meta.step,
        source=path,
        sha256=meta.sha256,
        notices=lines,
        memory=saved.optimizer_state,
    )


def train(
    text: str | None = None,
    *,
    files: str | Path | Iterable[str | Path] = (),
    config: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    init_from: str | Path | None = None,
    grow_vocabulary: bool = False,
    fallback: bool = True,
    threads: int = 0,
    minutes: float | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Model:
    """Train a network and return it as it is after the last step; `load(out)` gives the best checkpoint.

    Args:
        text: the text to learn itself, or
        files: names of files, globs or directories, or one of them; neither: the embedded corpus.
        config: a TOML file or preset to start from.
        settings: `{"section.key": value}` on top of it, for instance `{"train.steps": 1000}`.
        out: the run directory; None writes nothing.
        resume: go on with the run in `out`.
        overwrite: replace it.
        init_from: the run directory (its best checkpoint) or checkpoint file that the first weights come from.
        grow_vocabulary: whether the text may have characters which that network never saw.
        fallback: whether a CUDA device that cannot be used gives way to the CPU.
        threads: workers; 0 for one a core.
        minutes: stop after so long; the number of steps is planned to fit.
        on_event: called with every event, see `charrnn.training.events`.

    Raises `CharrnnError` for what does not fit; `DivergedError` where the guard stopped the run.
    """
    said = dict(settings or {})
    if init_from is not None:
        said["train.init_from"] = str(Path(init_from))
    if grow_vocabulary:
        said["train.grow_vocabulary"] = True
    if text is not None and is_file(text):
        raise TextError(f"{text} is a file, not the text to learn: write files=[{text!r}]")
    session = prepare(
        Request(
            files=tuple(map(str, one_or_more(files))),
            text=text,
            preset=configuration.read(config) if config else {},
            options=configuration.merged(*(configuration.keyed(key, said[key], "settings") for key in said)),
            out=Path(out) if out is not None else None,
            resume=resume,
            overwrite=overwrite,
            fallback=fallback,
            threads=threads,
            minutes=minutes,
        )
    )
    for event in session.events():
        on_event(event)
        if isinstance(event, Ended) and event.reason == "diverged":
            raise DivergedError(f"training diverged at step {event.at.step}: lower optimizer.learning_rate")
    return Model(
        session.network,
        session.network.views(session.loop.trainer.average),
        session.config,
        session.corpus.vocabulary,
        session.loop.trainer.done,
        notices=session.notices,
        corpus=session.corpus,
        memory=session.loop.snapshot().checkpoint.optimizer_state,
    )


def one_or_more(paths: str | Path | Iterable[str | Path]) -> Iterable[str | Path]:
    """`paths`, or the one that it is: a string would be a path for each of its characters."""
    return [paths] if isinstance(paths, (str, Path)) else paths


def is_file(words: str) -> bool:
    """Whether a short text is rather the name of a file."""
    with suppress(OSError):
        return len(words) < LONGEST_NAME and Path(words).is_file()
    return False
