"""The checkpoint file: the round trip, every kind of damage, and writes that fail."""

from __future__ import annotations

import errno
import functools
import json
import math
import operator
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers.example_checkpoint import CHARACTERS, LAYOUT, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn import api
from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Best
from charrnn.checkpoint.file import digest_of
from charrnn.checkpoint.schema import to_tensors
from charrnn.errors import CheckpointError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a checkpoint file."""
    path = tmp_path_factory.mktemp("good") / "a.safetensors"
    checkpoints.save(path, example())
    return path.read_bytes()


def assert_refused(path: Path, *fragments: str) -> None:
    """Assert that loading `path` raises an error of one line that contains the file's name and the fragments."""
    with pytest.raises(CheckpointError) as raised:
        api.load(path, device="cpu")
    line = str(raised.value)
    assert "\n" not in line
    for fragment in (path.name, *fragments):
        assert fragment in line


@pytest.mark.parametrize("best", [None, Best(5, 1 / 3)])
def test_round_trip(tmp_path: Path, best: Best | None) -> None:
    """Loading returns the saved metadata and every saved tensor, bit for bit; `vector` inverts `to_tensors`."""
    path, saved = tmp_path / "a.safetensors", example(best=best)
    checkpoints.save(path, saved)
    loaded = checkpoints.load(path)
    assert loaded.meta == saved.meta
    assert {n: (t.dtype, t.shape, t.tobytes()) for n, t in loaded.tensors.items()} == {
        n: (t.dtype, t.shape, t.tobytes()) for n, t in saved.tensors.items()
    }
    vector = loaded.vector("optimizer/square_sum", LAYOUT)
    assert vector.sum() == pytest.approx(sum(n * (n + 1) / 14 for n in (30, 9, 3, 9, 9, 3, 30, 10)), rel=1e-12)
    for name, tensor in to_tensors("optimizer/square_sum", vector, LAYOUT).items():
        assert np.array_equal(tensor, saved.tensors[name])
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_same_run_writes_the_same_bytes(tmp_path: Path) -> None:
    """Two processes with different hash seeds write identical checkpoints, without times or a random order."""
    (tmp_path / "t.txt").write_text("to be or not to be, that is the question\n" * 9)
    words = ["train", "t.txt", "--device=cpu", "--steps=3", "--set=model.hidden_size=8", "--set=train.seq_length=8"]
    contents = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-m", "charrnn", *words, "--out", seed]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        contents.append((tmp_path / seed / "checkpoints" / "step-00000003.safetensors").read_bytes())
    assert contents[0] == contents[1]


# -- damage ---


def test_a_truncated_file_is_refused(good: bytes, tmp_path: Path) -> None:
    """A file that is cut at any byte is refused."""
    path = tmp_path / "cut.safetensors"
    for length in [*range(0, len(good), 7), len(good) - 1]:
        path.write_bytes(good[:length])
        assert_refused(path)


@pytest.mark.parametrize("position", range(8))
def test_a_damaged_header_size_is_refused(good: bytes, tmp_path: Path, position: int) -> None:
    """A file is refused if any bit of its header size is flipped."""
    path = tmp_path / "size.safetensors"
    for bit in range(8):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1 << bit]) + good[position + 1 :])
        assert_refused(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(share=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(good: bytes, tmp_path: Path, share: float, byte: int) -> None:
    """A file with a changed byte in its header is refused in one line, or its network still samples text."""
    path, size = tmp_path / "header.safetensors", int.from_bytes(good[:8], "little")
    position = 8 + int(share * size)
    path.write_bytes(good[:position] + bytes([byte]) + good[position + 1 :])
    try:
        model = api.load(path, device="cpu")
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)
        return
    text = model.sample(length=3, seed=0)
    assert len(text) == 3
    assert set(text) <= set(model.vocabulary.characters)
    assert model.step >= 0


def last_element(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that replaces the last element of a tensor by `value`."""
    return lambda array: np.append(array.ravel()[:-1], value).reshape(array.shape)


W, B = "parameters/layer1.W_hh", "parameters/layer2.b_h"
DAMAGES: list[tuple[str, Any, list[str]]] = [
    (W, lambda a: a.astype(np.float32), [W, "float32[3, 3], not float64[3, 3]"]),
    (W, lambda a: a[:2].copy(), [W, "float64[2, 3], not float64[3, 3]"]),
    ("parameters/output.W_hy", lambda a: a.T.copy(), ["output.W_hy", "float64[10, 3], not float64[3, 10]"]),
    (W, lambda _: None, [W, "missing"]),
    (B, lambda _: np.zeros(3), [B, "does not belong"]),
    (W, last_element(np.nan), [W, "not finite"]),
    ("parameters/output.b_y", last_element(-np.inf), ["parameters/output.b_y", "not finite"]),
    ("optimizer/square_sum/output.b_y", last_element(np.nan), ["optimizer/square_sum/output.b_y", "not finite"]),
    ("optimizer/square_sum/output.b_y", lambda _: None, ["optimizer/square_sum/output.b_y", "missing"]),
    ("average/output.b_y", lambda _: np.zeros(10), ["average/output.b_y", "does not belong"]),
    ("state/hidden", lambda a: a[:, :1].copy(), ["state/hidden", "float64[2, 1, 3], not float64[2, 2, 3]"]),
    ("state/hidden", last_element(np.inf), ["state/hidden", "not finite"]),
    ("guard/scale", lambda _: np.array(np.nan), ["guard/scale", "not finite"]),
    ("guard/bad", lambda _: None, ["guard/bad", "missing"]),
    ("evil", lambda _: np.zeros(3), ["evil", "does not belong"]),
    ("format", 3, ["version 3", "versions 1 to 2", "update"]),
    ("vocabulary", None, []),
    ("vocabulary.characters", CHARACTERS[::-1], ["vocabulary"]),
    ("vocabulary.characters", CHARACTERS[0] + CHARACTERS[:-1], ["vocabulary"]),
    ("vocabulary.characters", list(CHARACTERS), []),
    ("vocabulary.characters", CHARACTERS[:8] + "\ud800🙂", []),
    ("vocabulary.counts", [1], ["vocabulary"]),
    ("vocabulary.counts", [-1] * 10, ["metadata"]),
    ("config.model.hidden_size", 2**20, ["float64[3, 3], not float64[1048576, 1048576]"]),
    ("config.model.hidden_size", 10**9, ["hidden_size must be at least 1 and at most 1048576"]),
    ("config.model.num_layers", 10**9, ["num_layers must be at least 1 and at most 100"]),
    ("config.optimizer.average", 0.9, ["average/", "missing"]),
    ("config.train.batch_size", 2**30, ["state/hidden", "[2, 1073741824, 3]"]),
    ("config.model.hiden_size", 3, ["hiden_size"]),
    ("config.optimizer.learning_rate", -1.0, ["learning_rate"]),
    ("config", [], []),
    ("step", "7", ["metadata"]),
    ("step", -7, ["metadata"]),
    ("step", 10**30, ["metadata"]),
    ("vocabulary.counts", [2**63] * 10, ["metadata"]),
    ("step", 7.0, ["metadata"]),
    ("smooth_loss", math.nan, ["metadata"]),
    ("best.val_loss", math.inf, ["metadata"]),
    ("best", 3, []),
    ("author", "x", ["author"]),
]


@pytest.mark.parametrize(("name", "change", "words"), DAMAGES, ids=[f"{n}-{d[0]}" for n, d in enumerate(DAMAGES)])
def test_wrong_content_is_refused(good: bytes, tmp_path: Path, name: str, change: Any, words: list[str]) -> None:
    """A well-formed file with a wrong tensor or wrong metadata is refused, and the error names it."""
    path, tensors = tmp_path / "damaged.safetensors", safetensors.numpy.load(good)
    values = json.loads(json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])["__metadata__"]["charrnn"])
    if "/" in name or name == "evil":
        changed = change(tensors.pop(name, None))
        tensors |= {} if changed is None else {name: changed}
    else:
        *sections, key = name.split(".")
        functools.reduce(operator.getitem, sections, values)[key] = change
    values["content"] = digest_of(tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"charrnn": json.dumps(values)}))
    assert_refused(path, *words)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_tensor_is_detected(good: bytes, tmp_path: Path, share: float, bit: int) -> None:
    """A file with any flipped bit in its tensors is refused."""
    header = 8 + int.from_bytes(good[:8], "little")
    position = header + int(share * (len(good) - header))
    damaged = bytearray(good)
    damaged[position] ^= 1 << bit
    (tmp_path / "flipped.safetensors").write_bytes(damaged)
    assert_refused(tmp_path / "flipped.safetensors", "damaged")


NO_CHECKPOINTS = {
    "empty": b"",
    "text": b"Once upon a time there was a text.\n" * 9,
    "absurd-size": struct.pack("<Q", 2**63) + b"{}" * 99,
    "no-metadata": safetensors.numpy.save({"a": np.zeros(2)}),
    "bad-json": safetensors.numpy.save({}, {"charrnn": "{"}),
    "deep-json": safetensors.numpy.save({}, {"charrnn": "[" * 100_000}),
    "json-list": safetensors.numpy.save({}, {"charrnn": "[1]"}),
}


@pytest.mark.parametrize("content", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no checkpoint is refused, and so is a directory."""
    (tmp_path / "other.bin").write_bytes(content)
    assert_refused(tmp_path / "other.bin")
    with pytest.raises(CheckpointError, match=r"^[^\n]*: it is not a file$"):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace", "charrnn.files.write_whole"])
def test_a_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """If the disk is full, the error says so, the old file does not change, and no other file remains."""
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, example())
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(broken, full)
    with pytest.raises(CheckpointError, match=r"^cannot write .*a.safetensors: No space left on device$"):
        checkpoints.save(path, example(step=8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
