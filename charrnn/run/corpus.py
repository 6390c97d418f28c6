"""The text of a run: read it, compare it with the text of the run that is resumed, and record where it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from charrnn import config, files, text
from charrnn.checkpoint import Checkpoint
from charrnn.config import Table
from charrnn.config.schema import DataConfig
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.run import directory
from charrnn.run.finetuning import Source
from charrnn.run.request import Request
from charrnn.run_files import CORPUS
from charrnn.text import Corpus, Rows, Vocabulary


@dataclass(frozen=True)
class RunText:
    """The text of a run.

    Attributes:
        corpus: the text.
        files: the absolute paths for the configuration.
        copied: whether the run directory keeps a copy, because the text is in no other file.
        rows: how the rows of the files are read.
        notices: lines for the user.
    """

    corpus: Corpus
    files: tuple[str, ...]
    copied: bool
    rows: Rows
    notices: tuple[str, ...]

    @property
    def table(self) -> Table:
        """The keys of the configuration that say where the text is. A copy of rows has one JSON object for each."""
        copy = {"encoding": "utf-8", "jsonl": self.rows.jsonl or self.rows.csv, "csv": ""}
        return {"data": {"files": self.files} | (copy if self.copied else {})}


def read_text(request: Request, table: Table, saved: Checkpoint | None = None, source: Source | None = None) -> RunText:
    """Read the text of `request` or, if it names none, of the configuration `table`.

    The text of a resumed run must be the one that `saved` was trained on; it gets the vocabulary of that run. The text
    of a run that begins with the weights of `source` gets the vocabulary of both.
    Raises `TextError`, `ConfigError`, and `CheckpointError` for another text than that of `saved`.
    """
    data, out = config.build({"data": table.get("data", {})}).data, request.out
    rows = Rows(data.jsonl, data.csv)
    if request.text is not None:
        if rows:
            raise ConfigError("data.jsonl and data.csv are about files: pass files, or a text without these keys")
        names: tuple[str, ...] = ("-",)
        corpus = text.from_text(request.text, separator=data.document_separator)
    else:
        try:
            if request.files or "files" in request.table.get("data", {}):
                names = expanded(request.files or locate(out, data.files))
                corpus = text.from_files(names, data.encoding, data.document_separator, rows=rows)
            else:
                names = locate(out, data.files)
                corpus = own_text(out, data, saved.meta.vocabulary if saved else None)
        except TextError as error:
            hint = f"; the run in {out} needs its text: name the file" if saved and not request.files else ""
            raise TextError(f"{error}{hint}") from None
    if saved is not None:
        corpus = as_trained_on(corpus, saved, data.document_separator, out)
    elif source is not None:
        corpus = source.widen(corpus, table)
    # Standard input, or a pipe as in `charrnn train <(zcat book.gz)`, cannot be read again.
    in_no_file = len(names) == 1 and (names[0] == "-" or not Path(names[0]).is_file())
    if in_no_file:
        names = (str(out.absolute() / CORPUS),) if out is not None else ("-",)
    else:
        names = tuple(str(Path(name).absolute()) for name in names)
    for name in names:
        text.check_name(name)
    if out is not None:
        directory.check_texts(out, names)
    copied = in_no_file and out is not None
    return RunText(corpus, names, copied, rows, documents(corpus, data.document_separator, rows))


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Return the files that names from the user mean: globs and directories are expanded."""
    names = list(names)
    if "-" in names and len(names) > 1:
        raise ConfigError("standard input (-) must be the only text")
    return tuple(text.expand(names))


def locate(run: Path | None, names: Iterable[str]) -> tuple[str, ...]:
    """Return where the texts of a run are now: at their recorded paths, or in `run`, which may have moved."""

    def place(name: str) -> str:
        if run is None:
            return name
        inside = run / files.name_of(name)
        if not inside.is_file() or files.is_outside(inside, run):
            return name
        return str(inside) if inside.name == CORPUS or not Path(name).exists() else name

    return tuple(map(place, names))


def own_text(run: Path | None, data: DataConfig, vocabulary: Vocabulary | None) -> Corpus:
    """Read the text of the files that a run recorded, wherever they are now.

    The run may come from a stranger. So its names mean files only, and files that are too short for the text that
    `vocabulary` counts, or more than twice as long, are not read. The caller must compare the hash of the text.

    Raises `TextError` for a name that is no file, and as `text.from_files` does.
    """
    characters = sum(vocabulary.counts) if vocabulary is not None else 0
    try:
        names = text.check_plain_files(locate(run, data.files), characters)
    except OSError as error:  # a name that is too long, a directory without permission
        raise TextError(f"the text of {run} cannot be read ({error.strerror})") from None
    most = 2 * characters if vocabulary is not None else math.inf
    # The hash is compared, so a text with NULs, which an earlier version accepted, is the right one.
    rows = Rows(data.jsonl, data.csv)
    return text.from_files(names, data.encoding, data.document_separator, rows=rows, max_characters=most, checked=False)


def as_trained_on(corpus: Corpus, saved: Checkpoint, separator: str, run: Path | None) -> Corpus:
    """Return `corpus` with the vocabulary and the name of the run of `saved`.

    Raises `CheckpointError` if the run was trained on another text.
    """
    if corpus.sha256 != saved.meta.sha256:
        differs = difference(saved, corpus, separator) + growth(saved, corpus, run)
        raise CheckpointError(f"--resume needs the text that the run was trained on: {differs}")
    return replace(text.with_vocabulary(corpus, saved.meta.vocabulary), name=saved.meta.corpus)


def growth(saved: Checkpoint, corpus: Corpus, run: Path | None) -> str:
    """Return how to learn a text that has grown since the run in `run`; nothing for a text that is not longer."""
    if len(corpus.ids) <= sum(saved.meta.vocabulary.counts):
        return ""
    has_new = bool(set(corpus.vocabulary.characters) - set(saved.meta.vocabulary.characters))
    options = f"--init-from {run}" + " --grow-vocabulary" * has_new
    return f": if it has grown, start a new run with these weights: {options} --out NEW"


def documents(corpus: Corpus, separator: str, rows: Rows) -> tuple[str, ...]:
    """Return a line for the user about the number of documents; nothing if there are no separator and no rows."""
    if rows and not separator:
        return (f"documents: {len(corpus.starts):,}, one in each row",)
    if not separator:
        return ()
    if len(corpus.starts) == 1:
        return (f"the text is one document: it has no document separator {separator!r} between two",)
    return (f"documents: {len(corpus.starts):,}, separated by {separator!r}",)


def difference(saved: Checkpoint, corpus: Corpus, separator: str) -> str:
    """Describe how `corpus`, split by `separator`, differs from the text of a checkpoint."""
    before, now = saved.meta.vocabulary.used, corpus.vocabulary
    length = sum(saved.meta.vocabulary.counts)
    message = f"{saved.meta.corpus} had {length:,} characters, {corpus.name} has {len(corpus.ids):,}"
    for label, characters in (
        ("new", set(now.characters) - set(before.characters)),
        ("missing", set(before.characters) - set(now.characters)),
    ):
        if characters:
            message += f"; {label}: " + " ".join(map(repr, sorted(characters)[:10]))
    old_separator = saved.meta.config.data.document_separator
    if old_separator != separator:
        message += f"; its documents are separated by {old_separator!r}, not {separator!r} (data.document_separator)"
    elif before == now:
        message += "; the characters are the same, in another order or cut into other documents"
    if saved.meta.corpus == text.EMBEDDED:
        message += " (the embedded corpus is that of the running Python: resume with the Python that started it)"
    return message
