"""How a model and the events of a training are shown, and lists of samples."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import TEXT
from helpers.models import SMALL

import charrnn
from charrnn.training.events import Event, Sampled, Snapshot, Trained


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Return the list that receives the events."""
    return []


@pytest.fixture(scope="module")
def model(events: list[Event]) -> charrnn.Model:
    """Return a trained model."""
    return charrnn.train(TEXT, settings=SMALL | {"log.sample_length": 5000}, on_event=events.append)


@pytest.mark.usefixtures("model")
def test_events_are_one_short_line(events: list[Event]) -> None:
    """The `repr` of every event has its step, and at most 300 characters on one line."""
    lines = [repr(event) for event in events]
    assert len(events) > 5
    for event, line in zip(events, lines, strict=True):
        assert line.startswith(f"{type(event).__name__}(step={event.at.step}")
        assert len(line) < 300
        assert "\n" not in line
    trained = next(event for event in events if isinstance(event, Trained))
    assert f"loss={trained.loss:.5g}" in repr(trained)
    assert any(line == "Ended(step=30, reason='steps')" for line in lines)
    snapshot = next(event for event in events if isinstance(event, Snapshot))
    assert repr(snapshot) == "Snapshot(step=0)"
    sampled = next(event for event in events if isinstance(event, Sampled))
    assert repr(sampled).startswith(f"Sampled(step=0, text={sampled.text[:20]!r}"[:-1])


def test_a_table_of_a_model(model: charrnn.Model) -> None:
    """A notebook shows the network and its training; everything is escaped."""
    cells = [html.unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", model._repr_html_())]
    table = dict(zip(cells[::2], cells[1::2], strict=True))
    assert table["network"] == "rnn, 1 x 8, float64"
    assert table["parameters"] == f"{sum(array.size for array in model.params.values()):,}"
    assert table["characters"].startswith(f"{len(set(TEXT))}: ")
    assert (table["steps"], table["text"], table["device"]) == ("30", "the text", "cpu")
    assert "checkpoint" not in table
    hostile = replace(model, source=Path("<script>alert(1)</script>"))
    assert "<script" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()


def test_a_count_gives_a_list(model: charrnn.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list has the texts of `sample_many` in batches; without a seed two lists differ."""
    monkeypatch.setattr("charrnn.api.BATCH", 2)
    made = model.sample("she", count=5, length=20, seed=3, stop="\n")
    right = [
        "".join(parts)
        for batch, count in enumerate((2, 2, 1))
        for parts in zip(*model.sample_many("she", count=count, batch=batch, length=20, seed=3, stop="\n"), strict=True)
    ]
    assert made == right
    assert len(set(made)) == 5
    assert model.sample("she", count=1, length=20, seed=3) == [model.sample("she", length=20, seed=3)]
    assert model.sample("she", count=2, length=20) != model.sample("she", count=2, length=20)
    assert model.sample("she", count=2, length=0) == ["", ""]
    with pytest.raises(charrnn.CharrnnError, match="count must be at least 1, not 0"):
        model.sample(count=0)
