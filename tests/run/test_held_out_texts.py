"""Texts to validate and test on: what is evaluated, with which vocabulary, and what a resumed run needs."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from helpers.commands import TEXT, TRAIN, Call, metrics
from helpers.texts import caching, expected

import charrnn
from charrnn import checkpoint, config, text
from charrnn.errors import CheckpointError
from charrnn.training import events as training_events

VAL, TEST = "she sees the ßea; " * 9, "a shore is sure to sell; " * 7
OTHER = "zqzzq" * 20
"""A text of characters that training makes less probable, so that the first evaluation is the best."""
HELD_OUT = ["--val=val.txt", "--test=test.txt"]
KEYS: dict[str, Any] = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 10}
KEYS |= {"train.device": "cpu", "log.eval_every": 5, "log.sample_every": 0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a text to train on, one to validate and one to test on."""
    monkeypatch.chdir(tmp_path)
    for name, content in (("t.txt", TEXT), ("val.txt", VAL), ("test.txt", TEST)):
        (tmp_path / name).write_text(content)
    return tmp_path


def test_the_vocabulary_is_the_union() -> None:
    """All three texts get the ids of one vocabulary, in RAM and mapped from the cache; only training is counted."""
    for small in (10_000, 3):
        with caching(small=small):
            corpora = [text.from_text(content) for content in ("abcab", "bxbb", "éa")]
            whole = text.with_held_out(*corpora)
            assert whole.vocabulary == text.Vocabulary("abcxé", (2, 2, 1, 0, 0))
            assert whole.validation is not None
            assert whole.test is not None
            for corpus, content in ((whole, "abcab"), (whole.validation, "bxbb"), (whole.test, "éa")):
                assert corpus.ids.tolist() == ["abcxé".index(c) for c in content]
                assert corpus.vocabulary.characters == "abcxé"
                assert corpus.sha256 == expected(content).sha256
            training, validation = whole.split(0.5)
            assert validation is not None
            assert (len(training.ids), len(validation.ids), validation.begins) == (5, 4, True)
            del corpora, whole, corpus, training, validation


def test_a_run_validates_and_tests_on_its_files(call: Call, folder: Path) -> None:
    """The whole text is trained on; the losses are those of `eval` on the files; lines say what is held out."""
    out, error = call(*TRAIN, *HELD_OUT, "--out=r")
    assert f"validation text: val.txt, {len(VAL)} characters; the training text lacks 1 of its characters: 'ß'" in error
    assert f"test text: test.txt, {len(TEST)} characters" in error
    data = config.read("r/config.toml")["data"]
    assert (data["val_fraction"], data["val_files"]) == (0.0, (str(folder / "val.txt"),))
    *_, evaluated, tested = [line for line in metrics(folder / "r") if line["event"] in ("eval", "test")]
    model = charrnn.load("r", device="cpu")
    assert evaluated["val_loss"] == pytest.approx(model.evaluate(VAL).nats_per_char, abs=1e-5)
    assert tested["test_loss"] == pytest.approx(model.evaluate(TEST).nats_per_char, abs=1e-5)
    assert tested["test_bits_per_char"] == pytest.approx(tested["test_loss"] / np.log(2))
    assert f"test loss {tested['test_loss']:.4f} nats/char" in out
    assert model.evaluate() == model.evaluate(VAL)
    assert json.loads(call("eval", "r", "--json")[0])["characters"] == len(VAL) - 1
    assert model.vocabulary.counts[model.vocabulary.characters.index("ß")] == 0
    assert sum(model.vocabulary.counts) == len(TEXT)
    baselines = json.loads((folder / "r" / "baselines.json").read_text())
    assert [baselines[key] for key in ("training", "evaluated")] == [len(TEXT), len(VAL) - 1]


def test_the_best_network_is_tested(folder: Path) -> None:
    """The test is the last event but one, once, of the network with the lowest validation loss, not of the last one."""
    Path("val.txt").write_text(OTHER)
    events = list[Any]()
    files = {"files": "t.txt", "val_files": "val.txt", "test_files": ["test.txt"]}
    model = charrnn.train(**files, settings=KEYS, on_event=events.append)
    (tested,) = [event for event in events if isinstance(event, training_events.Tested)]
    assert events[-2:] == [tested, events[-1]]
    assert isinstance(events[-1], training_events.Ended)
    assert (tested.at.step, tested.checkpoint_step) == (10, 5)
    charrnn.train(**files, settings=KEYS, out="r")
    best = charrnn.load("r", device="cpu")
    assert best.step == 5
    assert tested.test_loss == pytest.approx(best.evaluate(TEST).nats_per_char, abs=1e-5)
    assert pickle.loads(pickle.dumps(model)).validation().ids.tolist() == model.validation().ids.tolist()
    model.save(folder / "alone.safetensors")
    assert charrnn.load("alone.safetensors", device="cpu").evaluate().characters == len(OTHER) - 1


def test_a_resumed_run_tests_the_best_network_of_an_earlier_process(call: Call, folder: Path) -> None:
    """A run that stops early tests nothing. Without further evaluations, the best is that of the first process."""
    call(*TRAIN, *HELD_OUT, "--out=r", "--stop-after=5")
    assert not [line for line in metrics(folder / "r") if line["event"] == "test"]
    call("train", "--resume", "--out=r", "--set=log.eval_every=0")
    (tested,) = [line for line in metrics(folder / "r") if line["event"] == "test"]
    assert (tested["step"], tested["checkpoint_step"]) == (10, 5)
    best = charrnn.load("r", checkpoint=5, device="cpu")
    assert tested["test_loss"] == pytest.approx(best.evaluate(TEST).nats_per_char, abs=1e-5)


def test_a_resumed_run_ends_in_the_same_checkpoint(call: Call, folder: Path) -> None:
    """With files that it finds again, and with copies of texts that come from standard input, also after a move."""
    call(*TRAIN, *HELD_OUT, "--out=whole")
    call(*TRAIN, *HELD_OUT, "--out=parts", "--stop-after=7")
    call("train", "-", *TRAIN[2:], *HELD_OUT, "--out=copies", "--stop-after=7", stdin=TEXT)
    names = {"corpus.txt": TEXT, "corpus-val.txt": VAL, "corpus-test.txt": TEST}
    assert {name: (folder / "copies" / name).read_text() for name in names} == names
    copytree(folder / "copies", folder / "moved")
    (folder / "copies" / "corpus-val.txt").write_text(TEST)
    digests = []
    for run in ("whole", "parts", "moved"):
        if run != "whole":
            call("train", "--resume", f"--out={run}")
        if run == "parts":
            for name in ("t.txt", "val.txt", "test.txt"):
                (folder / name).unlink()
        digests.append(checkpoint.load(checkpoint.path_of(folder / run, 10)).digest)
    assert len(set(digests)) == 1
    assert charrnn.load("moved", device="cpu").evaluate().characters == len(VAL) - 1
    for name, content in (("t.txt", TEXT), ("val.txt", VAL), ("test.txt", TEST)):
        (folder / name).write_text(content)
    call(*TRAIN, "--out=moved", "--overwrite")
    assert not list((folder / "moved").glob("corpus*.txt"))


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"val.txt": VAL[::-1]}, [], "needs the validation text (--val) of the run: it had 162 characters"),
        ({"test.txt": TEST + "s"}, [], "needs the test text (--test) of the run: it had 175 characters"),
        ({"val.txt": None}, [], "the run in r needs its text: name the file with --val"),
        ({}, ["--set=data.test_files=[]"], "cannot leave out the test text (--test) of the run"),
        ({"t.txt": TEXT + "s"}, [], "needs the text that the run was trained on"),
    ],
)
def test_a_resumed_run_needs_the_same_texts(
    call: Call, folder: Path, change: dict[str, str | None], words: list[str], message: str
) -> None:
    """A text that has changed, is missing or is left out is an error that names it. A renamed one can be named."""
    call(*TRAIN, *HELD_OUT, "--out=r", "--stop-after=5")
    (folder / "renamed.txt").write_text(VAL)
    for name, content in change.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)
    assert message in call("train", "--resume", "--out=r", *words, status=2)[1]
    if change == {"val.txt": None}:
        assert "name a text to evaluate" in call("eval", "r", status=2)[1]
        call("train", "--resume", "--out=r", "--val=renamed.txt")
        call("eval", "r")
    if change == {"val.txt": VAL[::-1]}:
        assert "is not the text that the run was validated on" in call("eval", "r", status=2)[1]


def test_a_run_cannot_get_a_text_later(call: Call, folder: Path) -> None:
    """A run that was started without a validation text is not resumed with one."""
    call(*TRAIN, "--out=r", "--stop-after=5")
    assert (
        "cannot add the validation text (--val)" in call("train", "--resume", "--val=val.txt", "--out=r", status=2)[1]
    )


def test_a_text_that_is_held_out_is_not_trained_on(call: Call, folder: Path) -> None:
    """A file of a folder that is held out is left out of the training text, and a line says so."""
    error = call("train", ".", *TRAIN[2:], *HELD_OUT, "--out=r")[1]
    assert "val.txt is held out, so it is not trained on" in error
    assert config.read("r/config.toml")["data"]["files"] == (str(folder / "t.txt"),)
    error = call("train", "val.txt", *TRAIN[2:], "--val=./val.txt", "--out=x", status=2)[1]
    assert "val.txt is held out (--val, --test), so nothing is left to train on" in error
    assert "can be one text only" in call("train", "-", "--val=-", "--out=x", stdin=TEXT, status=2)[1]
    (folder / "copy.txt").write_text(TEXT)
    assert "it is the training text" in call(*TRAIN, "--val=copy.txt", "--out=y")[1]


def test_names_that_no_file_can_have(call: Call, folder: Path) -> None:
    """A recorded name of a text with a NUL is an error of one line, in `train` and in `eval`."""
    call(*TRAIN, *HELD_OUT, "--out=r", "--stop-after=5")
    for path in (folder / "r" / "checkpoints").iterdir():
        saved = checkpoint.load(path)
        data = replace(saved.meta.config.data, val_files=("a\0b",))
        checkpoint.save(path, replace(saved, meta=replace(saved.meta, config=replace(saved.meta.config, data=data))))
    assert "there is no such file" in call("train", "--resume", "--out=r", status=2)[1]
    assert "there is no such file" in call("eval", "r", status=2)[1]


def test_a_text_from_python_needs_no_files(folder: Path) -> None:
    """A string is trained on although the configuration names files, and validated on a file."""
    Path("c.toml").write_text('[data]\nfiles = ["missing.txt"]\nval_files = ["val.txt"]\n')
    model = charrnn.train(TEXT, config="c.toml", settings=KEYS, out="r")
    assert (sum(model.vocabulary.counts), len(model.validation().ids)) == (len(TEXT), len(VAL))
    assert (folder / "r" / "corpus-val.txt").read_text() == VAL


def test_runs_on_one_validation_text_compare(call: Call, folder: Path) -> None:
    """Runs on different texts compare if their validation text is the same, and do not if it is another."""
    (folder / "other.txt").write_text(TEXT[::-1])
    (folder / "val2.txt").write_text(VAL + "s")
    call(*TRAIN, "--val=val.txt", "--out=a")
    call("train", "other.txt", *TRAIN[2:], "--val=val.txt", "--out=b")
    call(*TRAIN, "--val=val2.txt", "--out=c")
    for words in ([], ["--no-eval"]):
        a, b, c = json.loads(call("compare", "a", "b", "c", "--json", *words)[0])["rows"]
        assert a["text"] == b["text"] != c["text"]
        assert (a["text"]["name"], a["text"]["characters"]) == ("val.txt", len(VAL))
        assert (bool(a["best"] or b["best"]), c["best"]) == (True, [])


@pytest.mark.parametrize("damage", [{"sha256": "x"}, {"characters": -1}, {"characters": "9"}, {"sha256": None}])
def test_damaged_metadata_is_refused(call: Call, folder: Path, damage: dict[str, Any]) -> None:
    """A checkpoint whose record of a held-out text cannot be one is damaged."""
    call(*TRAIN, *HELD_OUT, "--out=r", "--stop-after=5")
    values = checkpoint.file.encode(checkpoint.load(checkpoint.path_of(folder / "r", 5)).meta)
    assert checkpoint.file.decode(dict(values)).val_text == text.Fingerprint(expected(VAL).sha256, len(VAL))
    values["val_text"] |= damage
    with pytest.raises((CheckpointError, TypeError)):
        checkpoint.file.decode(values)
