"""Bits per byte: the bits of a text divided by its bytes in UTF-8."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.models import SMALL

import charrnn
from charrnn.training.events import Evaluated

WIDE = "αβγ abc 中文 \U0001f600;" * 12
"""Characters of one to four bytes, in documents that end in a semicolon."""


@pytest.mark.parametrize("separator", ["", ";"])
def test_the_bytes_are_those_of_the_predicted_characters(separator: str) -> None:
    """It is the sum of the surprises in bits over the bytes of these characters; with documents the first counts."""
    model = charrnn.train(WIDE, settings=SMALL | {"data.document_separator": separator})
    text = WIDE[2:90]
    nats = model.score(text)
    predicted = text[len(text) - len(nats) :]
    expected = nats.sum() / math.log(2) / len(predicted.encode())
    assert model.evaluate(text).bits_per_byte == pytest.approx(expected, rel=1e-9)
    windows = model.evaluate(text, window=40)
    size = len(predicted[:80].encode())
    assert windows.bits_per_byte == pytest.approx(windows.nats_per_char * 80 / math.log(2) / size, rel=1e-9)
    dynamic = model.evaluate(text, dynamic=True)
    size = len(predicted.encode())
    assert dynamic.bits_per_byte == pytest.approx(dynamic.nats_per_char * len(nats) / math.log(2) / size, rel=1e-9)


def test_the_bytes_of_the_validation_split(tmp_path: Path) -> None:
    """The metrics have the bits per byte of the characters that an evaluation predicts, and `compare` reads them."""
    events: list[object] = []
    path = tmp_path / "wide.txt"
    path.write_text(WIDE, encoding="utf-8")
    settings = SMALL | {"log.eval_chars": 30, "data.val_fraction": 0.3}
    charrnn.train(files=[path], settings=settings, out=tmp_path / "r", on_event=events.append)
    held_out = WIDE[int(len(WIDE) * 0.7) :][:30]
    bytes_per_char = len(held_out[1:].encode()) / 29
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    assert len(evaluations) == 4
    for event in evaluations:
        assert event.val_bits_per_byte == pytest.approx(event.val_loss / math.log(2) / bytes_per_char, rel=1e-9)
    (row,) = charrnn.compare(tmp_path / "r", evaluate=False)
    assert row.bits_per_byte == {"val_loss": min(event.val_bits_per_byte for event in evaluations)}
    for damage in ({}, {"val_bits_per_byte": "much"}):  # the metrics of an early run lack the field
        metrics = tmp_path / "r" / "metrics.jsonl"
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        kept = [{k: v for k, v in line.items() if k not in ("val_bits_per_byte", "sweeps")} | damage for line in lines]
        metrics.write_text("".join(json.dumps(line) + "\n" for line in kept))
        (row,) = charrnn.compare(tmp_path / "r", evaluate=False)
        assert row.losses["val_loss"] == min(event.val_loss for event in evaluations)
        assert row.bits_per_byte == {"val_loss": None}
