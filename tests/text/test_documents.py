"""Documents inside one file: found in any blocks, hashed, cached, evaluated and resumed like those of several files."""

from __future__ import annotations

import gzip
import json
import tomllib
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.commands import TEXT, TINY, Call
from helpers.properties import modest
from helpers.texts import caching, check, files
from helpers.trainers import settings_for
from hypothesis import example, given, settings
from hypothesis import strategies as st

import charrnn
from charrnn.backend import ThreadPool
from charrnn.backend.numpy import NumpyBackend
from charrnn.errors import ConfigError
from charrnn.model import build
from charrnn.run.resolve import start
from charrnn.text import Part, document_starts, from_files, from_text, sources
from charrnn.text.corpus import split_documents
from charrnn.training import masks

many = settings(modest, max_examples=150)
separators = st.text("ab\n", min_size=1, max_size=3) | st.sampled_from(["é", "é\n", "😀😀", "<|end|>"])
FIT = [*TINY, "--steps=4", "--set=log.sample_every=0"]
BOOK = "".join(f"chapter {n}: {TEXT[n : n + 40]}\n\n" for n in range(20))


@st.composite
def separated(draw: st.DrawFn) -> tuple[str, str]:
    """A text in which its separator is likely, and the separator."""
    separator = draw(separators)
    parts = st.one_of(st.just(separator), st.just(separator[:1]), st.text("ab\né😀<|", max_size=4))
    return "".join(draw(st.lists(parts, max_size=12))), separator


def documents(text: str, separator: str) -> list[str]:
    """The documents of a text by `str.find`: cut after each separator that has text of its own on both sides."""
    result, first, at = list[str](), 0, 0
    while (place := text.find(separator, at)) >= 0:
        at = place + len(separator)
        document, rest = text[first:at], text[at:]
        if rest and not rest.startswith(separator) and document != separator * (len(document) // len(separator)):
            result.append(document)
            first = at
    return [*result, text[first:]] if text[first:] else result


@many
@given(separated(), st.lists(st.integers(0, 30)))
@example(("ab--cd", "--"), [3])
@example(("------a------b--", "--"), [1, 2, 3, 4, 5, 6, 7, 8])
@example(("aaaaab", "aa"), [2, 3])
def test_documents_are_found_in_any_blocks(case: tuple[str, str], cuts: list[int]) -> None:
    """Blocks of any sizes, as characters or as UTF-8, give the text and the documents that `str.find` gives."""
    text, separator = case
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    blocks = [text[a:b] for a, b in pairwise(places)]
    expected = documents(text, separator)
    for given_blocks, mark in ((blocks, separator), ([b.encode() for b in blocks], separator.encode())):
        whole, found = mark[:0], [0]
        for block, begun in split_documents(given_blocks, mark):
            assert block
            found += [len(whole) + at for at in begun]
            whole += block
        assert whole == mark[:0].join(given_blocks)
        assert [whole[a:b] for a, b in zip(found, [*found[1:], None], strict=True) if whole] == [
            d if isinstance(whole, str) else d.encode() for d in expected
        ]
    assert document_starts(text, separator).tolist() == [len("".join(expected[:n])) for n in range(1, len(expected))]


@many
@given(separated(), st.text("ab\n", min_size=2, max_size=9), st.integers(1, 9))
@example(("a\n\nb", "\n"), "ab", 1)
def test_parted_files_are_the_corpus_of_their_documents(case: tuple[str, str], other: str, block: int) -> None:
    """Ids, starts and hash are those of one file for each document: in memory, spilled, and found in the cache."""
    text, separator = case
    expected = documents(text, separator) + documents(other, separator)
    with files(text.encode(), other.encode()) as names:
        for small in (10**6, 1):
            with caching(small=small, block=block):
                check(from_files(names, separator=separator), *expected)
                if small == 1:
                    with mock.patch.object(sources, "pieces", side_effect=AssertionError("encoded again")):
                        check(from_files(names, separator=separator), *expected)
                    check(from_files(names), text, other)
        with caching(small=10**6, block=block):
            check(from_text(other, separator=separator), *documents(other, separator))


def test_line_ends_are_what_they_are() -> None:
    """Nothing converts line ends: a separator of two newlines is none in a text with carriage returns."""
    assert from_text("ab\r\n\r\ncd", separator="\n\n").starts.tolist() == [0]
    assert from_text("ab\r\n\r\ncd", separator="\r\n\r\n").starts.tolist() == [0, 6]


@many
@given(st.sets(st.integers(1, 60), max_size=9), st.lists(st.integers(0, 60), min_size=1, max_size=9))
def test_a_part_knows_where_documents_begin(starts: set[int], positions: list[int]) -> None:
    """At the first character and at each start; and no start is left over behind the head of a part."""
    part = Part(np.zeros(61, np.uint8), np.array(sorted(starts), int))
    assert part.is_start(np.array([positions])).tolist() == [[n == 0 or n in starts for n in positions]]
    assert part.head(30).starts.tolist() == sorted(n for n in starts if n < 30)


def test_masks_made_anew_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks made for one step at a time or for many, and no documents at all: the same steps, and other ones."""
    corpus, vectors = from_text(BOOK, separator="\n\n"), []
    settings = settings_for("float32", "lstm")
    network = build(settings.model, len(corpus.vocabulary), NumpyBackend())
    for ahead, separated in ((masks.ELEMENTS, True), (0, True), (0, False)):
        monkeypatch.setattr(masks, "ELEMENTS", ahead)
        part = corpus.part(0, len(corpus.ids)) if separated else Part(corpus.ids)
        trainer = start(settings, network, part, ThreadPool(1))
        assert (trainer.masks.count == 1) == (ahead == 0)
        for _ in range(trainer.streams.chunks + 2):
            trainer.step()
        vectors.append(trainer.vector.copy())
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_evaluation_reads_each_document_from_a_cold_state(tmp_path: Path) -> None:
    """The run's own split, and the same text by hand: each document, and the first character after it, by itself."""
    keys = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 30}
    settings = keys | {"train.device": "cpu", "data.document_separator": "\n\n", "model.dtype": "float64"}
    (tmp_path / "book.txt").write_text(BOOK)
    charrnn.train(files=[tmp_path / "book.txt"], settings=settings, out=tmp_path / "r")
    model = charrnn.load(tmp_path / "r", device="cpu")
    tail = BOOK[int(len(BOOK) * 0.9) :]
    parts = documents(tail, "\n\n")
    assert len(parts) > 1
    nats = [model.score(part + after[:1]) for part, after in zip(parts, [*parts[1:], ""], strict=True)]
    expected = float(np.concatenate(nats).mean())
    assert model.evaluate().nats_per_char == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(tail).nats_per_char == pytest.approx(expected, rel=1e-12)
    assert model.evaluate("\u3000" + tail, unknown="skip").nats_per_char == pytest.approx(expected, rel=1e-12)
    assert model.score(tail).mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("source", ["book.txt", "-", "book.txt.gz"])
def test_a_separator_holds_for_the_whole_run(call: Call, tmp_path: Path, source: str) -> None:
    """From a file, a pipe or gzip: said, recorded, resumed, evaluated with; and it makes a difference."""
    (tmp_path / "book.txt").write_text(BOOK)
    (tmp_path / "book.txt.gz").write_bytes(gzip.compress(BOOK.encode()))
    stdin = BOOK if source == "-" else ""
    _, err = call("train", source, *FIT, "--document-separator", r"\n\n", "--out=r", "--stop-after=2", stdin=stdin)
    assert r"documents: 20, parted by '\n\n'" in err.splitlines()
    assert tomllib.loads((tmp_path / "r" / "config.toml").read_text())["data"]["document_separator"] == "\n\n"
    call("train", "--resume", "--out=r")
    call("train", "book.txt", *FIT, "--set", r'data.document_separator="\n\n"', "--out=whole")
    call("train", "book.txt", *FIT, "--out=one")
    nats = [json.loads(call("eval", run, "--json")[0])["nats_per_char"] for run in ("r", "whole", "one")]
    assert nats[0] == nats[1] != nats[2]


def test_what_is_said_about_separators(call: Call, tmp_path: Path) -> None:
    """One that parts nothing is noted; another one than the run's, or half an escape, is an error that shows it."""
    (tmp_path / "book.txt").write_text(BOOK)
    _, err = call("train", "book.txt", *FIT, "--document-separator=;;", "--out=r", "--stop-after=2")
    assert "the text is one document: it has no document separator ';;' between two" in err.splitlines()
    _, err = call("train", "--resume", "--out=r", "--document-separator", r"\n\n", status=2)
    assert r"its documents are parted by ';;', not '\n\n' (data.document_separator)" in err
    _, err = call("train", "--resume", "--out=r", "--document-separator=", status=2)
    assert "data.document_separator (the run has ';;', not '')" in err
    for word, shown in ((r"a\q", r"\q"), ("a\\", "\\"), (r"\u12", r"\u"), (r"\U00110000", r"\U00110000")):
        _, err = call("train", "book.txt", *FIT, "--document-separator", word, "--out=x", status=2)
        assert err == f"charrnn: --document-separator: {shown} is not an escape: write \\\\ for a backslash"
    _, err = call("train", "book.txt", *FIT, "--document-separator", r"\ud800", "--out=x", status=2)
    assert "data.document_separator must be valid Unicode" in err
    with pytest.raises(ConfigError, match="valid Unicode"):
        charrnn.train("abc", settings={"data.document_separator": "\udfff"})


@pytest.mark.parametrize(
    ("word", "meant"),
    [(r"\n\n", "\n\n"), ("\n", "\n"), (r"\\n", r"\n"), (r"\t\u00e9\U0001F600\"", '\té😀"'), ("<|end|>", "<|end|>")],
)
def test_escapes_are_those_of_a_configuration(call: Call, tmp_path: Path, word: str, meant: str) -> None:
    """The word in the shell and the same in quotes in a TOML file mean one string; a newline itself may be given."""
    call("train", "t.txt", *FIT, "--document-separator", word, "--out=r")
    assert tomllib.loads((tmp_path / "r" / "config.toml").read_text())["data"]["document_separator"] == meant
    if "\n" not in word:
        assert tomllib.loads(f'separator = "{word}"') == {"separator": meant} or '\\"' in word
