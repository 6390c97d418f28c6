"""How often a run on a short text evaluates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.runs import TINY

from charrnn import config
from charrnn.config import Table
from charrnn.run import resolve
from charrnn.run.request import Request
from charrnn.run.session import Session, prepare
from charrnn.training.events import Evaluated

BATCH = {"train": {"batch_size": 32, "seq_length": 8, "steps": 200}, "log": {"checkpoint_every": 100}}
DEFAULT = {section: {k: v for k, v in keys.items() if k != "eval_every"} for section, keys in TINY.items()}
NOTICE = "the text is short: log.eval_every is 156 instead of 250"


@pytest.fixture
def short(tmp_path: Path, text: str) -> Path:
    """Return a file of 10,320 characters. 156 steps of 256 characters are 40,000 characters."""
    path = tmp_path / "short.txt"
    path.write_text(text * 20)
    return path


def session(path: Path, *tables: Table, **request: Any) -> Session:
    """Return the session of a run whose tables set log.eval_every or do not."""
    options = config.merged(DEFAULT, BATCH, *tables)
    return prepare(Request(**{"files": (str(path),), "options": options, "threads": 1} | request))


def test_a_short_text_is_evaluated_on_more_often(tmp_path: Path, short: Path) -> None:
    """The interval is 40,000 trained characters; it is written into the configuration, and a resumed run has it."""
    out = tmp_path / "r"
    first = session(short, out=out, stop_after=190)
    assert NOTICE in first.notices
    steps = [event.at.step for event in first.events() if isinstance(event, Evaluated)]
    assert config.read(str(out / "config.toml"))["log"]["eval_every"] == 156
    again = session(short, out=out, resume=True, options={})
    assert NOTICE not in again.notices
    steps += [event.at.step for event in again.events() if isinstance(event, Evaluated)]
    assert steps == [0, 156, 200]
    assert config.read(str(out / "config.toml"))["log"]["eval_every"] == 156


def test_a_number_that_is_set_stays(tmp_path: Path, short: Path, text: str) -> None:
    """A preset, an option, no validation split, and a text of 50,000 characters keep the number."""
    preset: Table = {"log": {"eval_every": 250}}
    sessions = [session(short, preset), session(short, preset=preset), session(short, {"data": {"val_fraction": 0.0}})]
    long = tmp_path / "long.txt"
    long.write_text((text * 100)[:50_000])
    wide = {"train": {"batch_size": 128, "seq_length": 16}}
    sessions.append(session(long, wide))
    for one in sessions:
        assert one.config.log.eval_every == 250
        assert not any("eval_every" in notice for notice in one.notices)
    long.write_text((text * 100)[:49_999])
    assert session(long, wide).config.log.eval_every == 3 * 44_999 // 2048


@pytest.mark.parametrize(
    ("length", "chars_per_step", "steps"),
    [(16_944, 2048, 24), (1_800, 27 * 64, 23), (62, 61, 655), (44_999, 2**20, 1)],
)
def test_the_interval(length: int, chars_per_step: int, steps: int) -> None:
    """It is three sweeps or 40,000 characters, the larger of the two, and at least a step."""
    assert resolve.evaluation_interval(length, chars_per_step) == steps
