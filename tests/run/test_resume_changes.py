"""What a resumed run can do differently: every key of [log], unless evaluations decide how it trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.runs import metrics, run

from charrnn import checkpoint, config
from charrnn.errors import ConfigError
from charrnn.run.request import Request
from charrnn.run.session import prepare

NEW_LOG = {
    "every": 3,
    "eval_every": 7,
    "eval_chars": 30,
    "sample_every": 6,
    "checkpoint_every": 11,
    "keep": 4,
    "sample_length": 17,
    "keep_samples": 5,
    "smoothing": 0.5,
    "baselines": False,
}


def test_every_key_of_log_can_change(tmp_path: Path, corpus: Path) -> None:
    """The new values are used and recorded, and the trained parameters are those of the uninterrupted run."""
    run(tmp_path / "whole", corpus)
    run(tmp_path / "parts", corpus, stop_after=15)
    session = prepare(Request(options={"log": NEW_LOG}, out=tmp_path / "parts", resume=True, threads=1))
    changed = [line for line in session.notices if "the best checkpoint may differ" in line]
    assert [line.partition(":")[0] for line in changed] == [
        "log.eval_every (the run has 10, not 7)",
        "log.eval_chars (the run has 500000, not 30)",
    ]
    list(session.events())
    whole, parts = (checkpoint.find(tmp_path / name, "last")[1] for name in ("whole", "parts"))
    assert parts.meta.step == 40
    assert checkpoint.digest_of(parts.tensors) == checkpoint.digest_of(whole.tensors)
    assert config.table(parts.meta.config)["log"] == NEW_LOG
    assert config.read(str(tmp_path / "parts" / "config.toml"))["log"] == NEW_LOG
    lines = [(line["event"], line["step"]) for line in metrics(tmp_path / "parts")]
    assert [step for event, step in lines if event == "train"] == [4, 8, 12, *range(15 + 3, 40, 3)]
    assert [step for event, step in lines if event == "eval"] == [0, 10, 21, 28, 35, 40]
    headers = re.findall(r"^--- step (\d+) ---$", (tmp_path / "parts" / "samples.txt").read_text(), re.MULTILINE)
    assert headers == ["18", "24", "30", "36", "40"]
    steps = checkpoint.steps(tmp_path / "parts")
    assert 33 in steps
    assert len(steps) <= 6  # step 0, the best and the last four


@pytest.mark.parametrize(
    "decides", [{"train": {"patience": 9}}, {"optimizer": {"schedule": "plateau"}}], ids=["patience", "plateau"]
)
def test_evaluations_that_decide_cannot_change(tmp_path: Path, corpus: Path, decides: dict) -> None:
    """Patience and the plateau schedule compare evaluations; so these must stay alike, and other keys can change."""
    run(tmp_path / "a", corpus, decides, stop_after=15)
    for key, old in (("eval_every", 10), ("eval_chars", 500_000)):
        line = rf"^--resume cannot change log.{key} \(the run has {old}, not 7\), because train.patience or the plateau"
        with pytest.raises(ConfigError, match=line):
            run(tmp_path / "a", corpus, decides, {"log": {key: 7}}, resume=True)
    assert run(tmp_path / "a", corpus, decides, {"log": {"every": 7}}, resume=True)[-1].at.step == 40


def test_patience_that_is_switched_off_allows_other_evaluations(tmp_path: Path, corpus: Path) -> None:
    """What counts is the patience of the resumed run."""
    run(tmp_path / "a", corpus, {"train": {"patience": 9}}, stop_after=15)
    assert (
        run(tmp_path / "a", corpus, {"train": {"patience": 0}, "log": {"eval_every": 7}}, resume=True)[-1].at.step == 40
    )


def test_other_keys_cannot_change(tmp_path: Path, corpus: Path) -> None:
    """The error names every key that differs, with both values."""
    run(tmp_path / "a", corpus, stop_after=15)
    other = {"train": {"seed": 5}, "optimizer": {"learning_rate": 0.5}, "log": {"eval_every": 7}}
    with pytest.raises(ConfigError) as error:
        run(tmp_path / "a", corpus, other, resume=True)
    assert str(error.value) == (
        "--resume cannot change train.seed (the run has 0, not 5), optimizer.learning_rate (the run has 0.05, "
        "not 0.5): keep the run's value, or start a new run"
    )
