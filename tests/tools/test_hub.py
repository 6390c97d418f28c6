"""`charrnn export RUN FOLDER`: the code of the card loads the network, and the card has the run's own numbers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Call
from helpers.exported import logits_and_state, random_model

import charrnn
from charrnn.tools.export.facts import Facts
from charrnn.tools.export.hub import card, write_folder

SHAPES = [("rnn", 2, {}), ("gru", 1, {"start_symbol": False}), ("gru", 3, {}), ("lstm", 2, {"dtype": "float64"})]
SHAPES += [("lstm", 1, {"separator": "\n"}), ("rnn", 1, {"embedding": 4}), ("gru", 2, {"embedding": 4, "tied": True})]
SHAPES += [("lstm", 1, {"embedding": 7, "tied": True, "dtype": "float64"})]


def facts(sample: str) -> Facts:
    """Return facts with this sample and nothing measured."""
    return Facts("run", "t.txt", "0" * 64, 0, None, None, None, sample)


def blocks(folder: Path) -> list[str]:
    """Return the Python code in the card of a folder."""
    return re.findall(
        r"^(`{3,})python\n(.*?)\n\1$", (folder / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize("block", [0, 1], ids=["numpy", "torch"])
@pytest.mark.parametrize(("cell", "layers", "options"), SHAPES)
def test_the_code_of_the_card_computes_the_logits(
    cell: str, layers: int, options: dict[str, Any], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The NumPy block and the PyTorch block give charrnn's logits after the start of the sample."""
    if block:
        pytest.importorskip("torch")
    model, sample = random_model(cell, layers, **options), "🙂a\ndé日 cab"
    write_folder(model, facts(sample), tmp_path / "f")
    monkeypatch.chdir(tmp_path / "f")
    code, names = blocks(tmp_path / "f")[block][1], dict[str, Any]()
    exec(code, names)
    ids = model.vocabulary.encode(sample[:8]).astype(np.int64)
    ids = np.append([len(model.vocabulary)] if model.network.start_symbol else np.zeros(0, np.int64), ids)
    state = {name: np.zeros((layers, 1, 7), model.network.dtype) for name in model.network.cell.STATES}
    expected = logits_and_state(model, ids[:, None], state)[0][-1, 0]
    if block:
        names["torch"].set_default_dtype(names["torch"].float32)
    result = names["logits"].detach().numpy() if block else names["logits"]
    assert np.abs(result - expected).max() < (1e-12 if model.network.dtype == "float64" else 1e-5)


def test_the_card_has_the_numbers_of_the_run(call: Call, trained: Path, tmp_path: Path) -> None:
    """Loss, bits, baselines, steps, size, the text's name and hash, and the sample are those of the run."""
    out, _ = call("export", trained / "r", "f/")
    text = (tmp_path / "f" / "README.md").read_text("utf-8")
    model = charrnn.load(trained / "r", device="cpu")
    loss = model.evaluate().nats_per_char
    assert f"| {loss:.4f} nats/char, {loss / math.log(2):.4f} bits/char |" in text
    baselines = json.loads((trained / "r" / "baselines.json").read_text())["nats_per_char"]
    assert ", ".join(f"{n}-gram {loss:.4f}" for n, loss in baselines.items()) in text
    assert f"| {model.network.layout.parameters:,} (" in text
    assert f"`t.txt`, SHA-256 `{model.sha256}`" in text
    assert model.sample(length=400, seed=1) in text
    assert "| training | 10 steps, " in text
    total = sum(path.stat().st_size for path in (tmp_path / "f").iterdir())
    assert out == f"f/: {total / 1000:,.0f} kB\n"
    assert json.loads((tmp_path / "f" / "vocab.json").read_text("utf-8")) == {
        character: n for n, character in enumerate(model.vocabulary.characters)
    }


def test_text_is_no_markup() -> None:
    """Backticks, pipes, and characters that hide or turn text do not leave their place in the card."""
    model = random_model("rnn", characters="`|\u202e")
    text = card(model, facts("```\n# big\u202e`"))
    assert "````text\n```\n# big\\u202e`\n````\n" in text
    assert "\u202e" not in text


def test_other_files_stay(call: Call, trained: Path, tmp_path: Path) -> None:
    """A folder with files of another kind is left alone; an earlier export is replaced."""
    call("export", trained / "r", "f")
    call("export", trained / "r", "f", "--checkpoint=0")
    assert "| 0 steps |" in (tmp_path / "f" / "README.md").read_text("utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    _, line = call("export", trained / "r", ".", status=2)
    assert line == "charrnn: . exists and is not an earlier export, so it is left alone: name a new folder"
    assert not (tmp_path / "README.md").exists()
