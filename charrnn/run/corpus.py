"""The text of a run: read, compared with the one that a resumed run was trained on, and recorded by its files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from charrnn import text
from charrnn.checkpoint import Checkpoint
from charrnn.config import Table, build
from charrnn.config.schema import DataConfig
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.run import recorder
from charrnn.text import Corpus, Vocabulary


def read_corpus(
    said: str | None,
    names: tuple[str, ...],
    out: Path | None,
    table: Table,
    saved: Checkpoint | None = None,
    *,
    recorded: bool = False,
) -> Corpus:
    """The text that was asked for; when resuming it must be the run's own, and gets the vocabulary that the run has.

    Args:
        said: the text itself, or
        names: of files; neither: those of the configuration.
        out: the run directory, in which they may be now.
        table: the configuration.
        saved: what is resumed, if anything.
        recorded: whether the names in the table are those that a run wrote down, and that nobody says now.
    """
    data = table.get("data", {})
    separator = data.get("document_separator", "")
    if said is not None:
        corpus = text.from_text(said, separator=separator)
    else:
        try:
            if recorded and not names:
                corpus = own_text(out, build({"data": data}).data, saved.meta.vocabulary if saved else None)
            else:
                files = names or recorder.located(out, data.get("files", ()))
                if "-" in files and len(files) > 1:
                    raise ConfigError("standard input (-) must be the only text")
                corpus = text.from_files(files, data.get("encoding", "utf-8"), separator)
        except TextError as error:
            hint = f"; the run in {out} needs its text: name the file" if saved and not names else ""
            raise TextError(f"{error}{hint}") from None
    if saved is None:
        return corpus
    if corpus.sha256 != saved.meta.sha256:
        raise CheckpointError(
            f"--resume needs the text that the run was trained on: {difference(saved, corpus, separator)}"
        )
    return replace(text.with_vocabulary(corpus, saved.meta.vocabulary), name=saved.meta.corpus)


def own_text(run: Path | None, data: DataConfig, vocabulary: Vocabulary | None) -> Corpus:
    """The text of the files that a run has written down, wherever they are now.

    The run may come from anybody. So its names mean files and nothing else, and what is too short to be the text that
    `vocabulary` counts, or more than twice as long, is not read. Whether it is that text is for the caller to say.

    Raises `TextError` for what is no file, and as `text.from_files` does.
    """
    characters = sum(vocabulary.counts) if vocabulary is not None else 0
    try:
        files = text.check_plain_files(recorder.located(run, data.files), characters)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise TextError(f"the text of {run} cannot be read ({error.strerror})") from None
    most = 2 * characters if vocabulary is not None else math.inf
    return text.from_files(files, data.encoding, data.document_separator, max_characters=most)


def recorded_files(
    said: str | None, names: tuple[str, ...], out: Path | None, table: Table
) -> tuple[tuple[str, ...], bool]:
    """The files for the configuration, by absolute path; and whether the text is in none and is kept in the run.

    So a run on standard input or a string can be resumed and evaluated like any other. Arguments: see `read_corpus`.
    """
    names = names or recorder.located(out, table.get("data", {}).get("files", ()))
    files = () if said is not None else tuple(text.expand(list(names)))
    passing = len(files) == 1 and not Path(files[0]).is_file()  # a pipe, as in `charrnn train <(zcat book.gz)`
    if said is None and not passing:
        paths = tuple(str(Path(name).absolute()) for name in files)
        for path in paths:
            text.check_name(path)
        return paths, False
    if out is None:
        return ("-",), False
    return (str(out.absolute() / recorder.CORPUS),), True


def documents(corpus: Corpus, separator: str) -> list[str]:
    """A line for the user about how many documents a separator makes; none where there is no separator."""
    if not separator:
        return []
    if len(corpus.starts) == 1:
        return [f"the text is one document: it has no document separator {separator!r} between two"]
    return [f"documents: {len(corpus.starts):,}, parted by {separator!r}"]


def difference(saved: Checkpoint, corpus: Corpus, separator: str) -> str:
    """In words, how `corpus`, parted by `separator`, differs from the one of a checkpoint."""
    before, has = saved.meta.vocabulary, corpus.vocabulary
    had = before.used
    words = f"{saved.meta.corpus} had {sum(before.counts):,} characters, {corpus.name} has {len(corpus.ids):,}"
    for label, characters in (
        ("new", set(has.characters) - set(had.characters)),
        ("missing", set(had.characters) - set(has.characters)),
    ):
        if characters:
            words += f"; {label}: " + " ".join(map(repr, sorted(characters)[:10]))
    parted = saved.meta.config.data.document_separator
    if parted != separator:
        words += f"; its documents are parted by {parted!r}, not {separator!r} (data.document_separator)"
    elif had == has:
        words += "; the characters are the same, in another order or cut into other documents"
    if saved.meta.corpus == text.EMBEDDED:
        words += " (the embedded corpus is that of the running Python: resume with the Python that started it)"
    return words
