"""The text of a run: read it, compare it with the text of the run that is resumed, and record where it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from charrnn import config, files, text
from charrnn.checkpoint import Checkpoint, Meta
from charrnn.config import Table
from charrnn.config.schema import DataConfig
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.run import directory
from charrnn.run.finetuning import Source
from charrnn.run.request import Request
from charrnn.run_files import COPIES, CORPUS, TEST_CORPUS, VAL_CORPUS
from charrnn.text import Corpus, Fingerprint, Rows

SHOWN = 10
"""The most characters that a message shows."""
COPY_OF = {"files": CORPUS, "val_files": VAL_CORPUS, "test_files": TEST_CORPUS}
"""Key of [data] with the names of files -> the name of the copy of their text in a run directory."""
OPTION_OF = {"val_files": "--val", "test_files": "--test"}
WHAT = {"val_files": "validation text", "test_files": "test text"}

Names = dict[str, tuple[str, ...]]
"""Key of [data] -> names of files."""


@dataclass(frozen=True)
class RunText:
    """The texts of a run.

    Attributes:
        corpus: the text to train on, with those to validate and test on.
        files: the absolute paths for the configuration.
        copied: whether the run directory keeps copies, because one of the texts is in no other file.
        rows: how the rows of the files are read.
        notices: lines for the user.
    """

    corpus: Corpus
    files: Names
    copied: bool
    rows: Rows
    notices: tuple[str, ...]

    @property
    def table(self) -> Table:
        """The keys of the configuration that say where the texts are. A copy of rows has a JSON object for each."""
        copy = {"encoding": "utf-8", "jsonl": self.rows.jsonl or self.rows.csv, "csv": ""}
        return {"data": self.files | (copy if self.copied else {})}

    @property
    def copies(self) -> dict[str, Corpus]:
        """The texts that the run directory keeps copies of, by the names of these."""
        corpora = {CORPUS: self.corpus, VAL_CORPUS: self.corpus.validation, TEST_CORPUS: self.corpus.test}
        return {name: corpus for name, corpus in corpora.items() if corpus is not None and self.copied}


def read_text(request: Request, table: Table, saved: Checkpoint | None = None, source: Source | None = None) -> RunText:
    """Read the texts of `request` or, for those that it does not name, of the configuration `table`.

    The texts of a resumed run must be those of the run of `saved`; they get the vocabulary of that run. The texts of a
    run that begins with the weights of `source` get the vocabulary of both.
    Raises `TextError`, `ConfigError`, and `CheckpointError` for other texts than those of `saved`.
    """
    data, out = config.build({"data": table.get("data", {})}).data, request.out
    rows = Rows(data.jsonl, data.csv)
    if request.text is not None and rows:
        raise ConfigError("data.jsonl and data.csv are about files: pass files, or a text without these keys")
    names, left_out = names_of_texts(request, data)
    known = known_lengths(saved.meta) if saved else {}
    corpora = {
        key: read_named(request, key, named, data, known.get(key), resumed=saved is not None)
        for key, named in names.items()
        if named or key == "files"
    }
    corpus = corpora["files"]
    if len(corpora) > 1:
        corpus = text.with_held_out(corpus, corpora.get("val_files"), corpora.get("test_files"))
    if saved is not None:
        corpus = as_trained_on(corpus, saved, data.document_separator, out)
    elif source is not None:
        corpus = source.widen(corpus, table)
    # Standard input, or a pipe as in `charrnn train <(zcat book.gz)`, cannot be read again.
    in_no_file = {key for key, named in names.items() if len(named) == 1 and not is_file(named[0])}
    copied = out is not None and bool(in_no_file)
    for key, named in names.items():
        if copied and out is not None and key in corpora:
            names[key] = (str(out.absolute() / COPY_OF[key]),)
        else:
            names[key] = ("-",) if key in in_no_file else tuple(str(Path(name).absolute()) for name in named)
    everything = [name for named in names.values() for name in named]
    for name in everything:
        text.check_name(name)
    if out is not None:
        directory.check_texts(out, everything)
    notices = (*left_out, *documents(corpus, data.document_separator, rows), *held_out_texts(corpus))
    return RunText(corpus, names, copied, rows, notices)


def names_of_texts(request: Request, data: DataConfig) -> tuple[Names, list[str]]:
    """Return the names of the files of each text, and a line for each file that is held out and so not trained on.

    Raises `TextError` if no other file is left, and as `expanded` does.
    """
    wanted, out = request.table.get("data", {}), request.out
    names = {key: locate(out, getattr(data, key)) for key in COPY_OF}
    if request.files:
        names["files"] = request.files
    for key in COPY_OF:
        if key == "files" and request.text is not None:
            names[key] = ("-",)
        elif key in wanted or (key == "files" and request.files):
            names[key] = expanded(names[key])
    if sum(named == ("-",) for named in names.values()) - (request.text is not None) > 1:
        raise ConfigError("standard input (-) can be one text only: name files for the others")
    held_out = {place(name) for key in OPTION_OF for name in names[key] if name != "-"}
    kept = tuple(name for name in names["files"] if place(name) not in held_out)
    if names["files"] and not kept:
        raise TextError(f"{names['files'][0]} is held out (--val, --test), so nothing is left to train on")
    left_out = [f"{name} is held out, so it is not trained on" for name in names["files"] if name not in kept]
    return names | {"files": kept}, left_out


def read_named(
    request: Request, key: str, names: tuple[str, ...], data: DataConfig, characters: int | None, *, resumed: bool
) -> Corpus:
    """Return the corpus of one text of a run.

    Args:
        request: what the user asks for.
        key: the key of [data] with its names.
        names: its files.
        data: the format of the files.
        characters: how many the resumed run says that it has; None if it does not say it.
        resumed: whether a run is resumed.

    Raises `TextError` as `text.from_files` and `own_text` do.
    """
    if key == "files" and request.text is not None:
        return text.from_text(request.text, separator=data.document_separator)
    named = key in request.table.get("data", {}) or (key == "files" and bool(request.files))
    try:
        if not named:
            return own_text(request.out, names, data, characters)
        rows = Rows(data.jsonl, data.csv)
        return text.from_files(names, data.encoding, data.document_separator, rows=rows)
    except TextError as error:
        where = f"name the file with {OPTION_OF[key]}" if key in OPTION_OF else "name the file"
        hint = f"; the run in {request.out} needs its text: {where}" if resumed and not named else ""
        raise TextError(f"{error}{hint}") from None


def known_lengths(meta: Meta) -> dict[str, int]:
    """Return the number of characters of each text of a run, by the keys of [data]."""
    held_out = {"val_files": meta.val_text, "test_files": meta.test_text}
    known = {key: fingerprint.characters for key, fingerprint in held_out.items() if fingerprint is not None}
    return {"files": sum(meta.vocabulary.counts), **known}


def place(name: str) -> str:
    """Return the path that a name leads to; for one that no file can have, as a stranger may write it, the name."""
    with suppress(ValueError):
        return os.path.realpath(name)
    return name


def is_file(name: str) -> bool:
    """Return whether a text can be read again: standard input and pipes cannot."""
    return name != "-" and Path(name).is_file()


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
        return str(inside) if inside.name in COPIES or not Path(name).exists() else name

    return tuple(map(place, names))


def own_text(run: Path | None, recorded: Iterable[str], data: DataConfig, characters: int | None) -> Corpus:
    """Read the text of the files that a run recorded, wherever they are now.

    The run may come from a stranger. So the names mean files only, and files that are too short for a text of so many
    `characters`, or more than twice as long, are not read. The caller must compare the hash of the text.

    Raises `TextError` for a name that is no file, and as `text.from_files` does.
    """
    try:
        names = text.check_plain_files(locate(run, recorded), characters or 0)
    except OSError as error:  # a name that is too long, a directory without permission
        raise TextError(f"the text of {run} cannot be read ({error.strerror})") from None
    most = math.inf if characters is None else 2 * characters
    # The hash is compared, so a text with NULs, which an earlier version accepted, is the right one.
    rows = Rows(data.jsonl, data.csv)
    return text.from_files(names, data.encoding, data.document_separator, rows=rows, max_characters=most, checked=False)


def own_validation_text(run: Path | None, data: DataConfig, known: Fingerprint | None) -> Corpus:
    """Read the text of `data.val_files` that a run recorded. Raises `TextError` for another text, and as `own_text`."""
    corpus = own_text(run, data.val_files, data, known.characters if known else 0)
    if corpus.fingerprint != known:
        raise TextError(f"{corpus.name} is not the text that the run was validated on")
    return corpus


def as_trained_on(corpus: Corpus, saved: Checkpoint, separator: str, run: Path | None) -> Corpus:
    """Return `corpus` with the vocabulary and the name of the run of `saved`.

    Raises `CheckpointError` if the run was trained, or is validated or tested, on another text.
    """
    if corpus.sha256 != saved.meta.sha256:
        differs = difference(saved, corpus, separator) + growth(saved, corpus, run)
        raise CheckpointError(f"--resume needs the text that the run was trained on: {differs}")
    check_held_out("val_files", corpus.validation, saved.meta.val_text)
    check_held_out("test_files", corpus.test, saved.meta.test_text)
    return replace(text.with_vocabulary(corpus, saved.meta.vocabulary), name=saved.meta.corpus)


def check_held_out(key: str, now: Corpus | None, before: Fingerprint | None) -> None:
    """Raise `CheckpointError` if a resumed run has another text to validate or test on than `before`."""
    what = f"the {WHAT[key]} ({OPTION_OF[key]})"
    if now is not None and before is None:
        raise CheckpointError(f"--resume cannot add {what}: leave it out, or start a new run")
    if now is None and before is not None:
        raise CheckpointError(f"--resume cannot leave out {what} of the run: name it, or start a new run")
    if now is not None and before is not None and now.fingerprint != before:
        sizes = f"it had {before.characters:,} characters, {now.name} has {len(now.ids):,}"
        other = " other ones" if before.characters == len(now.ids) else ""
        raise CheckpointError(f"--resume needs {what} of the run: {sizes}{other}; restore it, or start a new run")


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


def held_out_texts(corpus: Corpus) -> Iterator[str]:
    """Yield a line for the user about a text to validate on, and one about a text to test on."""
    counts = dict(zip(corpus.vocabulary.characters, corpus.vocabulary.counts, strict=True))
    for key, held_out in (("val_files", corpus.validation), ("test_files", corpus.test)):
        if held_out is None:
            continue
        new = [c for c in held_out.vocabulary.used.characters if not counts[c]]
        line = f"{WHAT[key]}: {held_out.name}, {len(held_out.ids):,} characters"
        if new:
            more = " ..." if len(new) > SHOWN else ""
            line += (
                f"; the training text lacks {len(new):,} of its characters: {' '.join(map(repr, new[:SHOWN]))}{more}"
            )
        if held_out.sha256 == corpus.sha256:
            line += "; it is the training text, so its loss says nothing about new text"
        yield line


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
