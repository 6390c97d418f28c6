"""A network learns how documents begin: what the streams mask, what a run decides, and what old runs do."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TEXT, TINY, Call

import charrnn
from charrnn import config
from charrnn.text import Part
from charrnn.text.streams import streams

FIT = [*TINY, "--steps=4", "--set=log.sample_every=0"]


def test_the_symbol_replaces_the_last_character_of_the_document_before() -> None:
    """The state is reset, and the symbol read, one row before the first character of each document but the first.

    Two streams of 8 characters in chunks of 3 have documents at 3, 4, 8 (the start of stream 1) and 14.
    """
    part = Part(np.arange(16), np.array([3, 4, 8, 14]))
    read = streams(part, 2, 3, start_symbol=True)
    assert [read.begins(step).tolist() for step in range(2)] == [
        [[0, 0], [0, 0], [1, 0]],
        [[1, 0], [0, 0], [0, 1]],
    ]
    assert [read.keep(step).tolist() for step in range(2)] == [
        [[0, 0], [1, 1], [0, 1]],
        [[0, 1], [1, 1], [1, 0]],
    ]
    assert [read.resets(step) for step in range(4)] == [True, True, True, True]


@pytest.mark.parametrize(
    ("texts", "options", "learned"),
    [
        ({"a.txt": TEXT}, [], False),
        ({"a.txt": TEXT}, ["--document-separator=;;"], False),
        ({"a.txt": TEXT}, ["--document-separator=e"], True),
        ({"a.txt": TEXT, "b.txt": TEXT}, [], True),
        ({"a.txt": TEXT, "b.txt": TEXT}, ["--set=model.start_symbol=false"], False),
    ],
)
def test_only_runs_on_documents_have_a_symbol(
    call: Call, tmp_path: Path, texts: dict[str, str], options: list[str], learned: bool
) -> None:
    """`config.toml` records whether the network learned how documents begin."""
    for name, content in texts.items():
        (tmp_path / name).write_text(content)
    call("train", *texts, *FIT, *options, "--out=r")
    assert tomllib.loads((tmp_path / "r" / "config.toml").read_text())["model"]["start_symbol"] is learned


def test_the_configuration_of_an_earlier_run_has_no_symbol(tmp_path: Path) -> None:
    """A complete configuration without the key is that of a run before the key existed."""
    whole = config.dump(config.Config()).replace("start_symbol = true\n", "")
    (tmp_path / "whole.toml").write_text(whole)
    (tmp_path / "partial.toml").write_text("[model]\nhidden_size = 8\n")
    assert config.read(str(tmp_path / "whole.toml"))["model"]["start_symbol"] is False
    assert "start_symbol" not in config.read(str(tmp_path / "partial.toml"))["model"]


def test_a_network_learns_how_documents_begin(tmp_path: Path) -> None:
    """After training on documents that begin with x or y, the first character of a document is one of them."""
    (tmp_path / "t.txt").write_text("".join(f"{'xy'[n % 2]}{'abc'[n % 3] * 3};" for n in range(300)))
    keys = {"data.document_separator": ";", "model.hidden_size": 16, "model.dropout": 0.0, "train.device": "cpu"}
    keys |= {"train.batch_size": 4, "train.seq_length": 20, "train.steps": 200, "optimizer.learning_rate": 0.02}
    model = charrnn.train(files=[tmp_path / "t.txt"], settings=keys)
    first = np.array([model.score(c + "aaa;")[0] for c in "xyabc;"])
    assert np.exp(-first).sum() == pytest.approx(1, abs=1e-5)
    assert np.exp(-first[:2]) == pytest.approx([0.5, 0.5], abs=0.05)
