"""Compare runs: the shape of each network, its training, and how well it predicts.

Losses are comparable only if they were measured on the same text. So every row names the text of its losses, and the
best loss is marked among the rows with equal texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from charrnn import arguments
from charrnn import text as texts
from charrnn.api import Model, load
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.files import name_of
from charrnn.run import logs
from charrnn.run_files import CHECKPOINTS

WINDOW = 256
"""Characters of a window by default; nanoGPT's character model reads as many."""
VAL_LOSS = "val_loss"
"""The protocol name of the best validation loss during training, used where nothing is evaluated."""


@dataclass(frozen=True)
class Text:
    """The text that losses were measured on. Two are equal if they hold the same characters, whatever their names.

    Attributes:
        name: a name for the user.
        sha256: hash of the whole training text, or of the given text as the network reads it.
        first: position in it of the first character that is evaluated.
        characters: number of characters that are evaluated.
        shuffled: whether the documents of the training text were shuffled before this part of it was held out.
    """

    name: str = field(compare=False)
    sha256: str
    first: int
    characters: int
    shuffled: bool = False


@dataclass(frozen=True)
class Row:
    """The results of one run.

    Attributes:
        run: its path, as given.
        checkpoint: the checkpoint file that was loaded.
        step: the step of that checkpoint.
        cell: `rnn`, `gru` or `lstm`.
        num_layers: L.
        hidden_size: H.
        parameters: number of parameters, without padding.
        vocabulary: V.
        dropout: of the layers' outputs during training.
        input_dropout: of the input characters.
        recurrent_dropout: of the recurrent weights.
        optimizer: name of the update rule.
        steps: number of updates done so far.
        chars_per_second: median over the metrics; None if there are none.
        minutes: training time so far; None if there are no metrics.
        text: the text of the losses; None if there are no losses.
        losses: protocol -> nats per character; None if it is missing.
        missing: protocol -> why its loss is missing.
        bits_per_byte: protocol -> the loss in bits per byte of UTF-8; None if it is missing.
        best: the protocols under which no other run on this text is better; empty if it is the only run on this text.
        notices: lines for the user about loading the model.
    """

    run: str
    checkpoint: str
    step: int
    cell: str
    num_layers: int
    hidden_size: int
    parameters: int
    vocabulary: int
    dropout: float
    input_dropout: float
    recurrent_dropout: float
    optimizer: str
    steps: int
    chars_per_second: float | None
    minutes: float | None
    text: Text | None
    losses: dict[str, float | None]
    missing: dict[str, str]
    bits_per_byte: dict[str, float | None] = field(default_factory=dict)
    best: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass
class Losses:
    """The losses of one run: the text, protocol -> nats per character, bits per byte, and why the loss is missing."""

    text: Text | None = None
    values: dict[str, float] = field(default_factory=dict)
    bits_per_byte: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def compare(
    runs: str | Path | Iterable[str | Path],
    text: str | None = None,
    *,
    window: int = WINDOW,
    evaluate: bool = True,
    unknown: str = "error",
    device: str = "auto",
    fallback: bool = True,
) -> list[Row]:
    """Return one row for each of `runs`, in their order.

    Args:
        runs: run directories, whose best checkpoint is used, or checkpoint files; or a single one.
        text: the text to predict; None means the validation split of each run.
        window: W of the protocol `windows:W`.
        evaluate: False evaluates nothing; the loss is then the best validation loss during training, `val_loss`.
        unknown: `error`, `skip` or `replace` characters of `text` that a network does not know.
        device: as in `load`.
        fallback: as in `load`.

    A loss that cannot be computed, for instance because the text of a run no longer exists, is missing in its row.
    Raises `CheckpointError` for a path without a checkpoint, `ConfigError` for a window below 1.
    """
    text = None if text is None else arguments.string(text, "the text")
    window = arguments.whole(window, "--window")
    options: dict[str, Any] = {"window": window, "evaluate": evaluate, "unknown": unknown}
    return mark_best(
        row(run, text, **options, device=device, fallback=fallback) for run in arguments.paths(runs, "runs")
    )


def row(
    run: str | Path,
    text: str | None = None,
    *,
    name: str = "the text",
    window: int = WINDOW,
    evaluate: bool = True,
    unknown: str = "error",
    device: str = "auto",
    fallback: bool = True,
    kernels: str | None = None,
) -> Row:
    """Return the row of one run, without marks of the best; `name` is that of `text`. The rest is as in `compare`."""
    widths = protocols(window, evaluate)
    model = load(run, device=device if evaluate else "cpu", fallback=fallback, kernels=kernels)
    metrics = metrics_of(Path(run), model)
    losses = evaluated_losses(model, text, name, widths, unknown) if evaluate else training_losses(model, metrics)
    config, rates = model.config.model, [m["chars_per_second"] for m in metrics if m["event"] == "train"]
    notices = model.notices
    if text and model.was_trained_on(text):
        notices += (f"{run} was trained on {name}",)
    return Row(
        run=str(run),
        checkpoint=str(model.source),
        step=model.step,
        cell=config.cell,
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        parameters=model.network.layout.parameters,
        vocabulary=len(model.vocabulary),
        dropout=config.dropout,
        input_dropout=config.input_dropout,
        recurrent_dropout=config.recurrent_dropout,
        optimizer=model.config.optimizer.name,
        steps=max([model.step, *(m["step"] for m in metrics[-1:])]),
        chars_per_second=median(rates) if rates else None,
        minutes=metrics[-1]["seconds"] / 60 if metrics else None,
        text=losses.text,
        losses={protocol: losses.values.get(protocol) for protocol in widths},
        missing=losses.missing,
        bits_per_byte={protocol: losses.bits_per_byte.get(protocol) for protocol in widths},
        notices=notices,
    )


def protocols(window: int, evaluate: bool) -> dict[str, int | None]:
    """Return protocol -> width of its windows, None for no windows. Raises `ConfigError` for a width below 1."""
    if window < 1:
        raise ConfigError(f"--window must be at least 1, not {window}")
    return {"carried": None, f"windows:{window}": window} if evaluate else {VAL_LOSS: None}


def metrics_of(run: Path, model: Model) -> list[dict[str, Any]]:
    """Return the metrics of a run directory, or those up to its step for a checkpoint file in one."""
    if run.is_dir():
        return logs.metrics(run)
    folder = run.absolute().parent
    metrics = logs.metrics(folder.parent) if folder.name == CHECKPOINTS else []
    return [metric for metric in metrics if metric["step"] <= model.step]


def evaluated_losses(model: Model, text: str | None, name: str, widths: dict[str, int | None], unknown: str) -> Losses:
    """Evaluate a model under each protocol, on `text` or on its validation split."""
    losses = Losses()
    try:
        part = model.validation() if text is None else model.encode(text, unknown)
    except TextError as error:
        losses.missing = dict.fromkeys(widths, str(error))
        return losses
    for protocol, width in widths.items():
        try:
            result = model.evaluate(part, window=width)
            losses.values[protocol], losses.bits_per_byte[protocol] = result.nats_per_char, result.bits_per_byte
        except (CheckpointError, TextError) as error:
            losses.missing[protocol] = str(error)
    if text is None:
        losses.text = replace(validation_text(model), characters=len(part.ids))
        return losses
    unknown_count = model.vocabulary.unknown_count(model.vocabulary.normalized(text))
    if unknown_count:
        name += f" ({unknown_count:,} unknown to the network, {'skipped' if unknown == 'skip' else 'replaced'})"
    text_read = model.vocabulary.decode(part.ids)
    digest = hashlib.sha256(text_read.encode())
    if len(part.starts):  # the state is reset between documents, so the loss is that of another text
        digest.update(part.starts.tobytes())
        name += f" in {len(part.starts) + 1:,} documents"
    losses.text = Text(name, digest.hexdigest(), 0, len(text_read))
    return losses


def training_losses(model: Model, metrics: list[dict[str, Any]]) -> Losses:
    """Return the lowest `val_loss` of the metrics; the loss at step 0 counts only after fine-tuning."""
    fine_tuned = model.config.train.init_from != ""
    evaluations = [m for m in metrics if m["event"] == "eval" and (m["step"] or fine_tuned)]
    if not evaluations:
        return Losses(missing={VAL_LOSS: "its metrics hold no evaluation"})
    best = min(evaluations, key=itemgetter("val_loss"))
    bits = best.get("val_bits_per_byte")  # early runs did not write it
    text = validation_text(model, model.config.log.eval_chars)
    return Losses(text, {VAL_LOSS: best["val_loss"]}, {VAL_LOSS: bits if logs.is_valid_number(bits) else None})


def validation_text(model: Model, most: int = 0) -> Text:
    """Return the validation split of a run, its first `most` characters if not 0, without reading the text.

    A split between shuffled documents may be a few characters longer or shorter than the result says.
    """
    data, total, sha256 = model.config.data, sum(model.vocabulary.counts), model.training_text_hash()
    names = [name_of(file) for file in data.val_files or data.files] or [texts.EMBEDDED]
    first, name = (
        texts.validation_start(total, data.val_fraction),
        names[0] if len(names) == 1 else f"{len(names)} files",
    )
    if model.val_text is not None:
        first, total, sha256 = 0, model.val_text.characters, model.val_text.sha256
    else:
        name = f"the last {100 * data.val_fraction:g}% of {name}"
    if data.document_separator:
        name += f", documents ending in {data.document_separator!r}"
    if data.shuffle_documents:
        name += ", shuffled"
    if 0 < most < total - first:
        name, total = f"the first {most:,} characters of {name}", first + most
    return Text(name, sha256, first, total - first, data.shuffle_documents)


def mark_best(rows: Iterable[Row]) -> list[Row]:
    """Return `rows` with `best` filled in; a run whose text no other run shares has no marks."""
    rows = list(rows)
    groups: dict[tuple[Text | None, str], list[float]] = {}
    for one in rows:
        for protocol, loss in one.losses.items():
            if loss is not None:
                groups.setdefault((one.text, protocol), []).append(loss)
    lowest = {group: min(losses) for group, losses in groups.items() if len(losses) > 1}

    def best(one: Row) -> tuple[str, ...]:
        return tuple(p for p, loss in one.losses.items() if loss is not None and loss == lowest.get((one.text, p)))

    return [replace(one, best=best(one)) for one in rows]
