"""A run that is killed, wherever and however often, and resumed, is the run that never was."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import breaking
from helpers.processes import finished, started, words
from helpers.runs import contents

from charrnn import checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are killed here by SIGKILL")


def trials(place: Path, old: str, command: list[str]) -> list[list[int]]:
    """What `breaking.py` reports, with the text on its standard input: the three statuses of each moment."""
    call = [sys.executable, breaking.__file__, place, old, *command]
    with Path("t.txt").open("rb") as stdin:
        report = subprocess.run(call, check=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(report.stdout)


def test_killed_at_fifty_moments(place: Path) -> None:
    """Two processes a step, killed after some lines and some microseconds, 50 times over: not a bit is different."""
    command = words(train_steps=400, log_every=1, log_eval_every=7, log_sample_every=9, log_checkpoint_every=5)
    with started(*command, "--out", "whole") as process:
        assert "done at step 400" in process.communicate()[0]
    draw, reached = random.Random(6), []
    for _ in range(50):
        with started(*command, "--out", "parts", "--resume", "--threads=2") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(draw.randrange(24))]
            until = time.perf_counter() + draw.random() * 3e-3
            while time.perf_counter() < until:
                pass
            process.kill()
            reached += [line for line in lines if "resuming" in line]
    with started(*command, "--out", "parts", "--resume", "--threads=1") as process:
        said = process.communicate()[0]
    assert "done at step 400" in said or "this run is finished: 400 steps" in said, said
    assert len(set(reached)) > 5  # it got on, from one checkpoint to the next
    assert contents(place / "parts") == contents(place / "whole")


def test_killed_at_every_touch_of_the_disk(place: Path) -> None:
    """Before and in the middle of every write, before every rename, sync and removal; and again when resumed."""
    command = words(
        train_steps=4, train_shards=1, log_every=1, log_eval_every=3, log_sample_every=1, log_checkpoint_every=2
    )
    finished(*command, "--out", "whole")
    tried = trials(place, "-", command)
    assert len(tried) > 80
    assert {first for first, *_ in tried} == {-9}
    assert {second for _, second, _ in tried} == {-9, 0}
    assert {last for *_, last in tried} == {0}
    whole = contents(place / "whole")
    for moment in range(len(tried)):
        assert contents(place / str(moment)) == whole, moment


def test_killed_while_it_replaces_another_run(place: Path) -> None:
    """With --overwrite the old run stays, newest checkpoint and all, until it is gone: --resume never mixes the two."""
    command = words(train_steps=4, train_shards=1, train_seed=6, log_checkpoint_every=2)
    other = {"log_checkpoint_every": 1, "log_keep": 9, "train_seed": 5, "model_input_std": 1.0}
    finished(*words(train_steps=4, train_shards=1, **other), "--out", "old")
    finished(*command, "--out", "whole")
    newest = Path("checkpoints", "step-00000004.safetensors")
    old, whole = (place / "old" / newest).read_bytes(), contents(place / "whole")
    tried = trials(place, "old", command)
    assert {last for *_, last in tried} == {0, 2}
    for moment, (*_, last) in enumerate(tried):
        if last == 0:
            assert contents(place / str(moment)) == whole, moment
        else:  # "--resume cannot change train.seed"
            assert (place / str(moment) / newest).read_bytes() == old, moment


def test_killed_while_it_replaces_a_text_that_is_in_no_file(place: Path) -> None:
    """The same where both texts came from standard input: what is resumed is one of them with its own text."""

    def command(seed: int) -> list[str]:
        return ["train", "-", *words(train_steps=2, train_shards=1, train_seed=seed, log_checkpoint_every=1)[2:]]

    for name, seed, content in (("old", 5, "another text, as it was " * 20), ("new", 6, Path("t.txt").read_text())):
        call = [sys.executable, "-m", "charrnn", *command(seed), "--out", name]
        subprocess.run(call, input=content, text=True, check=True, capture_output=True)
    whole = {about(place / name) for name in ("old", "new")}
    tried = trials(place, "old", command(6))
    assert {last for *_, last in tried} == {0, 2}
    ended = [about(place / str(moment)) for moment, (*_, last) in enumerate(tried) if last == 0]
    assert set(ended) == whole


def about(run: Path) -> tuple[int, str, str]:
    """Seed, text and network of a run."""
    saved = checkpoint.find(run, "last")[1]
    return saved.meta.config.train.seed, saved.meta.sha256, checkpoint.digest_of(saved.tensors)
