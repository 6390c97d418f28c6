"""What a user of the Python API may get wrong, or ask for in another way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TEXT

import charrnn
from charrnn import api

SMALL = {"model.hidden_size": 4, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 3, "train.device": "cpu"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the text t.txt."""
    (tmp_path / "t.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_path_needs_no_list(here: Path) -> None:
    """A string is one file or one run, not one for each of its letters."""
    model = charrnn.train(files="t.txt", settings=SMALL, out="r")
    assert model.corpus is not None
    assert model.corpus.name == "t.txt"
    assert charrnn.train(files=here / "t.txt", settings=SMALL).sample(seed=1) == model.sample(seed=1)
    assert [row.run for row in charrnn.compare("r", device="cpu")] == ["r"]


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (charrnn.CharrnnError, "text and files exclude each other", {"text": TEXT, "files": "t.txt"}),
        (charrnn.CharrnnError, "t.txt is a file, not the text to learn: write files=['t.txt']", {"text": "t.txt"}),
        (charrnn.CharrnnError, "settings: there is no key 'train'; name one of its keys", {"settings": {"train": {}}}),
        (charrnn.CharrnnError, "below a million, not 2000000", {"text": TEXT, "minutes": 2_000_000}),
    ],
)
def test_mistakes_say_what_to_do(error: type[Exception], words: str, options: dict[str, object]) -> None:
    """One line, before anything is trained."""
    with pytest.raises(error, match=re.escape(words)):
        charrnn.train(**options)


def test_weights_from_elsewhere_have_no_validation_split() -> None:
    """Nobody knows the text that weights of PyTorch were trained on; one that is named is evaluated."""
    trained = charrnn.train(TEXT, settings=SMALL)
    model = charrnn.from_torch(charrnn.to_torch(trained), trained.vocabulary.characters, device="cpu")
    with pytest.raises(charrnn.CharrnnError, match=r"nobody knows which text .*: name a text to evaluate"):
        model.evaluate()
    assert model.evaluate(TEXT).nats_per_char == trained.evaluate(TEXT).nats_per_char


def test_half_precision_says_how_to_convert() -> None:
    """Of weights in float16 it is the type that does not fit."""
    state = charrnn.to_torch(charrnn.train(TEXT, settings=SMALL))
    with pytest.raises(charrnn.CharrnnError, match=r" is float16: convert the module with .float\(\)"):
        charrnn.from_torch({name: array.astype(np.float16) for name, array in state.items()}, "".join(set(TEXT)))


def test_completion_offers_the_api() -> None:
    """`dir` lists every public name and nothing else, and each can be had."""
    assert dir(charrnn) == sorted(charrnn.__all__)
    assert charrnn.Model is api.Model
    assert all(getattr(charrnn, name) for name in dir(charrnn))
    with pytest.raises(AttributeError, match="no attribute 'nix'"):
        charrnn.nix  # noqa: B018
