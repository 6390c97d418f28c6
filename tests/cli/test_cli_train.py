"""`charrnn train`: run directories, sources, stopping and resuming, signals, divergence."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.commands import BUFFERED, TEXT, TINY, TRAIN, Call, metrics
from helpers.runs import newest_checkpoint

from charrnn import checkpoint
from charrnn.cli.signals import interruptible
from charrnn.run import resolve

PYTHON = os.path.abspath(sys.executable)  # noqa: PTH100 (a Path keeps "..", which Python removes from sys.executable)


def test_run_directory(call: Call, tmp_path: Path) -> None:
    """A run directory holds metrics, samples, a configuration that repeats it, and checkpoints from step 0."""
    out, err = call(*TRAIN, "--out", "r")
    run = tmp_path / "r"
    assert sorted(path.name for path in run.iterdir()) == [
        "baselines.json", "checkpoints", "config.toml", "environment.json", "metrics.jsonl", "samples.txt"
    ]  # fmt: skip
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        f"step-{step:08}.safetensors" for step in (0, 5, 10)
    ]
    lines = metrics(run)
    assert [(line["event"], line["step"]) for line in lines] == [
        ("eval", 0), ("train", 5), ("eval", 5), ("train", 10), ("eval", 10)
    ]  # fmt: skip
    for line in lines:
        common, kind = (
            {"event", "step", "chars", "sweeps", "seconds"},
            {"val_loss", "val_bits_per_char", "val_bits_per_byte", "train_loss", "best"},
        )
        if line["event"] == "train":
            kind = {"loss", "smooth_loss", "grad_norm", "learning_rate", "chars_per_second", "device"}
        assert set(line) == common | kind
        assert line["chars"] == line["step"] * 16
        assert line["sweeps"] == pytest.approx(line["chars"] / int(len(TEXT) * 0.9), abs=1e-6)
    assert [line["best"] for line in lines if line["event"] == "eval"] == [False, True, True]
    assert lines[0]["val_bits_per_char"] == pytest.approx(lines[0]["val_loss"] / math.log(2))
    assert abs(lines[0]["val_loss"] - math.log(len(set(TEXT)))) < 0.5
    samples = (run / "samples.txt").read_text()
    assert re.fullmatch(r"--- step 0 ---\n(?s:.){9}\n\n--- step 10 ---\n(?s:.){9}\n\n", samples)
    table = tomllib.loads((run / "config.toml").read_text())
    assert table["data"]["files"] == [str(tmp_path / "t.txt")]
    assert (table["model"]["hidden_size"], table["train"]["steps"], table["train"]["device"]) == (8, 10, "cpu")
    call("train", "--config", run / "config.toml", "--out", "again")
    assert [line.get("loss") for line in metrics(tmp_path / "again")] == [line.get("loss") for line in lines]
    assert f"corpus: t.txt, {len(TEXT):,} characters, {len(set(TEXT))} distinct" in out
    assert out.endswith("run: r\nsample from it: charrnn sample r\n")
    assert "device: CPU" in err


@pytest.mark.parametrize("source", ["t.txt", "-", "t.txt.gz", "folder", "*.tx[t]"])
def test_sources_of_one_text(call: Call, tmp_path: Path, source: str) -> None:
    """A file, standard input, gzip, a directory and a glob of the same text give the same run."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text(TEXT)
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    call("train", source, *TRAIN[2:], stdin=TEXT if source == "-" else "")
    call(*TRAIN, "--out", "direct")
    run = tmp_path / "runs" / {"-": "stdin", "folder": "folder", "*.tx[t]": "run"}.get(source, "t")
    assert [m.get("loss") for m in metrics(run)] == [m.get("loss") for m in metrics(tmp_path / "direct")]
    values = json.loads(call("eval", run, "--json")[0])
    assert (values["protocol"], values["characters"]) == ("carried", len(TEXT) - int(len(TEXT) * 0.9) - 1)


@pytest.mark.parametrize(("content", "fits"), [("hello", True), ("ab", True), ("aa", True), ("a", False), ("", False)])
def test_shortest_texts(call: Call, tmp_path: Path, content: str, fits: bool) -> None:
    """Two characters are enough to train on, without a validation split; fewer are an error."""
    (tmp_path / "short.txt").write_text(content)
    _, err = call("train", "short.txt", *TINY, "--steps=2", "--out=r", status=0 if fits else 2)
    if not fits:
        assert err == f"charrnn: short.txt: {len(content)} characters are too few to learn from; at least 2 are needed"
        assert not (tmp_path / "r").exists()
        return
    assert "the text is too short for a validation split: all of it is trained on" in err.splitlines()
    out, _ = call("sample", "r", "--seed=1", "--length=20")
    assert len(out) == 21
    assert set(out) <= {*content, "\n"}


def test_existing_run_is_refused_or_replaced(call: Call, tmp_path: Path) -> None:
    """An existing run is an error; --overwrite replaces its own files only, and only in a run directory."""
    call(*TRAIN, "--out=r")
    before = (tmp_path / "r" / "metrics.jsonl").read_bytes()
    (tmp_path / "r" / "notes.txt").write_text("mine")
    _, error = call(*TRAIN, "--out=r", status=2)
    assert error == "charrnn: r already exists: add --resume to continue it, or --overwrite to replace it"
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == before
    call(*TRAIN, "--out=r", "--overwrite", "--steps=3")
    assert metrics(tmp_path / "r")[-1]["step"] == 3
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "r" / "checkpoints" / "step-00000010.safetensors").exists()
    assert "not a run directory" in call(*TRAIN, "--out=.", "--overwrite", status=2)[1]
    assert call(*TRAIN, "--out=t.txt/r", status=2)[1] == "charrnn: cannot write to t.txt/r: Not a directory"
    assert (tmp_path / "t.txt").read_text() == TEXT


def test_patience(call: Call, tmp_path: Path) -> None:
    """--patience is the key train.patience: the run ends after as many evaluations that are not better."""
    still = ["--set=optimizer.learning_rate=1e-30", "--steps=100"]
    assert "\nstopped early (--patience) at step 20 " in call(*TRAIN, *still, "--patience=3", "--out=r")[0]
    assert tomllib.loads((tmp_path / "r" / "config.toml").read_text())["train"]["patience"] == 3
    assert "stopped early; --patience N with a larger N continues it" in call("train", "--resume", "--out=r")[0]
    assert " at step 35 " in call("train", "--resume", "--out=r", "--patience=6")[0]
    assert "--patience: train.patience must be at least 0, not -1" in call(*TRAIN, "--patience=-1", status=2)[1]


def test_stop_and_resume(call: Call, tmp_path: Path) -> None:
    """A resumed run ends with the same files as one without a stop; resuming a finished run changes nothing."""
    call(*TRAIN, "--out=whole")
    out, err = call(*TRAIN, "--out=r", "--stop-after=7")
    assert "stopped at step 7" in out
    assert err.splitlines()[-1] == "resume: charrnn train --resume --out r"
    call("train", "--resume", "--out=r")
    saved, whole = (checkpoint.last(tmp_path / name)[1] for name in ("r", "whole"))
    assert {n: t.tobytes() for n, t in saved.tensors.items()} == {n: t.tobytes() for n, t in whole.tensors.items()}
    assert (tmp_path / "r" / "samples.txt").read_bytes() == (tmp_path / "whole" / "samples.txt").read_bytes()
    assert [m.get("loss") for m in metrics(tmp_path / "r")] == [m.get("loss") for m in metrics(tmp_path / "whole")]
    before = (tmp_path / "r" / "metrics.jsonl").read_bytes()
    assert "this run is finished: 10 steps are done" in call("train", "--resume", "--out=r")[0]
    assert (tmp_path / "r" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (None, 141)])
def test_interrupted_run_saves_and_resumes(
    call: Call, tmp_path: Path, number: signal.Signals | None, status: int
) -> None:
    """SIGTERM, Ctrl-C and a closed pipe end training with their status and a checkpoint to resume from."""
    command = [sys.executable, "-m", "charrnn", *TRAIN, "--steps=1000000", "--out=r", "--set=log.every=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=BUFFERED) as process:
        assert any("  loss " in line for line in process.stdout)
        process.stdout.close() if number is None else process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == status
    assert err.splitlines()[-1] == f"resume: {PYTHON} -m charrnn train --resume --out r"
    assert "Traceback" not in err
    step = checkpoint.last(tmp_path / "r")[1].meta.step
    assert number is None or f"interrupted at step {step:,} " in out
    assert f"resuming r at step {step:,}" in call("train", "--resume", "--out=r", f"--steps={step + 5}")[0]
    assert metrics(tmp_path / "r")[-1]["step"] == step + 5


def test_second_signal_exits() -> None:
    """The first signal is stored, the second exits with its status; the previous handlers are restored."""
    before = signal.getsignal(signal.SIGTERM)
    with interruptible() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(SystemExit, match="130"):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_ignored_signal_stays_ignored() -> None:
    """A signal that is ignored, as under nohup, has no effect."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert interruption.signal is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_divergence_ends_with_status_3(call: Call, tmp_path: Path) -> None:
    """A diverged run prints one line, writes its metrics as strict JSON, and saves finite parameters."""
    absurd = ("--set=optimizer.name=adagrad", "--set=optimizer.schedule=constant", "--set=optimizer.learning_rate=1e38")
    out, err = call(*TRAIN, "--out=r", *absurd, status=3)
    assert err.startswith("charrnn: training diverged: three steps in a row had a loss")
    guards = [m for m in metrics(tmp_path / "r") if m["event"] == "guard"]
    assert [m["bad_in_a_row"] for m in guards] == [1, 2, 3]
    assert out.count("GUARD: the step was skipped") == 3
    assert {type(m[key]) for m in guards for key in ("loss", "grad_norm")} <= {str, float}
    for words in ("sample r --length=20 --seed=1", "eval r", "score r t.txt"):
        assert "the network overflows" in call(*words.split(), "--checkpoint=last", status=2)[1]


def test_planned_run_that_ends_early(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends long before --minutes prints how many steps take that long."""
    monkeypatch.setattr(resolve, "pace", lambda *_: 2.0)
    out, _ = call("train", "t.txt", "--out=r", "--minutes=1", *TINY)
    found = re.search(r"^planned for 0:5\d: the machine was slower .* --steps (\d+) instead", out, re.MULTILINE)
    assert found is not None
    assert int(found[1]) > 200
    monkeypatch.setattr(resolve, "pace", lambda *_: 1e9)
    out, _ = call("train", "t.txt", "--out=s", "--minutes=0.02", *TINY)
    assert "planned for" not in out


def test_profile_of_one_process(call: Call, tmp_path: Path) -> None:
    """`--profile` prints the parts of a step, of which no bytes are sent, and changes no bit."""
    call(*TRAIN, "--out", "plain")
    out, _ = call(*TRAIN, "--out", "r", "--profile")
    first, *parts = out.splitlines()[-5:]
    assert re.fullmatch(r"a step takes \d+\.\d{3} ms, the mean of 10:", first)
    names = [re.fullmatch(r"  (.+?) +\d+\.\d{3} ms +\d+%", part)[1] for part in parts]  # type: ignore[index]
    assert names == ["masks", "forward and backward", "sum of the shards", "update"]
    assert newest_checkpoint(tmp_path / "r") == newest_checkpoint(tmp_path / "plain")


def test_profile_of_a_finished_run(call: Call) -> None:
    """A process that does no step has nothing to print."""
    call(*TRAIN, "--out", "r")
    assert "a step takes" not in call(*TRAIN, "--out", "r", "--resume", "--profile")[0]
