"""The training loss without dropout that every evaluation measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.runs import TINY, newest_checkpoint, run

from charrnn import config
from charrnn.backend import ThreadPool
from charrnn.evaluation import protocols
from charrnn.run import resolve
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.text import Part
from charrnn.training.events import Evaluated

DROPOUT = {
    "model": {"dropout": 0.3, "recurrent_dropout": 0.3},
    "optimizer": {"average": 0.9, "learning_rate": 0.2},
    "data": {"val_fraction": 0.3},
}


def test_it_is_that_of_a_stretch_of_the_training_split(corpus: Path, text: str) -> None:
    """It is the loss of the averaged weights, without dropout, on 64 characters from the start of one of 4 streams."""
    request = Request(files=(str(corpus),), options=config.merged(TINY, DROPOUT), threads=1)
    session = prepare(request)
    cut = int(len(text) * 0.7)
    first, losses = (cut - 64) // (cut // 4) * (cut // 4), []
    part = session.corpus.part(first, first + 64)
    for event in session.events():
        if isinstance(event, Evaluated):
            trainer = session.loop.trainer
            averaged = trainer.network.views(trainer.average)
            exact = protocols.carried(trainer.network, averaged, part, ThreadPool(1)).nats_per_char
            assert event.train_loss == pytest.approx(exact, rel=1e-6)
            losses.append(event.train_loss)
    assert len(losses) == 5
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("eval_every", "eval_chars", "chars_per_step", "expected"),
    [(250, 500_000, 2048, 4096), (250, 3000, 2048, 3000), (1000, 0, 8192, 65_536), (250, 500_000, 25, 64)],
)
def test_how_many_characters(eval_every: int, eval_chars: int, chars_per_step: int, expected: int) -> None:
    """They are 0.8 % of those trained on between two evaluations, at least 64, and at most log.eval_chars."""
    settings = config.build({"log": {"eval_every": eval_every, "eval_chars": eval_chars}})
    assert resolve.compared_characters(settings, chars_per_step) == expected


def test_the_stretch_is_near_the_end_of_the_training_split() -> None:
    """It begins at the last stream that has enough characters after it; of a tiny text it is everything."""
    part = Part(np.arange(1000), np.array([500, 700]))
    for batch_size, count, first in (
        (4, 100, 750),
        (4, 250, 750),
        (4, 251, 500),
        (32, 300, 682),
        (1, 9, 0),
        (2, 2000, 0),
    ):
        stretch = resolve.stretch_to_compare(part, batch_size, count)
        assert stretch.ids.tolist() == list(range(first, min(1000, first + count)))
        assert stretch.begins == (first == 500)
        assert stretch.starts.tolist() == [s - first for s in (500, 700) if first < s < first + count]


def test_it_changes_nothing_else(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that measures it on more characters has the same checkpoint and validation losses."""
    events = {}
    for name, share in (("few", 0.008), ("many", 1.0)):
        monkeypatch.setattr(resolve, "COMPARED", share)
        events[name] = [e for e in run(tmp_path / name, corpus, DROPOUT) if isinstance(e, Evaluated)]
    assert newest_checkpoint(tmp_path / "few") == newest_checkpoint(tmp_path / "many")
    few, many = events["few"], events["many"]
    assert [e.val_loss for e in few] == [e.val_loss for e in many]
    assert all(a.train_loss != b.train_loss for a, b in zip(few, many, strict=True))
