"""Runs side by side: what each network is, what its training took, and how well it predicts.

Only losses on the same text compare, so every row says which text its losses are of, and the lowest loss is sought
among rows of equal texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from charrnn import checkpoint
from charrnn import text as texts
from charrnn.api import Model, load, path_list
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.run import logs

WINDOW = 256
"""Characters of a window: as many as nanoGPT's character model sees."""
VAL_LOSS = "val_loss"
"""Stands for the protocols where nothing is evaluated: the best loss while training."""


@dataclass(frozen=True)
class Text:
    """The text that losses were measured on. Equal ones, whatever their names, are the same characters.

    Attributes:
        name: for people.
        sha256: of the whole text that a run was trained on, or of the text that was given, as the network reads it.
        first: where in it the characters begin that count.
        characters: how many they are.
    """

    name: str = field(compare=False)
    sha256: str
    first: int
    characters: int


@dataclass(frozen=True)
class Row:
    """A run.

    Attributes:
        run: its path, as given.
        checkpoint: the file that was read: the best.
        step: of that checkpoint.
        cell: the kind of network.
        num_layers: L.
        hidden_size: H.
        parameters: how many, without padding.
        vocabulary: V.
        dropout: of the layers' outputs while training; `input_dropout` of the characters; `recurrent_dropout` of the
            recurrent weights.
        optimizer: the name of the update rule.
        steps: updates done, so far.
        chars_per_second: the median of the metrics; None where there is none.
        minutes: that training took, so far; None where there is no metric.
        text: what the losses are of; None where there is none.
        losses: protocol -> nats/char; None where it is missing.
        missing: protocol -> why.
        best: the protocols under which no other run on this text is better; none where no other is on it.
        notices: lines about how it was loaded.
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
    best: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


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
    """A row for each of `runs`, in their order.

    Args:
        runs: run directories, of which the best checkpoint counts, or checkpoint files; or one of them.
        text: what the networks predict; None: each its own validation split.
        window: W of the protocol `windows:W`.
        evaluate: False evaluates nothing; the loss is then the best while training, `val_loss`.
        unknown: what happens to characters of `text` that a network never saw: `error`, `skip` or `replace`.
        device: as for `load`.
        fallback: as for `load`.

    A loss that cannot be had (the text of a run is gone) is missing in its row. Raises `CheckpointError` for what is
    no run, `ConfigError` for a window below 1.
    """
    options: dict[str, Any] = {"window": window, "evaluate": evaluate, "unknown": unknown}
    return mark_best(row(run, text, **options, device=device, fallback=fallback) for run in path_list(runs))


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
) -> Row:
    """The row of one run, compared with none; `name` is that of `text`. Else as `compare`."""
    wanted = protocols(window, evaluate)
    model = load(run, device=device if evaluate else "cpu", fallback=fallback)
    metrics = metrics_of(Path(run), model)
    if evaluate:
        of, losses, missing = evaluated(model, text, name, wanted, unknown)
    else:
        of, losses, missing = while_training(model, metrics)
    shape, rates = model.config.model, [m["chars_per_second"] for m in metrics if m["event"] == "train"]
    return Row(
        run=str(run),
        checkpoint=str(model.source),
        step=model.step,
        cell=shape.cell,
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        parameters=model.network.layout.parameters,
        vocabulary=len(model.vocabulary),
        dropout=shape.dropout,
        input_dropout=shape.input_dropout,
        recurrent_dropout=shape.recurrent_dropout,
        optimizer=model.config.optimizer.name,
        steps=max([model.step, *(m["step"] for m in metrics[-1:])]),
        chars_per_second=median(rates) if rates else None,
        minutes=metrics[-1]["seconds"] / 60 if metrics else None,
        text=of,
        losses={protocol: losses.get(protocol) for protocol in wanted},
        missing=missing,
        notices=(*model.notices, *([f"{run} was trained on {name}"] if text and model.was_trained_on(text) else [])),
    )


def protocols(window: int, evaluate: bool) -> dict[str, int | None]:
    """The protocols of a comparison by name, with the width of their windows. Raises `ConfigError` for one below 1."""
    if window < 1:
        raise ConfigError(f"--window must be at least 1, not {window}")
    return {"carried": None, f"windows:{window}": window} if evaluate else {VAL_LOSS: None}


def metrics_of(run: Path, model: Model) -> list[dict[str, Any]]:
    """The metrics of a run; of a checkpoint file in a run directory, those up to its step."""
    if run.is_dir():
        return logs.metrics(run)
    folder = run.absolute().parent
    found = logs.metrics(folder.parent) if folder.name == checkpoint.FOLDER else []
    return [metric for metric in found if metric["step"] <= model.step]


def evaluated(
    model: Model, text: str | None, name: str, wanted: dict[str, int | None], unknown: str
) -> tuple[Text | None, dict[str, float], dict[str, str]]:
    """What the losses are of, the loss under each protocol, and why one is missing."""
    found: dict[str, float] = {}
    missing: dict[str, str] = {}
    try:
        part = model.validation() if text is None else model.encode(text, unknown)
    except TextError as error:
        return None, found, dict.fromkeys(wanted, str(error))
    for protocol, width in wanted.items():
        try:
            found[protocol] = model.evaluate(part, window=width).nats_per_char
        except (CheckpointError, TextError) as error:
            missing[protocol] = str(error)
    if text is None:
        return held_out(model), found, missing
    strange = sum(map(text.count, set(text) - set(model.vocabulary.characters)))
    if strange:
        name += f" ({strange:,} unknown to the network, {'skipped' if unknown == 'skip' else 'replaced'})"
    read = model.vocabulary.decode(part.ids)
    digest = hashlib.sha256(read.encode())
    if len(part.starts):  # a state that is dropped between documents predicts another text
        digest.update(part.starts.tobytes())
        name += f" in {len(part.starts) + 1:,} documents"
    return Text(name, digest.hexdigest(), 0, len(read)), found, missing


def while_training(model: Model, metrics: list[dict[str, Any]]) -> tuple[Text | None, dict[str, float], dict[str, str]]:
    """The same from the metrics: the lowest `val_loss`. That of an untrained network does not count."""
    trained = model.config.train.init_from != ""
    found = [m["val_loss"] for m in metrics if m["event"] == "eval" and (m["step"] or trained)]
    if not found:
        return None, {}, {VAL_LOSS: "its metrics hold no evaluation"}
    return held_out(model, model.config.log.eval_chars), {VAL_LOSS: min(found)}, {}


def held_out(model: Model, most: int = 0) -> Text:
    """The validation split of a run, `most` characters of it (0: all), known without reading the text."""
    data, total = model.config.data, sum(model.vocabulary.counts)
    first = texts.held_out_from(total, data.val_fraction)
    names = [Path(file).name for file in data.files] or [texts.EMBEDDED]
    name = f"the last {100 * data.val_fraction:g}% of {names[0] if len(names) == 1 else f'{len(names)} files'}"
    if data.document_separator:
        name += f", documents ending in {data.document_separator!r}"
    if 0 < most < total - first:
        return Text(f"the first {most:,} characters of {name}", model.sha256, first, most)
    return Text(name, model.sha256, first, total - first)


def mark_best(rows: Iterable[Row]) -> list[Row]:
    """`rows` with the best of each text and protocol marked; a run that is alone on its text is the best of nothing."""
    rows = list(rows)
    found: dict[tuple[Text | None, str], list[float]] = {}
    for each in rows:
        for protocol, loss in each.losses.items():
            if loss is not None:
                found.setdefault((each.text, protocol), []).append(loss)
    lowest = {place: min(losses) for place, losses in found.items() if len(losses) > 1}

    def best(each: Row) -> tuple[str, ...]:
        return tuple(p for p, loss in each.losses.items() if loss is not None and loss == lowest.get((each.text, p)))

    return [replace(each, best=best(each)) for each in rows]
