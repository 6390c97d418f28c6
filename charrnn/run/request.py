"""What a user asks of `train`, and what that means for a run that is there already."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from charrnn import config, text
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config, Table
from charrnn.errors import ConfigError
from charrnn.run import directory, finetuning, recorder

FREE_TO_CHANGE = {
    *("train.steps", "train.patience", "train.device", "train.gpu_memory_limit"),
    *("data.files", "data.encoding"),
}
"""What a resumed run may do differently. The text itself is compared by its hash."""


@dataclass(frozen=True)
class Request:
    """What a user asks of `train`.

    Attributes:
        files: names of texts, `-` for standard input; empty: those of the configuration, else the embedded corpus.
        text: the text itself, in place of files.
        preset: the table of a configuration file.
        options: the table of everything said besides; it lies on top.
        out: the run directory; None: nothing is written.
        resume: go on with the run in `out`.
        overwrite: replace it.
        fallback: whether a CUDA device that cannot be used gives way to the CPU.
        threads: workers; 0: one for each core.
        minutes: after which training ends, from `began`.
        stop_after: save and stop after so many steps of this process.
        began: `time.monotonic()` at the start of the command.
        interrupted: asked after each step: whether to save and stop.
    """

    files: tuple[str, ...] = ()
    text: str | None = None
    preset: Table = field(default_factory=dict)
    options: Table = field(default_factory=dict)
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    fallback: bool = True
    threads: int = 0
    minutes: float | None = None
    stop_after: int | None = None
    began: float = field(default_factory=time.monotonic)
    interrupted: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        if self.text is not None and self.files:
            raise ConfigError("text and files exclude each other")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise ConfigError(f"--minutes must be above 0 and below a million, not {self.minutes}")
        if self.stop_after is not None and self.stop_after < 1:
            raise ConfigError(f"--stop-after must be at least 1, not {self.stop_after}")
        if self.threads < 0:
            raise ConfigError(f"--threads must be 1 or more, or 0 for one a core, not {self.threads}")
        if self.resume and self.overwrite:
            raise ConfigError("--resume and --overwrite exclude each other")
        if self.out is not None:
            text.check_name(str(self.out.absolute()))
        if self.resume and self.out is None:
            raise ConfigError("--resume needs the run directory: add --out DIR")


def requested(request: Request, saved: Checkpoint | None, notices: list[str]) -> Table:
    """Everything said about the run: when it was started, in the preset, and besides."""
    preset, options = request.preset, request.options
    if saved is None:
        layers = finetuning.unpinned(preset), finetuning.unpinned(options)
    else:
        notices += finetuning.passed_over(config.merged(preset, options), saved.meta.config)
        layers = finetuning.without(config.merged({"train": {}}, preset)), finetuning.without(options)
        # The planned total was decided at the start, perhaps from --minutes; only --steps changes it.
        layers[0]["train"].pop("steps", None)
    return config.merged(recorded_table(request, saved), *layers)


def check_resumed(request: Request, table: Table) -> None:
    """Raise `ConfigError` where what is to be resumed is not there, and no text says that it should be started."""
    named = request.files or request.text is not None or table.get("data", {}).get("files")
    if request.resume and request.out is not None and not request.out.exists() and not named:
        raise ConfigError(f"there is no run {request.out} to resume: name a text to start one there")


def plans_steps(request: Request) -> bool:
    """Whether the planned total comes from `minutes`: nobody says it, and no start of this run has written it down."""
    begun = request.resume and request.out is not None and directory.started(request.out)
    return request.minutes is not None and not begun and "steps" not in request.options.get("train", {})


def recorded_table(request: Request, saved: Checkpoint | None) -> Table:
    """What the run in `out` was started with: from its checkpoint, or its config.toml if it has none yet."""
    if saved is not None:
        return config.table(saved.meta.config)
    if request.resume and request.out and directory.started(request.out):
        return config.read(str(request.out / recorder.CONFIG))
    return {}


def check_unchanged(recorded: Config, wanted: Config) -> None:
    """Raise `ConfigError` naming every key in which a resumed run would differ."""
    before, after = config.table(recorded), config.table(wanted)
    changes = [
        f"{section}.{key} (the run has {before[section][key]!r}, not {value!r})"
        for section, values in after.items()
        for key, value in values.items()
        if value != before[section][key] and f"{section}.{key}" not in FREE_TO_CHANGE
    ]
    if changes:
        raise ConfigError("--resume cannot change " + ", ".join(changes) + ": leave it out, or start a new run")


def stopper(request: Request, plans: bool) -> Callable[[int], str | None]:
    """Why to stop after so many steps of this process, or None; `plans`: whether they were planned from `minutes`."""

    def reason(steps: int) -> str | None:
        if request.interrupted():
            return "interrupted"
        if request.stop_after is not None and steps >= request.stop_after:
            return "stop_after"
        if request.minutes is not None and time.monotonic() - request.began >= request.minutes * 60:
            return "minutes" if plans else "time"
        return None

    return reason
