"""`charrnn export RUN FILE.onnx`: ONNX Runtime computes the same logits and states."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from helpers.exported import logits_and_state, random_model, random_state

from charrnn.errors import ConfigError
from charrnn.tools.export.onnx_file import onnx_model


def session(content: bytes) -> Any:
    """Return ONNX Runtime's session of a file."""
    return pytest.importorskip("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding", [{}, {"embedding": 4}, {"embedding": 4, "tied": True}], ids=str)
def test_onnx_runtime_agrees(cell: str, layers: int, embedding: dict[str, Any]) -> None:
    """Logits and states agree to 1e-5 for any T and B, from any state, with the start symbol among the characters."""
    pytest.importorskip("onnx")
    model = random_model(cell, layers, **embedding)
    V, peer = len(model.vocabulary), session(onnx_model(model))
    for T, B in ((7, 3), (1, 1)):
        state, ids = random_state(model, B), np.random.default_rng(T).integers(0, V + 1, (T, B))
        ids[0, 0] = V
        logits, *after = peer.run(None, {"characters": ids, **state})
        expected, expected_after = logits_and_state(model, ids, state)
        assert np.abs(logits - expected).max() < 1e-5
        for array, name in zip(after, model.network.cell.STATES, strict=True):
            assert np.abs(array - expected_after[name]).max() < 1e-5
    names = [output.name for output in peer.get_outputs()]
    assert names == ["logits", *(f"next_{name}" for name in model.network.cell.STATES)]


def test_the_metadata_has_the_vocabulary() -> None:
    """The characters are in the order of the ids, beyond the BMP too; start symbol and separator are beside them."""
    pytest.importorskip("onnx")
    model = random_model("rnn", separator="\n\n")
    values = session(onnx_model(model)).get_modelmeta().custom_metadata_map
    assert list(json.loads(values["vocabulary"])) == list(model.vocabulary.characters)
    assert values["start_symbol"] == str(len(model.vocabulary))
    assert json.loads(values["document_separator"]) == "\n\n"
    values = session(onnx_model(random_model("rnn", start_symbol=False))).get_modelmeta().custom_metadata_map
    assert values["start_symbol"] == ""


def test_what_cannot_be_an_onnx_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A float64 network, and a Python without the package, are errors that say what to do."""
    pytest.importorskip("onnx")
    with pytest.raises(ConfigError, match=r"float32 only.*export a run with model\.dtype = float32"):
        onnx_model(random_model("gru", dtype="float64"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'charrnn-xp\[onnx\]'"):
        onnx_model(random_model("gru"))
