"""The request of a user to train, and which settings of it a resumed run can accept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from charrnn import checkpoint, config, text
from charrnn.backend import TIME_IS_OVER, Ranks
from charrnn.checkpoint import Checkpoint, Marks
from charrnn.config import Config, Table
from charrnn.errors import ConfigError
from charrnn.run import directory, finetuning
from charrnn.run.finetuning import Source
from charrnn.run_files import CONFIG

CAN_CHANGE = {
    *("train.steps", "train.patience", "train.device", "train.kernels", "train.gpu_memory_limit"),
    *("data.files", "data.val_files", "data.test_files", "data.encoding", "data.jsonl", "data.csv"),
}
"""Keys that a resumed run can change, besides those of [log]. Texts are compared by their hashes."""
EVALUATION = {"log.eval_every", "log.eval_chars"}
"""Keys that decide when, and on which characters, a run evaluates. If they change, the best loss may change, too."""


@dataclass(frozen=True)
class Request:
    """What a user asks of `train`.

    Attributes:
        files: names of texts, `-` for standard input; empty: those of the configuration, or else the embedded corpus.
        text: the text itself, in place of files.
        preset: the table of a configuration file.
        automatic: choose the network and how to train it, unless the run is resumed or begins with given weights.
        options: the table of all other settings; it overrides `preset`.
        out: the run directory; None: nothing is written.
        resume: continue the run in `out`.
        overwrite: replace the run in `out`.
        fallback: whether the CPU computes if a CUDA device cannot be used.
        threads: the number of threads; 0: one for each core.
        minutes: training ends this many minutes after `began`; None: no limit.
        stop_after: save and stop after this process has done this many steps; None: no limit.
        began: `time.monotonic()` at the start of the command.
        interrupted: called after each step; returns whether to save and stop, or the number of the signal to do so.
        ranks: the processes that compute the run together.
        profile: measure the parts of every step.

    Raises `ConfigError` for values that are out of range or cannot be combined.
    """

    files: tuple[str, ...] = ()
    text: str | None = None
    preset: Table = field(default_factory=dict)
    automatic: bool = False
    options: Table = field(default_factory=dict)
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    fallback: bool = True
    threads: int = 0
    minutes: float | None = None
    stop_after: int | None = None
    began: float = field(default_factory=time.monotonic)
    interrupted: Callable[[], int] = lambda: False
    ranks: Ranks = field(default_factory=Ranks)
    profile: bool = False

    def __post_init__(self) -> None:
        if self.text is not None and self.files:
            raise ConfigError("pass text or files, not both")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise ConfigError(f"--minutes must be above 0 and below a million, not {self.minutes}")
        if self.stop_after is not None and self.stop_after < 1:
            raise ConfigError(f"--stop-after must be at least 1, not {self.stop_after}")
        if self.threads < 0:
            raise ConfigError(f"--threads must be 1 or more, or 0 for one on each core, not {self.threads}")
        if self.resume and self.overwrite:
            raise ConfigError("use --resume or --overwrite, not both")
        if self.out is not None:
            text.check_name(str(self.out.absolute()))
        if self.ranks.size > 1 and "-" in self.files:
            raise ConfigError("only one rank can read standard input: save the text as a file")
        if self.resume and self.out is None:
            raise ConfigError("--resume needs the run directory: add --out DIR")

    @property
    def table(self) -> Table:
        """The settings of this request alone, without those of the run that it resumes."""
        return config.merged(self.preset, self.options)

    def seconds_left(self) -> float:
        """Return the time until training ends because of `minutes`."""
        return math.inf if self.minutes is None else self.minutes * 60 - (time.monotonic() - self.began)

    def wish_to_stop(self) -> int:
        """Return why this process asks to stop: see `Ranks.request`."""
        signal = int(self.interrupted())
        return 1 + signal if signal else TIME_IS_OVER * (self.seconds_left() <= 0)

    def reason_to_stop(self, steps: int, *, planned: bool) -> str | None:
        """Return why to stop, or None to continue: a `reason` of `Ended`.

        Args:
            steps: the number of steps that this process has done.
            planned: whether the number of steps of the run was planned to fit `minutes`.
        """
        wish = self.ranks.agree(self.wish_to_stop, steps)
        if wish > TIME_IS_OVER:
            return "interrupted"
        if self.stop_after is not None and steps >= self.stop_after:
            return "stop_after"
        if wish == TIME_IS_OVER:
            return "minutes" if planned else "time"
        return None


@dataclass(frozen=True)
class Earlier:
    """The run that `out` already holds; empty for a new run.

    Attributes:
        checkpoint: the one to continue from, if the run is resumed and has one.
        table: the configuration that the run was started with, if it is resumed.
        marks: the marks of its checkpoints, to notice if another process trains in the directory.
        notices: lines for the user.
    """

    checkpoint: Checkpoint | None = None
    table: Table = field(default_factory=dict)
    marks: Marks = field(default_factory=list)
    notices: tuple[str, ...] = ()


def find_earlier(request: Request) -> Earlier:
    """Check the run directory of `request`, and read the checkpoint and the configuration of a run to resume.

    Raises `CheckpointError` if the directory is in use or must not be written, or its checkpoints cannot be read;
    `ConfigError` if there is nothing to resume and no text to start with.
    """
    out = request.out
    if not request.resume:  # before `check_out` advises to overwrite the run that the weights come from
        finetuning.check_out(request.table, out)
    if out is None:
        return Earlier()
    directory.check_out(out, overwrite=request.overwrite, resume=request.resume)
    marks = checkpoint.marks(out)
    if not request.resume:
        return Earlier(marks=marks)
    names_text = request.files or request.text is not None or request.table.get("data", {}).get("files")
    if not out.exists() and not names_text:
        raise ConfigError(f"there is no run {out} to resume: name a text to start one there")
    newest = checkpoint.last(out, resumed=True)
    if newest is not None:
        _, saved, notices = newest
        return Earlier(saved, config.table(saved.meta.config), marks, tuple(notices))
    started = config.read(str(out / CONFIG)) if out.exists() and directory.is_run(out) else {}
    return Earlier(None, started, marks, (f"no checkpoint in {out} yet: starting",))


@dataclass(frozen=True)
class Requested:
    """The configuration that a request asks for.

    Attributes:
        table: its settings, which override those of the run that is resumed.
        source: the run that the first weights come from, if there is one.
        notices: lines for the user.
    """

    table: Table
    source: Source | None
    notices: tuple[str, ...]


def requested(request: Request, earlier: Earlier) -> Requested:
    """Return the settings of `request`, merged over those of the run that it resumes, and the source of the weights."""
    preset, options, saved = one_format(request.preset), one_format(request.options), earlier.checkpoint
    if saved is not None:
        # The number of steps was decided at the start, perhaps by --minutes. Only --steps changes it, no preset.
        layers = without(preset, "steps", *finetuning.KEYS), without(options, *finetuning.KEYS)
        notices = finetuning.ignored(request.table, saved.meta.config)
        return Requested(config.merged(earlier.table, *layers), None, notices)
    layers = finetuning.reset_hash(preset), finetuning.reset_hash(options)
    table = config.merged(earlier.table, *layers)
    source = finetuning.find_source(table, request.out)
    return Requested(source.complete(table), source, source.notices) if source else Requested(table, None, ())


def read_preset(name: str | None, minutes: float | None) -> tuple[Table, bool]:
    """Return the table of a preset or file, and whether the network is chosen instead, as with `minutes` alone."""
    if config.is_automatic(name) or (name is None and minutes is not None):
        return {}, True
    return ({} if name is None else config.read(name)), False


def one_format(table: Table) -> Table:
    """Return `table` so that it overrides data.csv of other tables if it sets data.jsonl, and the reverse."""
    data = table.get("data", {})
    other = {"jsonl": ""} if data.get("csv") else {"csv": ""} if data.get("jsonl") else {}
    return table | {"data": other | data} if other else table


def without(table: Table, *names: str) -> Table:
    """Return `table` without these keys of [train]."""
    return table | {"train": {key: value for key, value in table.get("train", {}).items() if key not in names}}


def plans_steps(request: Request, earlier: Earlier) -> bool:
    """Return whether to plan the number of steps to fit `minutes`: for a new run without the option `steps`."""
    return request.minutes is not None and not earlier.table and "steps" not in request.options.get("train", {})


def check_changes(recorded: Config, wanted: Config) -> tuple[str, ...]:
    """Return lines for the user about what a resumed run does differently.

    Raises `ConfigError` naming every key that cannot change.
    """
    before, after = config.table(recorded), config.table(wanted)
    changed = {
        f"{section}.{key}": f"{section}.{key} (the run has {before[section][key]!r}, not {value!r})"
        for section, values in after.items()
        for key, value in values.items()
        if value != before[section][key]
    }
    evaluations_decide = wanted.train.patience > 0 or wanted.optimizer.schedule == "plateau"
    refused = [
        change
        for key, change in changed.items()
        if (key in EVALUATION and evaluations_decide) or not (key in CAN_CHANGE or key.startswith("log."))
    ]
    if refused:
        reason = ""
        if evaluations_decide and EVALUATION & set(changed):
            reason = ", because train.patience or the plateau schedule compares evaluations"
        raise ConfigError(
            f"--resume cannot change {', '.join(refused)}{reason}: keep the run's value, or start a new run"
        )
    return tuple(
        f"{change}: the best checkpoint may differ from that of a run without this change"
        for key, change in changed.items()
        if key in EVALUATION
    )
