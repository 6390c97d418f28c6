"""A run that is killed anywhere, however often, and resumed, equals the run that was never killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import disk_faults
from helpers.processes import finished, started, words
from helpers.runs import contents

from charrnn import checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are killed here by SIGKILL")

MOMENTS = [pytest.param(1, marks=pytest.mark.slow, id="every"), pytest.param(11, id="sample")]
"""Kill at every moment, or at every eleventh."""


def trials(place: Path, old: str, stride: int, command: list[str]) -> dict[str, list[int]]:
    """Run `disk_faults.py` with the text on standard input. Return the three exit statuses by moment."""
    call = [sys.executable, disk_faults.__file__, place, old, str(stride), *command]
    with Path("t.txt").open("rb") as stdin:
        report = subprocess.run(call, check=True, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(report.stdout)


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_any_time(place: Path, kills: int) -> None:
    """A run with two processes a step that is killed again and again ends with the same bits."""
    command = words(train_steps=400, log_every=1, log_eval_every=7, log_sample_every=9, log_checkpoint_every=5)
    with started(*command, "--out", "whole") as process:
        assert "done at step 400" in process.communicate()[0]
    draw = random.Random(6)
    for _ in range(kills):
        with started(*command, "--out", "parts", "--resume", "--threads=2") as process:
            assert process.stdout is not None
            for _ in range(draw.randrange(24)):
                process.stdout.readline()
            for _ in range(draw.randrange(100_000)):  # up to some milliseconds
                pass
            process.kill()
    assert checkpoint.steps(place / "parts")[-1] > 0  # some kills came after the first checkpoint
    with started(*command, "--out", "parts", "--resume", "--threads=1") as process:
        output = process.communicate()[0]
    assert "done at step 400" in output or "this run is finished: 400 steps" in output, output
    assert contents(place / "parts") == contents(place / "whole")


@pytest.mark.parametrize("stride", MOMENTS)
def test_killed_at_every_disk_access(place: Path, stride: int) -> None:
    """A run is killed before or in the middle of a write, before a rename, sync or removal, and again later."""
    command = words(
        train_steps=4, train_shards=1, log_every=1, log_eval_every=3, log_sample_every=1, log_checkpoint_every=2
    )
    finished(*command, "--out", "whole")
    tried = trials(place, "-", stride, command)
    assert len(tried) > 80 // stride
    assert {first for first, *_ in tried.values()} == {-9}
    assert {second for _, second, _ in tried.values()} == {-9, 0}
    assert {last for *_, last in tried.values()} == {0}
    whole = contents(place / "whole")
    for moment in tried:
        assert contents(place / moment) == whole, moment


@pytest.mark.parametrize("stride", MOMENTS)
def test_killed_while_it_replaces_another_run(place: Path, stride: int) -> None:
    """With --overwrite the old run stays, newest checkpoint and all, until it is gone: --resume never mixes the two."""
    command = words(train_steps=4, train_shards=1, train_seed=6, log_checkpoint_every=2)
    other = {"log_checkpoint_every": 1, "log_keep": 9, "train_seed": 5, "model_input_std": 1.0}
    finished(*words(train_steps=4, train_shards=1, **other), "--out", "old")
    finished(*command, "--out", "whole")
    newest = Path("checkpoints", "step-00000004.safetensors")
    old, whole = (place / "old" / newest).read_bytes(), contents(place / "whole")
    tried = trials(place, "old", stride, command)
    ends = {last for *_, last in tried.values()}
    assert ends == {0, 2} if stride == 1 else ends <= {0, 2}
    for moment, (*_, last) in tried.items():
        if last == 0:
            assert contents(place / moment) == whole, moment
        else:  # "--resume cannot change train.seed"
            assert (place / moment / newest).read_bytes() == old, moment


@pytest.mark.parametrize("stride", MOMENTS)
def test_killed_while_it_replaces_a_text_that_is_in_no_file(place: Path, stride: int) -> None:
    """The same with texts from standard input: the run that is resumed is one of the two, with its own text."""

    def command(seed: int) -> list[str]:
        return ["train", "-", *words(train_steps=2, train_shards=1, train_seed=seed, log_checkpoint_every=1)[2:]]

    for name, seed, content in (("old", 5, "another text, as it was " * 20), ("new", 6, Path("t.txt").read_text())):
        call = [sys.executable, "-m", "charrnn", *command(seed), "--out", name]
        subprocess.run(call, input=content, text=True, check=True, capture_output=True)
    whole = {identity(place / name) for name in ("old", "new")}
    tried = trials(place, "old", stride, command(6))
    ends = {last for *_, last in tried.values()}
    assert ends == {0, 2} if stride == 1 else ends <= {0, 2}
    found = {identity(place / moment) for moment, (*_, last) in tried.items() if last == 0}
    assert found == whole if stride == 1 else found <= whole


def identity(run: Path) -> tuple[int, str, str]:
    """Return seed, text and network of a run."""
    saved = checkpoint.find(run, "last")[1]
    return saved.meta.config.train.seed, saved.meta.sha256, checkpoint.digest_of(saved.tensors)
