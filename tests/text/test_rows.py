"""Rows of JSON Lines and CSV are documents, and a row that is none is an error with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from helpers.commands import TRAIN, Call
from helpers.properties import modest
from helpers.texts import caching, check, files, split_text
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import ConfigError, TextError
from charrnn.text import Rows, from_files, rows
from charrnn.text import corpus as corpora

cells = st.lists(st.text("aé😀,;\"'\t\r\n\u2028{\\", max_size=8), min_size=1, max_size=9)


def jsonl_of(texts: list[str]) -> bytes:
    """Return JSON Lines, with one text escaped and the next one not."""
    return "".join(
        json.dumps({"id": n, "text": text}, ensure_ascii=n % 2 == 0) + "\n" * (1 + n % 3)
        for n, text in enumerate(texts)
    ).encode()


def csv_of(texts: list[str], delimiter: str = ",") -> bytes:
    """Return CSV with a header."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows([["id", "text"], *([n, text] for n, text in enumerate(texts))])
    return stream.getvalue().encode()


@modest
@given(cells, st.integers(1, 9), st.sampled_from(["", "a", "é\n"]), st.sampled_from([",", ";", "\t"]))
def test_each_row_is_a_document(texts: list[str], block: int, separator: str, delimiter: str) -> None:
    """The corpus is that of one file for each text, which ends in the separator: in RAM, and from the disk."""
    ended = [text + separator * (not text.endswith(separator)) for text in [*texts, "ab"] if text]
    parts = [part for text in ended for part in (split_text(text, separator) if separator else [text])]
    for content, fields in (
        (jsonl_of([*texts, "ab"]), Rows(jsonl="text")),
        (csv_of([*texts, "ab"], delimiter), Rows(csv="text")),
    ):
        with files(content) as names, mock.patch.object(corpora, "BLOCK", block):
            for small in (10**6, 1):
                with caching(small=small, block=block):
                    check(from_files(names, separator=separator, rows=fields), *parts)


def test_files_of_rows(tmp_path: Path) -> None:
    """Rows of several files, packed, in another encoding, with a mark or without a last newline."""
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"t": "one"}\r\n\r\n{"t": ""}\n{"t": null}\n{"t": "two"}')
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"t": "drei"}\n'))
    check(from_files([str(tmp_path)], rows=Rows(jsonl="t")), "one", "two", "drei")
    check(from_files([str(tmp_path)], separator="w", rows=Rows(jsonl="t")), "onew", "tw", "ow", "dreiw")
    (tmp_path / "c.csv").write_bytes('x; t \n"a""\n";"1\n2"\n\nb;é'.encode("cp1252"))
    check(from_files([str(tmp_path / "c.csv")], "cp1252", rows=Rows(csv="t")), "1\n2", "é")
    check(from_files([str(tmp_path / "c.csv")], "cp1252", rows=Rows(csv="x")), 'a"\n', "b")


ERRORS = [
    (b'{"t": "a"}\n\n{"u": "b", "id": 1}', "line 3 has no field 't'; its fields are 'u', 'id'"),
    (b'{"t": "a"}\n{}', "line 2 has no field 't'; it has none"),
    (b'{"t": 1.5}', "line 1: the field 't' is a number, not a text"),
    (b'{"t": ["a"]}', "line 1: the field 't' is a list, not a text"),
    (b'{"t": true}', "line 1: the field 't' is true or false, not a text"),
    (b'{"t": "a"}\nhello', "line 2 is not JSON (Expecting value): --jsonl needs one object on each line"),
    (b'["a"]', 'line 1 is no object: --jsonl needs one on each line, as in {"t": "..."}'),
    (b"[" * 100_000, "line 1 is not JSON ("),
    (b'{"t": ' + b"9" * 5000 + b"}", "line 1 is not JSON ("),
    (b'{"t": "ab\\ud800"}', "lone surrogate"),
    (b"id,text\n1,a\n", "line 1 has no column 't'; its columns are 'id', 'text'"),
    (b"id;text\n1;a\n", "line 1 has no column 't'; its columns are 'id', 'text'"),
    (b"id,t\n1,a\n\n2\n", "line 4 has 1 columns; the column 't' is number 2"),
    (b'id,t\n1,"a\nb\n', "line 3 is not CSV (unexpected end of data)"),
    (b'id,t\n1,"a"b\n', "line 2 is not CSV ("),
    (b"", "0 characters are too few"),
    (b"id,t\n", "0 characters are too few"),
    (b"id,t\n1,\xff\n", "byte 7 (0xFF) is not utf-8"),
    (b"id,t\n1,\0\n", "it has NUL characters"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "error"), ERRORS)
def test_rows_that_are_none(content: bytes, error: str) -> None:
    """The error is one line that names the file, the line, and what is wrong or missing."""
    fields = Rows(csv="t") if content.startswith(b"id") else Rows(jsonl="t")
    with files(content) as (name,), pytest.raises(TextError) as caught:
        from_files([name], rows=fields)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "surrogate" in error


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long line or value is refused before it fills the memory; the limit of the csv module stays as it was."""
    limit = csv.field_size_limit()
    with files(csv_of(["x" * 200_000])) as names:
        assert len(from_files(names, rows=Rows(csv="text")).ids) == 200_000
    with pytest.raises(TextError, match=r"its fields are 'a0', .*, 'a11', and 28 more"):
        list(Rows(jsonl="t").texts("x", [json.dumps({f"a{n}": "" for n in range(40)})]))
    monkeypatch.setattr(rows, "LONGEST_LINE", 99)
    with caching(small=10**6, block=7):
        for content, fields in ((b"x" * 200, Rows(jsonl="t")), (b'"' + b"x\n" * 99, Rows(csv="t"))):
            with files(b"t\n" * bool(fields.csv) + content) as names, pytest.raises(TextError, match=r"line|field"):
                from_files(names, rows=fields)
    assert csv.field_size_limit() == limit


def test_what_cannot_be_combined() -> None:
    """Both options, or one without a file, are an error of one line."""
    with pytest.raises(ConfigError, match="use --jsonl or --csv, not both"):
        Rows("a", "b")
    with pytest.raises(TextError, match="--jsonl and --csv need a file"):
        from_files([], rows=Rows("a"))


@pytest.mark.parametrize("option", ["jsonl", "csv"])
@pytest.mark.parametrize("source", ["rows", "-"])
def test_a_run_on_rows(call: Call, tmp_path: Path, option: str, source: str) -> None:
    """A run on rows evaluates, is compared and resumes by its configuration, from a file or its own copy."""
    texts = ["she sells\nsea shells", "by the sea shore; ", 'the "shells", sure'] * 20
    content = jsonl_of(texts) if option == "jsonl" else csv_of(texts)
    (tmp_path / "rows").write_bytes(content)
    words = ["train", source, *TRAIN[2:], f"--{option}=text", "--set=data.shuffle_documents=false", "--out=run"]
    assert "documents: 60, one in each row" in call(*words, "--stop-after=5", stdin=content.decode())[1]
    call("train", "--resume", "--out=run")
    call(*words, "--resume", "--steps=12", stdin=content.decode())
    assert charrnn.load("run", device="cpu").validation().starts.tolist() == [
        len("".join(texts[:n])) - int(len("".join(texts)) * 0.9) for n in range(55, 60)
    ]
    assert json.loads(call("compare", "run", "--json")[0])
    if source == "-":
        copy = (tmp_path / "run" / "corpus.txt").read_text(encoding="utf-8")
        assert [json.loads(line)["text"] for line in copy.splitlines()] == texts


def test_rows_to_measure(call: Call, trained: Path, tmp_path: Path) -> None:
    """In `eval` and `score` each row begins a document, whose characters are predicted from a zero state."""
    texts = ["she sells", "sea shells\n", "sure"]
    (tmp_path / "rows.csv").write_bytes(csv_of(texts))
    (tmp_path / "rows.jsonl").write_bytes(jsonl_of(texts))
    run = trained / "r"
    model = charrnn.load(run, device="cpu")
    part = model.encode(texts)
    assert part.starts.tolist() == [9, 20]
    alone = [model.score(text).sum() for text in texts]
    for words in (["rows.csv", "--csv=text"], ["rows.jsonl", "--jsonl=text"]):
        result = json.loads(call("eval", run, *words, "--json")[0])
        assert result["characters"] == 23
        scored = [line.split("\t") for line in call("score", run, *words)[0].splitlines()]
        assert "".join(json.loads(character) for _, character in scored) == "".join(texts)
        total = sum(float(nats) for nats, _ in scored[1:])
        assert total == pytest.approx(result["nats_per_char"] * 23, abs=0.002)
        firsts = sum(float(scored[start][0]) for start in part.starts)
        assert total - firsts == pytest.approx(sum(alone), abs=0.002)
    assert "--jsonl and --csv are about FILE" in call("eval", run, "--csv=text", status=2)[1]


def test_rows_have_a_beginning(call: Call, tmp_path: Path) -> None:
    """A network that learned rows predicts the first character of each, too; a sample has no end of its own."""
    texts = ["she sells", "sea shells\n", "sure"] * 20
    (tmp_path / "rows.csv").write_bytes(csv_of(texts))
    keys = {"data.csv": "text", "train.steps": 3, "train.device": "cpu", "model.hidden_size": 8}
    keys |= {"train.batch_size": 4, "train.seq_length": 8, "log.baselines": False}
    model = charrnn.train(files=tmp_path / "rows.csv", settings=keys, out=tmp_path / "run")
    assert model.network.start_symbol
    (tmp_path / "few.csv").write_bytes(csv_of(texts[:3]))
    scored = [line.split("\t") for line in call("score", tmp_path / "run", "few.csv", "--csv=text")[0].splitlines()]
    assert "".join(json.loads(character) for _, character in scored) == "".join(texts[:3])
    model = charrnn.load(tmp_path / "run", device="cpu")
    alone = np.concatenate([model.score(text) for text in texts[:3]])
    assert [float(nats) for nats, _ in scored] == pytest.approx(alone.tolist(), abs=1e-4)
    assert len(model.sample(length=40, seed=1)) == 40
