"""Many documents are shuffled before the split: which are held out, in which texts, and that everything agrees."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TINY, Call, metrics
from helpers.properties import modest
from helpers.texts import caching, files
from hypothesis import example, given
from hypothesis import strategies as st

import charrnn
from charrnn import checkpoint, text
from charrnn.text import Corpus, Part

SORTED = [f"{first}{second}{third}\n" for first in "abcdefghij" for second in "aeiou" for third in "lmnt"]
FIT = ["--document-separator=\\n", *TINY, "--set=log.eval_every=4", "--set=log.sample_every=0"]


def documents_of(part: Part, corpus: Corpus) -> list[str]:
    """Return the text of each document of a part that begins with one."""
    assert part.begins
    ends = [0, *part.starts.tolist(), len(part.ids)]
    return [corpus.vocabulary.decode(part.ids[a:b]) for a, b in pairwise(ends)]


@modest
@given(
    st.lists(st.integers(1, 9), min_size=21, max_size=60),
    st.lists(st.integers(100, 400), max_size=2),
    st.floats(0.02, 0.9),
    st.integers(1, 80),
)
@example([3] * 21, [], 0.1, 7)
def test_every_document_is_in_one_part(lengths: list[int], long: list[int], fraction: float, block: int) -> None:
    """The two parts have every document once and whole; the cut is the start of the nearest document.

    A document that is longer than the held-out share is never held out. The corpus does not change.
    """
    written = [chr(97 + n % 26) * length + ";" for n, length in enumerate([*lengths, *long])]
    corpus = text.from_text("".join(written), separator=";")
    ids, size = corpus.ids.copy(), sum(map(len, written))
    share = size - int(size * (1 - fraction))
    if not corpus.fits_shuffling(fraction):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.corpus.BLOCK", block)
        training, validation = corpus.split(fraction, shuffle=True)
    assert validation is not None
    kept, held_out = documents_of(training, corpus), documents_of(validation, corpus)
    assert sorted(kept + held_out) == sorted(written)
    assert share / 2 <= len(validation.ids) <= 2 * share
    assert max(map(len, held_out)) <= share
    distance = abs(len(validation.ids) - share)
    assert distance <= abs(len(validation.ids) + len(kept[-1]) - share)
    assert distance <= abs(len(validation.ids) - len(held_out[0]) - share)
    assert np.array_equal(corpus.ids, ids)
    again = corpus.split(fraction, shuffle=True)[1]
    assert again is not None
    assert np.array_equal(again.ids, validation.ids)


def test_documents_are_held_out_from_everywhere() -> None:
    """A sorted list is held out from its beginning, middle and end; another text has another order."""
    corpus = text.from_text("".join(SORTED), separator="\n")
    held_out = [documents_of(corpus.split(0.2, shuffle=True)[1], corpus)]
    places = sorted(SORTED.index(name) for name in held_out[0])
    assert len(places) == 40
    assert [sum(first <= place < first + 50 for place in places) for first in (0, 50, 100, 150)] == pytest.approx(
        [10] * 4, abs=6
    )
    other = text.from_text("".join(SORTED) + "zzz\n", separator="\n")
    held_out.append(documents_of(other.split(0.2, shuffle=True)[1], other))
    assert held_out[0] != held_out[1]


def test_the_order_is_that_of_raw_random_numbers() -> None:
    """The order is the same with every version of NumPy: the bits of PCG64, seeded by the hash, sort the documents."""
    corpus = text.from_text("".join(SORTED), separator="\n")
    bits = np.random.PCG64(int(corpus.sha256, 16)).random_raw(len(SORTED)).tolist()
    expected = [name for _, name in sorted(zip(bits, SORTED, strict=True))]
    training, validation = corpus.split(0.2, shuffle=True)
    assert validation is not None
    assert documents_of(training, corpus) + documents_of(validation, corpus) == expected


@pytest.mark.parametrize(
    ("documents", "fraction", "fits"),
    [
        (["ab;"] * 21, 0.1, True),
        (["ab;"] * 20, 0.1, False),
        (["ab;"] * 30, 0.0, False),
        (["ab;"] * 30 + ["x" * 60 + ";"], 0.1, True),
        (["ab;"] * 30 + ["x" * 9000 + ";"], 0.1, False),
    ],
)
def test_which_texts_are_shuffled(documents: list[str], fraction: float, fits: bool) -> None:
    """A text of more than 20 documents is, unless the short ones together are far less than what is to be held out."""
    assert text.from_text("".join(documents), separator=";").fits_shuffling(fraction) is fits


def test_one_document_has_one_order() -> None:
    """A damaged configuration may ask to shuffle a single document: the split is then that of the text."""
    corpus = text.from_text("".join(SORTED))
    for shuffled, plain in zip(corpus.split(0.1, shuffle=True), corpus.split(0.1), strict=True):
        assert np.array_equal(shuffled.ids, plain.ids)


def test_a_mapped_text_keeps_its_order() -> None:
    """A text that is mapped from the cache is not shuffled."""
    with caching(), files("".join(SORTED).encode()) as names:
        corpus = text.from_files(names, separator="\n")
        assert corpus.is_mapped
        assert not corpus.fits_shuffling(0.1)
        del corpus


def test_a_run_says_that_it_shuffles(call: Call, tmp_path: Path) -> None:
    """A line says how many documents are held out; `config.toml` records the choice; old files mean off."""
    (tmp_path / "names.txt").write_text("".join(SORTED))
    error = call("train", "names.txt", *FIT, "--steps=0", "--out=on")[1]
    assert "documents are shuffled before the split: 20 of 200 are held out (data.shuffle_documents)" in error
    error = call("train", "names.txt", *FIT, "--steps=0", "--set=data.shuffle_documents=false", "--out=off")[1]
    assert "shuffled" not in error
    (tmp_path / "few.txt").write_text("".join(SORTED[:20]))
    assert "shuffled" not in call("train", "few.txt", *FIT, "--steps=0", "--out=few")[1]
    recorded = {run: (tmp_path / run / "config.toml").read_text() for run in ("on", "off", "few")}
    values = {run: tomllib.loads(content)["data"]["shuffle_documents"] for run, content in recorded.items()}
    assert values == {"on": True, "off": False, "few": False}
    path = checkpoint.path_of(tmp_path / "off", 0)
    saved = checkpoint.load(path)
    values = checkpoint.file.encode(saved.meta)
    del values["config"]["data"]["shuffle_documents"]
    assert checkpoint.file.decode(json.loads(json.dumps(values))) == saved.meta


def test_training_evaluation_and_resuming_agree(call: Call, tmp_path: Path) -> None:
    """A resumed run ends in the same tensors; `eval`, the metrics and a model in memory agree on the held-out text."""
    (tmp_path / "names.txt").write_text("".join(SORTED))
    call("train", "names.txt", *FIT, "--steps=8", "--out=whole")
    call("train", "names.txt", *FIT, "--steps=8", "--out=parts", "--stop-after=3")
    call("train", "--resume", "--out=parts")
    whole, parts = (checkpoint.load(checkpoint.path_of(tmp_path / run, 8)) for run in ("whole", "parts"))
    assert whole.digest == parts.digest
    loss = next(m["val_loss"] for m in metrics(tmp_path / "whole") if m["event"] == "eval" and m["step"] == 8)
    out = json.loads(call("eval", "whole", "--checkpoint=8", "--json")[0])
    assert out["nats_per_char"] == pytest.approx(loss, abs=1e-5)
    assert out["characters"] == 20 * 4
    model = charrnn.load(tmp_path / "whole", device="cpu")
    corpus = text.from_text("".join(SORTED), separator="\n")
    assert documents_of(model.validation(), corpus) == documents_of(corpus.split(0.1, shuffle=True)[1], corpus)
    out = json.loads(call("compare", "whole", "parts", "--json")[0])
    assert out["rows"][0]["text"] == out["rows"][1]["text"]
    assert out["rows"][0]["text"]["shuffled"] is True
