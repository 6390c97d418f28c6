"""Checkpoints of earlier versions load, and have the samples and losses that their own version computed.

The files are in `released`, with the text that the networks learned. `released/make.py` makes a new one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from helpers.commands import Call, metrics

from charrnn import checkpoint
from charrnn.checkpoint.file import FORMAT

RELEASED = Path(__file__).parent.parent / "released"
TEXT = RELEASED / "text.txt"
EXACT = 1e-6
"""The relative error that a later version may have in an evaluation; resumed losses may have ten times more."""


@pytest.fixture(params=sorted(RELEASED.glob("*.safetensors")), ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    """Return each checkpoint."""
    return request.param


@pytest.fixture
def expected(file: Path) -> dict[str, Any]:
    """Return the samples and losses that the checkpoint's own version computed."""
    return json.loads(file.with_suffix(".json").read_text("utf-8"))


def test_every_format_has_a_file() -> None:
    """There is a file of every version of the format, including the current one."""
    formats = set()
    for path in RELEASED.glob("*.safetensors"):
        with safetensors.safe_open(path, framework="numpy") as file:
            formats.add(json.loads(file.metadata()["charrnn"])["format"])
    assert formats == set(range(1, FORMAT + 1))


def test_an_old_network_samples_the_same_text(call: Call, file: Path, expected: dict[str, Any]) -> None:
    """The likeliest text, and the text of a seed if seeds did not change, are those of the file's own version."""
    words = ["sample", file, "--no-echo", "--prompt", expected["prompt"], "--length", len(expected["greedy"])]
    assert call(*words, "--temperature=0")[0] == expected["greedy"] + "\n"
    if "seed" in expected:
        assert call(*words, "--seed", expected["seed"])[0] == expected["sampled"] + "\n"


def test_an_old_network_has_the_same_loss(call: Call, file: Path, expected: dict[str, Any]) -> None:
    """The losses under both protocols, and the step, are those of the file's own version."""
    for protocol, words in (("carried", []), ("windows", ["--window", expected["window"]])):
        result = json.loads(call("eval", file, TEXT, "--json", *words)[0])
        assert result["nats_per_char"] == pytest.approx(expected[protocol], rel=EXACT)
    assert checkpoint.load(file).meta.step == expected["step"]


def test_an_old_run_resumes_with_the_same_losses(
    call: Call, tmp_path: Path, file: Path, expected: dict[str, Any]
) -> None:
    """Resumed from the checkpoint and its text alone, a run has the losses that the file's own version had."""
    path = checkpoint.path_of(tmp_path / "r", expected["step"])
    path.parent.mkdir(parents=True)
    shutil.copy(file, path)
    call("train", TEXT, "--resume", "--out=r")
    losses = {m["step"]: m["loss"] for m in metrics(tmp_path / "r") if m["event"] == "train"}
    assert losses == pytest.approx({int(step): loss for step, loss in expected["losses"].items()}, rel=10 * EXACT)
    last = checkpoint.last(tmp_path / "r")
    assert last is not None
    assert last[1].meta.step == max(losses)


def test_an_old_network_is_fine_tuned(call: Call, tmp_path: Path, file: Path) -> None:
    """`--init-from` starts a run with the weights of the checkpoint, bit for bit."""
    source = checkpoint.load(file)
    prefix, dtype = "average" if source.meta.config.optimizer.average else "parameters", source.meta.config.model.dtype
    settings = (f"--set=model.dtype={dtype}", "--set=train.seq_length=8")
    call("train", TEXT, "--device=cpu", "--init-from", file, "--steps=2", "--out=r", *settings)
    first = checkpoint.load(checkpoint.path_of(tmp_path / "r", 0))
    weights = {name: tensor for name, tensor in source.tensors.items() if name.startswith(prefix)}
    assert len(weights) >= 5
    for name, tensor in weights.items():
        assert np.array_equal(first.tensors[name.replace(prefix, "parameters")], tensor), name
    assert checkpoint.steps(tmp_path / "r") == [0, 2]


def test_a_digest_by_the_old_names_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    """`train.init_sha256` of a run of an earlier version fits its source, also after this version wrote it again."""
    with safetensors.safe_open(RELEASED / "1-lstm.safetensors", framework="numpy") as file:
        former = checkpoint.digest_of({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    old = checkpoint.load(RELEASED / "1-lstm.safetensors")
    checkpoint.save(tmp_path / "new.safetensors", old)
    new = checkpoint.load(tmp_path / "new.safetensors")
    assert new.digest != former
    for saved in (old, new):
        assert checkpoint.has_digest(saved, former)
        assert checkpoint.has_digest(saved, new.digest)
        assert not checkpoint.has_digest(saved, "0" * 64)
