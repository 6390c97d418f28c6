"""Files of earlier versions: each loads, says what its own version said, and goes on as it went on then.

They lie in `released`, beside the text that they learnt; `released/make.py` makes another.
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
"""How near a later version must come to an evaluation; losses of steps that go on from it: ten times that."""


@pytest.fixture(params=sorted(RELEASED.glob("*.safetensors")), ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    """Each checkpoint."""
    return request.param


@pytest.fixture
def then(file: Path) -> dict[str, Any]:
    """What its own version said of it."""
    return json.loads(file.with_suffix(".json").read_text("utf-8"))


def test_every_format_is_here() -> None:
    """There is a file of every version of the format up to the one that is written now."""
    found = set()
    for path in RELEASED.glob("*.safetensors"):
        with safetensors.safe_open(path, framework="numpy") as file:
            found.add(json.loads(file.metadata()["charrnn"])["format"])
    assert found == set(range(1, FORMAT + 1))


def test_an_old_network_writes_what_it_wrote(call: Call, file: Path, then: dict[str, Any]) -> None:
    """Its likeliest text, and that of a seed where a seed still means the same, are those of its own version."""
    words = ["sample", file, "--no-echo", "--prompt", then["prompt"], "--length", len(then["greedy"])]
    assert call(*words, "--temperature=0")[0] == then["greedy"] + "\n"
    if "seed" in then:
        assert call(*words, "--seed", then["seed"])[0] == then["sampled"] + "\n"


def test_an_old_network_predicts_as_it_did(call: Call, file: Path, then: dict[str, Any]) -> None:
    """Its loss under both protocols is that of its own version, and so is its step."""
    for protocol, words in (("carried", []), ("windows", ["--window", then["window"]])):
        result = json.loads(call("eval", file, TEXT, "--json", *words)[0])
        assert result["nats_per_char"] == pytest.approx(then[protocol], rel=EXACT)
    assert checkpoint.load(file).meta.step == then["step"]


def test_an_old_run_goes_on_as_it_did(call: Call, tmp_path: Path, file: Path, then: dict[str, Any]) -> None:
    """Resumed from nothing but the checkpoint and its text, it has the losses that its own version had."""
    path = checkpoint.path_of(tmp_path / "r", then["step"])
    path.parent.mkdir(parents=True)
    shutil.copy(file, path)
    call("train", TEXT, "--resume", "--out=r")
    losses = {m["step"]: m["loss"] for m in metrics(tmp_path / "r") if m["event"] == "train"}
    assert losses == pytest.approx({int(step): loss for step, loss in then["losses"].items()}, rel=10 * EXACT)
    last = checkpoint.last(tmp_path / "r")
    assert last is not None
    assert last[1].meta.step == max(losses)


def test_an_old_network_is_fine_tuned(call: Call, tmp_path: Path, file: Path) -> None:
    """`--init-from` takes its weights, bit for bit, and trains on with them."""
    source = checkpoint.load(file)
    kept, dtype = "average" if source.meta.config.optimizer.average else "parameters", source.meta.config.model.dtype
    settings = (f"--set=model.dtype={dtype}", "--set=train.seq_length=8")
    call("train", TEXT, "--device=cpu", "--init-from", file, "--steps=2", "--out=r", *settings)
    first = checkpoint.load(checkpoint.path_of(tmp_path / "r", 0))
    weights = {name: tensor for name, tensor in source.tensors.items() if name.startswith(kept)}
    assert len(weights) >= 5
    for name, tensor in weights.items():
        assert np.array_equal(first.tensors[name.replace(kept, "parameters")], tensor), name
    assert checkpoint.steps(tmp_path / "r") == [0, 2]
