"""A made-up checkpoint with the right digest is used, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.commands import TINY, Call
from helpers.crafted_checkpoints import NEWEST, craft

from charrnn import checkpoint
from charrnn.backend.numpy import NumpyBackend
from charrnn.errors import CheckpointError
from charrnn.model import build

NEW = [*TINY, "--steps=0", "--out=x"]
COMMANDS = {
    "sample": ["sample", "r", "--length=5"],
    "eval": ["eval", "r"],
    "score": ["score", "r", "t.txt"],
    "compare": ["compare", "r"],
    "the metrics compared": ["compare", "r", "--no-eval"],
    "resume": ["train", "--resume", "--out=r", "--steps=11"],
    "init-from": ["train", "t.txt", "--init-from=r", *NEW],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("sha256", [[], {}, None, 5, "", "0" * 63, "A" * 64, "0" * 64 + "\n"], ids=repr)
def test_a_hash_that_is_none(call: Call, trained: Path, words: list[str], sha256: Any) -> None:
    """The hash of the text is 64 hexadecimal digits, or the checkpoint is damaged."""
    craft(trained, sha256=sha256)
    assert "damaged" in call(*words, status=2)[1]


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("name", [[], {}, None, 5], ids=repr)
def test_a_name_that_is_none(call: Call, trained: Path, words: list[str], name: Any) -> None:
    """The name of the text is a string, or the checkpoint is damaged."""
    craft(trained, corpus=name)
    assert "damaged" in call(*words, status=2)[1]


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_characters(call: Call, trained: Path, words: list[str]) -> None:
    """A vocabulary without characters is damaged."""
    craft(trained, 0, vocabulary={"characters": "", "counts": []})
    assert "its vocabulary is damaged" in call(*words, status=2)[1]


def test_fewer_characters_than_the_text_has(call: Call, trained: Path) -> None:
    """A text with more characters than the vocabulary is neither evaluated nor trained on."""
    craft(trained, 1, vocabulary={"characters": "s", "counts": [400]})
    assert "t.txt has other characters than the checkpoint says" in call("eval", "r", status=2)[1]
    assert "t.txt has other characters than the checkpoint says" in call(*COMMANDS["resume"], status=2)[1]
    assert "t.txt has other characters than the checkpoint says" in call("compare", "r")[0]
    assert call("sample", "r", "--length=3", "--no-echo")[0] == "sss\n"


@pytest.mark.parametrize("fraction", [0.999999999, 1e-300])
def test_a_split_of_nothing(call: Call, trained: Path, fraction: float) -> None:
    """A fraction that leaves a part of the text empty is the same as no validation part."""
    craft(trained, data={"val_fraction": fraction})
    assert "t.txt is too short for a validation split: name a text to evaluate" in call("eval", "r", status=2)[1]
    assert "too short for a validation split" in call("compare", "r")[0]


def test_tensors_are_not_stretched(trained: Path, place: Path) -> None:
    """Weights with one row are not broadcast to a layout with eleven."""
    assert Path.cwd() == place
    craft(trained, 1, vocabulary={"characters": "s", "counts": [400]})
    saved = checkpoint.load(NEWEST)
    layout = build(saved.meta.config.model, 11, NumpyBackend()).layout
    with pytest.raises(CheckpointError, match=r"parameters/layer0\.W_xh has the shape \[1, 8\], not \[11, 8\]"):
        saved.weights(layout)
