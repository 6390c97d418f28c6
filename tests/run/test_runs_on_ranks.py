"""A run on any number of MPI ranks equals the run of one process, in every file; and all ranks end together."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import words
from helpers.ranks import call, descendants, on_ranks, rank_processes, started_on_ranks
from helpers.runs import contents

import charrnn
from charrnn import checkpoint

pytestmark = pytest.mark.mpi

OFTEN = {"train_steps": 24, "train_shards": 4, "log_every": 4, "log_eval_every": 6, "log_sample_every": 9}
OFTEN |= {"log_checkpoint_every": 5, "log_keep": 20}
KILLS = 30
CASES: dict[str, dict[str, Any]] = {
    "rnn": {
        **{"model_cell": "rnn", "model_dropout": 0, "model_recurrent_dropout": 0, "optimizer_average": 0},
        **{"optimizer_schedule": "plateau", "optimizer_learning_rate": 0.5},
    },
    "gru": {"model_cell": "gru", "model_num_layers": 2, "model_dropout": 0.3, "data_document_separator": "\n"},
    "lstm, float64": {"model_input_dropout": 0.1, "model_dtype": "float64", "optimizer_weight_decay": 0.1},
    "one shard": {"train_shards": 1, "data_document_separator": "\n", "data_shuffle_documents": False},
}
HELD_OUT = {"model_embedding_size": 6, "model_tie_weights": True, "train_patience": 1, "optimizer_learning_rate": 0.5}
HELD_OUT |= {"log_eval_every": 2}


@pytest.fixture
def long(place: Path, text: str) -> Path:
    """Make a longer text, and one to test on, in the current directory."""
    (place / "t.txt").write_text(text * 4)
    (place / "test.txt").write_text(text[::-1])
    (place / "val.txt").write_text(text[40:400])
    return place


def same_as_one_process(place: Path, *command: str) -> dict[str, Any]:
    """Assert that runs on 2 and 3 ranks equal the run of one process, and return the files of that."""
    on_ranks(0, *command, "--out=one")
    whole = files(place / "one")
    for ranks in (2, 3):
        on_ranks(ranks, *command, f"--out={ranks}")
        assert files(place / str(ranks)) == whole
    return whole


def files(run: Path) -> dict[str, Any]:
    """Return the files of a run, without those for TensorBoard, which hold times."""
    return {name: value for name, value in contents(run).items() if not name.startswith("tensorboard/")}


@pytest.mark.parametrize("keys", CASES.values(), ids=CASES)
def test_every_number_of_ranks_gives_the_same_files(long: Path, keys: dict[str, Any]) -> None:
    """Checkpoints, metrics, samples, baselines and configuration have the same bytes (the metrics without times)."""
    whole = same_as_one_process(long, *words(**OFTEN | keys), "--test=test.txt")
    assert "checkpoints/step-00000005.safetensors" in whole


def test_held_out_texts_and_patience_on_ranks(long: Path) -> None:
    """A run with texts of its own to validate and test on, a tied embedding, and TensorBoard, ends early everywhere."""
    pytest.importorskip("tensorboardX")
    command = (*words(**OFTEN | HELD_OUT), "--val=val.txt", "--test=test.txt", "--tensorboard")
    whole = same_as_one_process(long, *command)
    assert whole["metrics.jsonl"][-1]["event"] == "test"
    assert "checkpoints/step-00000024.safetensors" not in whole


def test_profile_counts_what_the_cost_model_says(long: Path) -> None:
    """Besides the gradients, a message has a number for the request to stop, and the losses of its shards."""
    lines = on_ranks(2, *words(**OFTEN), "--out=r", "--profile").stdout.splitlines()
    counted, model = lines[-2:]
    sent = re.fullmatch(r"a rank sends ([\d,]+) bytes in 2 messages in a step", counted)
    match = re.fullmatch(
        r"the cost model says ([\d,]+) bytes: \(4/2 \+ 1\) \* ([\d,]+) \* 1/2 numbers of 4 bytes", model
    )
    assert sent, counted
    assert match, model
    of_model, parameters = (int(word.replace(",", "")) for word in match.groups())
    assert of_model == 3 * parameters * 4 / 2
    assert int(sent[1].replace(",", "")) == of_model + 3 * 4


def test_fine_tuning_on_ranks(long: Path) -> None:
    """Weights that begin as those of another run, in a larger vocabulary, are the same on all ranks."""
    on_ranks(0, *words(train_steps=5), "--out=old")
    (long / "t.txt").write_text("Überall hört man's: «sieh!»\n" * 30)
    whole = same_as_one_process(long, *words(**OFTEN), "--init-from=old", "--grow-vocabulary")
    assert "checkpoints/step-00000024.safetensors" in whole


def test_resuming_on_another_number_of_ranks(long: Path) -> None:
    """A run that was stopped on 2 ranks, continued by one process and ended on 3 equals the run without a stop."""
    command = words(**OFTEN)
    on_ranks(0, *command, "--out=one")
    for ranks, options in ((2, ["--stop-after=7"]), (0, ["--stop-after=6", "--resume"]), (3, ["--resume"])):
        on_ranks(ranks, *command, "--out=parts", "--threads=2", *options)
    ours, whole = contents(long / "parts"), contents(long / "one")
    stops = {f"checkpoints/step-{step:08}.safetensors" for step in (7, 13)}
    assert {name: value for name, value in ours.items() if name not in stops} == whole


@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_to_one_rank_stops_all_at_the_same_step(long: Path, rank: int, number: int) -> None:
    """All ranks end with the status of the signal, and the run that is resumed equals the one without a stop."""
    often = {"log_every": 4, "log_sample_every": 0, "log_eval_every": 250, "log_checkpoint_every": 250, "log_keep": 9}
    command = words(train_steps=1000, **often)
    on_ranks(0, *command, "--out=one")
    with started_on_ranks(2, *command, "--out=parts") as process:
        assert process.stdout is not None
        next(line for line in process.stdout if " 4/1,000  loss" in line)
        os.kill(rank_processes(process.pid)[rank], number)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, output
    assert "interrupted at step" in output
    stop = checkpoint.steps(long / "parts")[-1]
    assert 4 <= stop < 1000
    on_ranks(0, *command, "--out=parts", "--resume")
    ours, whole = contents(long / "parts"), contents(long / "one")
    if stop % 250:
        del ours[f"checkpoints/step-{stop:08}.safetensors"]
    assert ours == whole


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_all(long: Path) -> None:
    """Whichever rank is killed, and whenever: all end within 10 seconds, and the run can be resumed exactly."""
    command = words(**OFTEN | {"train_steps": 4000, "log_checkpoint_every": 40, "log_keep": 1})
    on_ranks(0, *command, "--out=one")
    draw = random.Random(20)
    for kill in range(KILLS):
        ranks = 2 + kill % 2
        with started_on_ranks(ranks, *command, "--out=parts", "--resume", f"--threads={1 + kill // 2 % 2}") as process:
            assert process.stdout is not None
            for _ in range(draw.randrange(50)):
                process.stdout.readline()
            everything, processes = descendants(process.pid), rank_processes(process.pid)
            victim = draw.randrange(ranks)
            if victim in processes:
                os.kill(processes[victim], signal.SIGKILL)
            else:
                process.kill()  # before the rank has started
            until = time.monotonic() + 10
            output = process.communicate(timeout=10)[0]
        assert "Traceback" not in output
        while any(map(is_alive, everything)):  # the launcher does not wait for all that its ranks have started
            assert time.monotonic() < until
            os.sched_yield()
    on_ranks(2, *command, "--out=parts", "--resume")
    assert contents(long / "parts") == contents(long / "one")


def is_alive(pid: int) -> bool:
    """Return whether a process has not ended."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


OTHER_VERSION = "import charrnn, charrnn.__main__ as m; charrnn.__version__ = '9'; m.main()"
WRONG = {
    "a text that differs": (["other.txt"], "rank 1 on .* differs from rank 0 on .*: the text is '26 characters"),
    "an option that differs": (["t.txt", "--seed=3"], "rank 1 on .*: train.seed is 3, not 0; start all ranks with"),
    "a text that is missing": (["missing.txt"], "rank 1 on .*: missing.txt: there is no such file"),
    "an option out of range": (["t.txt", "--stop-after=0"], "rank 1 on .*: --stop-after must be at least 1, not 0"),
}


@pytest.mark.parametrize(("second", "message"), WRONG.values(), ids=WRONG)
def test_ranks_that_differ_are_one_line(place: Path, second: list[str], message: str) -> None:
    """All ranks end with status 2 and one line that names the machine, before anything is written."""
    (place / "other.txt").write_text("abcdefghijklm" * 2)
    first = call(1, "train", "t.txt", "--device=cpu", "--out=r")
    other = call(1, "train", *second, "--device=cpu", "--out=r")[1:]
    assert re.search(message, error_of([*first, ":", *other])), message
    assert not (place / "r").exists()


def test_another_version_on_a_rank_is_one_line(place: Path) -> None:
    """It is an error like other differences, even if both versions would compute the same."""
    words = ["train", "t.txt", "--device=cpu", "--out=r"]
    other = ["-n", "1", sys.executable, "-c", OTHER_VERSION, *words]
    error = error_of([*call(1, *words), ":", *other])
    assert "differs from rank 0" in error
    assert f"the version of charrnn is '9', not '{charrnn.__version__}'" in error


def error_of(command: list[str]) -> str:
    """Return the only line of standard error of a command that ends with status 2."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line] == [done.stderr.strip()]
    return done.stderr


def test_a_rank_that_fails_alone_ends_all(place: Path) -> None:
    """The first rank, which cannot write the run, prints its line and ends the others, which wait for it."""
    on_ranks(0, *words(train_steps=5), "--out=r")
    (place / "r" / "metrics.jsonl").unlink()
    (place / "r" / "metrics.jsonl").mkdir()
    done = on_ranks(2, *words(train_steps=9), "--out=r", "--resume", "--steps=9", status=2)
    *notices, error = done.stderr.splitlines()
    assert error.startswith("charrnn: cannot write r/metrics.jsonl: Is a directory")
    assert not [line for line in notices if line.startswith(("charrnn", "Abort"))]


def test_a_time_budget_on_ranks_is_repeated_by_one_process(long: Path) -> None:
    """The ranks plan the same steps by the clock of the first, and the configuration repeats their checkpoints."""
    keys = words(log_checkpoint_every=20, log_sample_every=0, log_keep=1000)
    on_ranks(2, *keys, "--minutes=0.03", "--out=planned", "--patience=0")
    on_ranks(0, "train", "t.txt", "--config=planned/config.toml", "--stop-after=21", "--out=again")
    for step in (0, 20):
        name = f"checkpoints/step-{step:08}.safetensors"
        assert (long / "again" / name).read_bytes() == (long / "planned" / name).read_bytes()
