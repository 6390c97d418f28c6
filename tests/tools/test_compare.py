"""`charrnn.compare`: the values of a row, the text of its losses, and the best."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import TEXT
from helpers.runs_to_compare import LINES, train_run

import charrnn
from charrnn import checkpoint
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.run import logs
from charrnn.run_files import METRICS
from charrnn.tools.compare import Row, Text, mark_best


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run r, which tests must not change."""
    return train_run(tmp_path_factory.mktemp("comparison"), "r")


@pytest.fixture
def run(shared: Path, tmp_path: Path) -> Path:
    """Return a copy of the run."""
    return shutil.copytree(shared, tmp_path / "r")


def test_row_describes_the_run(shared: Path, tmp_path: Path) -> None:
    """The row has the cell, the size, the number of parameters by the equations, the best checkpoint, and more."""
    V, H = len(set(TEXT)), 8
    (row,) = charrnn.compare([shared])
    assert (row.run, row.cell, row.num_layers, row.hidden_size) == (str(shared), "rnn", 1, H)
    assert (row.vocabulary, row.dropout, row.optimizer, row.steps) == (V, 0.1, "adam", 10)
    assert row.parameters == V * H + H * H + H + H * V + V  # the padding of the layout's vector would be 192 more
    best = checkpoint.find(shared)[1].meta
    assert (row.step, row.checkpoint) == (best.step, str(checkpoint.path_of(shared, best.step)))
    assert (row.input_dropout, row.recurrent_dropout) == (0.0, 0.0)
    lstm = train_run(tmp_path, "lstm", model_cell="lstm", model_num_layers=2, model_recurrent_dropout=0.25)
    (row,) = charrnn.compare([lstm], evaluate=False)
    assert (row.dropout, row.input_dropout, row.recurrent_dropout) == (0.1, 0.0, 0.25)
    gates = lambda inputs: 4 * (inputs * H + H * H + H)  # noqa: E731
    assert (row.cell, row.num_layers, row.parameters) == ("lstm", 2, gates(V) + gates(H) + H * V + V)


def test_losses_equal_those_of_evaluate(shared: Path) -> None:
    """The loss under each protocol is that of the best checkpoint, on the validation split or on a text."""
    model = charrnn.load(shared, device="cpu")
    for text in (None, "she sells shells"):
        (row,) = charrnn.compare([shared], text, window=4, device="cpu")
        expected = {"carried": None, "windows:4": 4}
        assert row.losses == {p: model.evaluate(text, window=w).nats_per_char for p, w in expected.items()}
        assert row.missing == {}
    assert row.losses["carried"] != row.losses["windows:4"]
    assert row.text is not None
    assert row.text.name == "the text"
    assert list(charrnn.compare([shared], "she sells shells", window=8)[0].losses) == ["carried", "windows:8"]


def test_other_documents_are_another_text(shared: Path, tmp_path: Path) -> None:
    """A run that resets its state between documents is not compared with one that does not."""
    parted = train_run(tmp_path, "parted", data_document_separator=" ")
    for text, words in ((None, "documents ending in ' '"), ("she sells shells", "in 3 documents")):
        one, other = charrnn.compare([shared, parted], text, window=4, device="cpu")
        assert one.text is not None
        assert other.text is not None
        assert (one.text == other.text, one.best, other.best) == (False, (), ())
        assert words in other.text.name
        assert words not in one.text.name


def test_metrics_of_an_unfinished_run(run: Path) -> None:
    """The row has the median rate, minutes, steps and best loss after step 0; damaged lines are ignored."""
    whole = "".join(json.dumps(line) + "\n" for line in LINES)
    (run / METRICS).write_text(whole + "7\nnull\n" + '{"event": "train", "step": 25, "seconds": 99.0, "ch')
    (row,) = charrnn.compare([run], evaluate=False)
    assert (row.chars_per_second, row.minutes, row.steps, row.losses) == (20.0, 1.5, 20, {"val_loss": 2.25})
    assert logs.metrics(run) == LINES
    assert logs.seconds(run) == 90.0
    (run / METRICS).write_text(whole.splitlines()[0] + "\n")
    (row,) = charrnn.compare([run], evaluate=False)
    assert (row.chars_per_second, row.minutes, row.steps, row.losses) == (None, 1 / 60, 10, {"val_loss": None})
    assert row.missing == {"val_loss": "its metrics hold no evaluation"}
    assert row.text is None


def test_metrics_of_a_checkpoint_file(run: Path, tmp_path: Path) -> None:
    """A checkpoint file in a run directory has the metrics up to its step; any other file has none."""
    (run / METRICS).write_text("".join(json.dumps(line) + "\n" for line in LINES))
    inside = checkpoint.path_of(run, 5)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / METRICS).write_text(json.dumps(LINES[1]) + "\n")
    outside = shutil.copy(inside, tmp_path / "elsewhere" / "alone.safetensors")
    first, second = charrnn.compare([inside, outside], evaluate=False)
    assert (first.step, first.steps, first.minutes, first.chars_per_second) == (5, 5, 31 / 60, 10.0)
    assert first.losses == {"val_loss": 2.5}
    assert (second.step, second.steps, second.minutes, second.chars_per_second) == (5, 5, None, None)


def test_missing_losses_have_a_reason(run: Path, shared: Path, tmp_path: Path) -> None:
    """A missing or changed text, no validation split, and a short text leave only losses out."""
    (row,) = charrnn.compare([shared], "she sells")
    assert (row.losses["carried"] > 0, row.losses["windows:256"]) == (True, None)
    assert row.missing == {"windows:256": "the text has 9 characters, too few for one window of 256"}
    unsplit = train_run(tmp_path, "whole", data_val_fraction=0.0)
    moved = train_run(tmp_path, "moved")
    (tmp_path / "t.txt").write_text("another text")
    for path, reason in ((unsplit, "no validation split"), (moved, "not the text that the run was trained on")):
        (row,) = charrnn.compare([path], window=8)
        assert row.losses == {"carried": None, "windows:8": None}
        assert [reason in why for why in row.missing.values()] == [True, True]
        assert (row.text, row.parameters > 0) == (None, True)
    (tmp_path / "t.txt").unlink()
    assert "there is no such file" in charrnn.compare([moved], window=8)[0].missing["carried"]
    (row,) = charrnn.compare([run], "Xyz", window=2)
    assert row.text is None
    assert set(row.missing) == {"carried", "windows:2"}
    assert "never saw: 'X' 'z'" in row.missing["carried"]


def test_text_of_the_losses(shared: Path, tmp_path: Path) -> None:
    """Equal characters are the same text, whatever the file name; another split, part or corpus is another text."""
    run = train_run(tmp_path, "same")
    (tmp_path / "t.txt").rename(tmp_path / "u.txt")
    renamed = charrnn.compare([shared, run], evaluate=False)
    assert renamed[0].text == renamed[1].text
    others = [train_run(tmp_path, "a", data_val_fraction=0.2), train_run(tmp_path, "b", log_eval_chars=20)]
    others.append(train_run(tmp_path, "c", text=TEXT.replace("shore", "Shore")))
    texts = [row.text for row in charrnn.compare([shared, *others], evaluate=False)]
    assert len(set(texts)) == 4
    first, held = int(len(TEXT) * 0.9), len(TEXT) - int(len(TEXT) * 0.9)
    assert (texts[0].name, texts[0].first, texts[0].characters) == ("the last 10% of t.txt", first, held)
    assert (texts[1].name, texts[1].first) == ("the last 20% of t.txt", int(len(TEXT) * 0.8))
    assert (texts[2].name, texts[2].characters) == ("the first 20 characters of the last 10% of t.txt", 20)
    model = charrnn.load(shared, device="cpu")
    assert len(model.validation().ids) == held
    assert texts[0].sha256 == model.sha256
    assert charrnn.compare([others[2]])[0].text.characters == held
    (tmp_path / "t.txt").write_text(TEXT)
    assert charrnn.compare([others[1]])[0].text == texts[0]  # all of the split is evaluated afterwards


def test_unknown_characters_make_another_text(shared: Path, tmp_path: Path) -> None:
    """A network that skips or replaces characters reads another text."""
    other = train_run(tmp_path, "other", text=TEXT + "X" * 20)
    text = "she X sells"
    for unknown, read in (("skip", "she  sells"), ("replace", "she   sells")):
        rows = charrnn.compare([shared, other], text, window=2, unknown=unknown)
        assert [row.text.sha256 for row in rows] == [hashlib.sha256(each.encode()).hexdigest() for each in (read, text)]
        assert [row.text.characters for row in rows] == [len(read), len(text)]
        assert rows[0].text != rows[1].text
        assert [row.best for row in rows] == [(), ()]
        loss = charrnn.load(shared, device="cpu").evaluate(read).nats_per_char
        assert rows[0].losses["carried"] == loss
    names = [charrnn.compare([run], text, unknown="skip")[0].text.name for run in (shared, other)]
    assert names == ["the text (1 unknown to the network, skipped)", "the text"]
    rows = charrnn.compare([shared, other], "she sells", window=2)
    assert rows[0].text == rows[1].text


def test_best_loss() -> None:
    """The lowest loss of each text and protocol is the best, also if tied; a single run on a text is not."""
    a, b, c = Text("a", "1", 0, 9), Text("b", "2", 0, 9), Text("c", "3", 0, 9)
    losses = [(a, 2.0, 3.0), (Text("also a", "1", 0, 9), 1.5, 3.0), (b, 1.0, None), (b, 1.25, 2.0), (c, 0.5, 0.5)]
    row = Row("r", "c", 1, "rnn", 1, 8, 99, 3, 0.0, 0.0, 0.0, "adam", 1, None, None, None, {}, {})
    rows = [replace(row, text=text, losses={"carried": x, "windows:4": y}) for text, x, y in losses]
    best = [each.best for each in mark_best(rows)]
    assert best == [("windows:4",), ("carried", "windows:4"), ("carried",), (), ()]
    lost = [replace(row, text=a, losses={"carried": x}) for x in (math.inf, 4.0, None)]
    assert [each.best for each in mark_best(lost)] == [(), ("carried",), ()]


def test_errors(shared: Path, tmp_path: Path) -> None:
    """A path without a checkpoint and a window of 0 are errors; `evaluate` accepts the result of `encode`."""
    with pytest.raises(CheckpointError, match="no run directory"):
        charrnn.compare([shared, tmp_path / "nosuch"])
    with pytest.raises(ConfigError, match="--window must be at least 1, not 0"):
        charrnn.compare([shared], window=0)
    model = charrnn.load(shared, device="cpu")
    assert model.evaluate(model.encode("she sells", "error")) == model.evaluate("she sells")
    with pytest.raises(TextError):
        model.evaluate("X")
