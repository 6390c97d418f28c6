"""Documents inside one file, in a run: trained on, recorded, resumed and evaluated."""

from __future__ import annotations

import gzip
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TEXT, TINY, Call
from helpers.properties import modest
from helpers.texts import split_text
from helpers.trainers import tiny_config
from hypothesis import settings
from hypothesis import strategies as st

import charrnn
from charrnn.backend import ThreadPool
from charrnn.backend.numpy import NumpyBackend
from charrnn.errors import ConfigError
from charrnn.model import build
from charrnn.run.resolve import start
from charrnn.text import Part, from_text
from charrnn.training import masks

many = settings(modest, max_examples=150)
separators = st.text("ab\n", min_size=1, max_size=3) | st.sampled_from(["é", "é\n", "😀😀", "<|end|>"])
FIT = [*TINY, "--steps=4", "--set=log.sample_every=0"]
BOOK = "".join(f"chapter {n}: {TEXT[n : n + 40]}\n\n" for n in range(20))


def test_masks_made_in_advance_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks for one step at a time or for many give the same steps, and other ones than no documents."""
    corpus, vectors = from_text(BOOK, separator="\n\n"), []
    settings = tiny_config("float32", "lstm")
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


def test_evaluation_resets_the_state_at_documents(tmp_path: Path) -> None:
    """The loss of a text is that of its documents, alone, with the first character of each after the start symbol."""
    keys = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 30}
    settings = keys | {"train.device": "cpu", "data.document_separator": "\n\n", "model.dtype": "float64"}
    (tmp_path / "book.txt").write_text(BOOK)
    charrnn.train(files=[tmp_path / "book.txt"], settings=settings, out=tmp_path / "r")
    model = charrnn.load(tmp_path / "r", device="cpu")
    tail = BOOK[int(len(BOOK) * 0.9) :]
    parts = split_text(tail, "\n\n")
    assert len(parts) > 1
    nats = [model.score(part) for part in parts]
    assert [len(each) for each in nats] == [len(part) for part in parts]
    assert model.score(tail) == pytest.approx(np.concatenate(nats), rel=1e-12)
    model.network = replace(model.network, start_symbol=False)
    cut = [model.score(parts[0]), *nats[1:]]  # the split begins inside a document
    model.network = replace(model.network, start_symbol=True)
    assert model.evaluate().nats_per_char == pytest.approx(float(np.concatenate(cut).mean()), rel=1e-12)
    expected = float(np.concatenate(nats).mean())
    assert model.evaluate(tail).nats_per_char == pytest.approx(expected, rel=1e-12)
    assert model.evaluate("\u3000" + tail, unknown="skip").nats_per_char == pytest.approx(expected, rel=1e-12)
    assert model.score(tail).mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("source", ["book.txt", "-", "book.txt.gz"])
def test_a_separator_is_recorded(call: Call, tmp_path: Path, source: str) -> None:
    """From a file, a pipe or gzip: training, resuming and evaluating use it, and the loss differs from that without."""
    (tmp_path / "book.txt").write_text(BOOK)
    (tmp_path / "book.txt.gz").write_bytes(gzip.compress(BOOK.encode()))
    stdin = BOOK if source == "-" else ""
    _, err = call("train", source, *FIT, "--document-separator", r"\n\n", "--out=r", "--stop-after=2", stdin=stdin)
    assert r"documents: 20, separated by '\n\n'" in err.splitlines()
    assert tomllib.loads((tmp_path / "r" / "config.toml").read_text())["data"]["document_separator"] == "\n\n"
    call("train", "--resume", "--out=r")
    call("train", "book.txt", *FIT, "--set", r'data.document_separator="\n\n"', "--out=whole")
    call("train", "book.txt", *FIT, "--out=one")
    nats = [json.loads(call("eval", run, "--json")[0])["nats_per_char"] for run in ("r", "whole", "one")]
    assert nats[0] == nats[1] != nats[2]


def test_messages_about_separators(call: Call, tmp_path: Path) -> None:
    """One that splits nothing is noted; one that is not the run's, or an incomplete escape, is an error."""
    (tmp_path / "book.txt").write_text(BOOK)
    _, err = call("train", "book.txt", *FIT, "--document-separator=;;", "--out=r", "--stop-after=2")
    assert "the text is one document: it has no document separator ';;' between two" in err.splitlines()
    _, err = call("train", "--resume", "--out=r", "--document-separator", r"\n\n", status=2)
    assert r"its documents are separated by ';;', not '\n\n' (data.document_separator)" in err
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
    """A word in the shell and the same in quotes in a TOML file are one string; a newline itself is allowed."""
    call("train", "t.txt", *FIT, "--document-separator", word, "--out=r")
    assert tomllib.loads((tmp_path / "r" / "config.toml").read_text())["data"]["document_separator"] == meant
    if "\n" not in word:
        assert tomllib.loads(f'separator = "{word}"') == {"separator": meant} or '\\"' in word
