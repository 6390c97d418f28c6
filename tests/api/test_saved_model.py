"""A model as a file of its own: of weights from PyTorch, and of a training without a run directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TEXT, Call

import charrnn
from charrnn import checkpoint

SMALL = {"model.hidden_size": 4, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 3, "train.device": "cpu"}


def test_weights_from_elsewhere_are_saved(call: Call) -> None:
    """The file scores to the bit as the model does, writes from the command line, and is a start for fine-tuning."""
    trained = charrnn.train(TEXT, settings=SMALL | {"model.cell": "gru", "model.num_layers": 2})
    model = charrnn.from_torch(charrnn.to_torch(trained), trained.vocabulary.characters, device="cpu")
    model.save("alone.safetensors")
    again = charrnn.load("alone.safetensors", device="cpu")
    assert np.array_equal(again.score(TEXT), trained.score(TEXT))
    with pytest.raises(charrnn.CharrnnError, match="name a text to evaluate"):
        again.evaluate()
    text, _ = call("sample", "alone.safetensors", "--length=20", "--seed=3", "--prompt=she", "--no-echo")
    assert text == model.sample("she", length=20, seed=3) + "\n"
    more = ("--device=cpu", "--steps=1", "--set=train.batch_size=2")
    out, _ = call("train", "t.txt", "--init-from=alone.safetensors", "--out=r", *more)
    assert "network: gru, 2 x 4" in out


def test_a_text_that_was_trained_on_is_said(call: Call) -> None:
    """Whoever evaluates a network on its own text is told, and by which way its held-out part is had."""
    charrnn.train(files="t.txt", settings=SMALL, out="r")
    said = call("eval", "r", "t.txt")[1]
    assert "t.txt is the text that the run was trained on: without it, the part that was held out" in said
    assert "r was trained on t.txt\n" in call("compare", "r", "t.txt", "--window=4")[1]
    Path("other.txt").write_text(TEXT[:-1])
    assert "trained on" not in call("eval", "r", "other.txt")[1]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_training_without_a_directory_is_saved(tmp_path: Path, average: float) -> None:
    """What is saved predicts as the model does, learns on with its optimiser's memory, and knows its text."""
    (tmp_path / "t.txt").write_text(TEXT)
    model = charrnn.train(files=tmp_path / "t.txt", settings=SMALL | {"optimizer.average": average})
    model.save(tmp_path / "alone.safetensors")
    again = charrnn.load(tmp_path / "alone.safetensors", device="cpu")
    assert (again.step, again.config) == (3, model.config)
    assert checkpoint.load(tmp_path / "alone.safetensors").tensors["guard/scale"] == 1
    assert again.evaluate() == model.evaluate()
    assert again.evaluate(TEXT, dynamic=True) == model.evaluate(TEXT, dynamic=True)
    again.save(tmp_path / "twice.safetensors")
    twice = charrnn.load(tmp_path / "twice.safetensors", device="cpu")
    assert twice.evaluate(TEXT, dynamic=True) == model.evaluate(TEXT, dynamic=True)
    with pytest.raises(charrnn.CharrnnError, match=r"cannot write .*nowhere"):
        model.save(tmp_path / "nowhere" / "alone.safetensors")
