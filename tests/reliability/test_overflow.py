"""A network with finite parameters and infinite logits: every command that reads it reports this."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TRAIN, Call, metrics
from helpers.crafted_checkpoints import NEWEST, craft, with_changes

import charrnn
from charrnn.errors import OverflowingError
from charrnn.sampling.generate import Writer

ERROR = "the network overflows: its parameters are finite, but too large; use an earlier checkpoint"


@pytest.fixture
def overflowing(trained: Path, call: Call) -> None:
    """Make the run `r`, with parameters of -3e38 and 3e38."""
    craft(trained)
    random = np.random.default_rng(0)

    def blown(tensors: dict[str, np.ndarray]) -> None:
        for name, tensor in tensors.items():
            if name.startswith("parameters/"):
                tensors[name] = random.choice(np.array([-3e38, 3e38], tensor.dtype), tensor.shape)

    NEWEST.write_bytes(with_changes(NEWEST.read_bytes(), blown))


WORDS = ["sample r", "sample r --prompt=she --temperature=0", "sample r --count=70 --top-k=2"]
WORDS += ["eval r", "score r t.txt"]


@pytest.mark.usefixtures("overflowing")
@pytest.mark.parametrize("words", WORDS)
def test_every_reader_says_so(call: Call, words: str) -> None:
    """A command prints one line and ends with status 2; it prints no character that the network chose."""
    out, error = call(*words.split(), status=2)
    assert error == f"charrnn: {ERROR}"
    assert words[0] == "e" or len(out.split("\n")[0]) <= len("she")


@pytest.mark.usefixtures("overflowing")
def test_from_python() -> None:
    """The API raises the same error, also where it returns a text piece by piece."""
    model = charrnn.load("r", device="cpu")
    for read in (model.sample, lambda: model.score("she sells"), model.evaluate, lambda: list(model.stream("she"))):
        with pytest.raises(OverflowingError, match=ERROR):
            read()


def test_one_that_overflows_on_the_way(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that overflows while it writes ends the text at the next block."""
    model, before, blocks = charrnn.load(trained / "r", device="cpu"), Writer.write, list[int]()

    def write(writer: Writer, uniforms: np.ndarray, settings: object) -> np.ndarray:
        ids = before(writer, uniforms, settings)  # type: ignore[arg-type]
        blocks.append(len(ids))
        if len(blocks) == 4:
            writer.logits[0, 3] = np.nan
        return ids

    monkeypatch.setattr(Writer, "write", write)
    stream, text = model.stream("she", length=100, seed=1), list[str]()
    with pytest.raises(OverflowingError):
        text.extend(stream)
    assert (blocks, len("".join(text))) == ([1, 2, 4, 8], 15)


def test_training_goes_on(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sample during training that overflows ends, and the run continues."""

    def check(_: Writer) -> None:
        raise OverflowingError

    monkeypatch.setattr(Writer, "check", check)
    call(*TRAIN, "--out=r")
    assert metrics(tmp_path / "r")[-1]["step"] == 10
