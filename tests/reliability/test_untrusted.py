"""A run directory or checkpoint of unknown origin: no code of it runs, no link out of it and no size is trusted."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers.crafted_checkpoints import BIAS, with_changes
from helpers.runs import run

from charrnn import api, checkpoint
from charrnn.errors import CheckpointError
from charrnn.run_files import LOCK, OWNER

FEW = {"train": {"steps": 4, "shards": 1}, "log": {"checkpoint_every": 2, "sample_every": 2}}
NAMES = ["config.toml", "metrics.jsonl", "samples.txt", "baselines.json", LOCK, OWNER]


@pytest.fixture
def theirs(tmp_path: Path, corpus: Path) -> Path:
    """Return a run that was stopped before its end."""
    run(tmp_path / "r", corpus, FEW, stop_after=3)
    return tmp_path / "r"


# -- links ---


@pytest.mark.parametrize("option", [{"resume": True}, {"overwrite": True}], ids=["resumed", "overwritten"])
@pytest.mark.parametrize("name", NAMES)
def test_a_link_is_never_written_through(
    tmp_path: Path, corpus: Path, theirs: Path, name: str, option: dict[str, bool]
) -> None:
    """The target of a link in a run directory never changes: the link is refused, or replaced by a file."""
    precious = tmp_path / "precious"
    original = (theirs / name).read_bytes() if (theirs / name).exists() else b"precious\n"
    precious.write_bytes(original)
    (theirs / name).unlink(missing_ok=True)
    (theirs / name).symlink_to(precious)
    with suppress(CheckpointError):
        run(theirs, corpus, FEW, **option)
        assert not (theirs / name).is_symlink()
    assert precious.read_bytes() == original


def test_checkpoints_that_lie_elsewhere(tmp_path: Path, corpus: Path, theirs: Path) -> None:
    """A link to a folder of checkpoints, or to a checkpoint, is neither read nor removed; one line says so."""
    elsewhere = tmp_path / "elsewhere"
    (theirs / "checkpoints").rename(elsewhere)
    (theirs / "checkpoints").symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir())
    for option in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(CheckpointError, match="leads out of its run directory"):
            run(theirs, corpus, FEW, **option)
    with pytest.raises(CheckpointError, match="leads out of its run directory"):
        api.load(theirs, device="cpu")
    assert sorted(elsewhere.iterdir()) == before
    (theirs / "checkpoints").unlink()
    (theirs / "checkpoints").mkdir()
    for path in before[:-1]:
        shutil.copy(path, theirs / "checkpoints")
    (theirs / "checkpoints" / before[-1].name).symlink_to(before[-1])
    found, _, (notice,) = checkpoint.find(theirs, "last")
    assert found.name == before[-2].name
    assert "leads out of its run directory" in notice
    inside = theirs / "checkpoints" / "mine"
    shutil.copy(before[-1], inside)
    (theirs / "checkpoints" / before[-1].name).unlink()
    (theirs / "checkpoints" / before[-1].name).symlink_to(inside)
    assert checkpoint.find(theirs, "last")[0].name == before[-1].name


def test_a_link_to_itself(theirs: Path) -> None:
    """A link to itself is not used as a checkpoint."""
    newest = sorted((theirs / "checkpoints").iterdir())[-1]
    newest.unlink()
    newest.symlink_to(newest.name)
    assert len(checkpoint.find(theirs, "last")[2]) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_checkpoint(theirs: Path) -> None:
    """Nothing waits for a pipe in the place of a checkpoint; the checkpoint before it is used."""
    newest = sorted((theirs / "checkpoints").iterdir())[-1]
    newest.unlink()
    os.mkfifo(newest)
    assert "is not a file" in checkpoint.find(theirs, "last")[2][0]


# -- sizes ---


def bytes_of(header: dict[str, Any], data: bytes = b"") -> bytes:
    """Return a safetensors file with this header."""
    words = json.dumps(header).encode()
    return struct.pack("<Q", len(words)) + words + data


def tensor(shape: list[int], end: int) -> dict[str, Any]:
    """Return the entry of a tensor in a header."""
    return {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}


def nested(depth: int) -> str:
    """Return nested lists as JSON."""
    return "[" * depth + "]" * depth


def liars(good: bytes) -> dict[str, bytes]:
    """Return small files that state large sizes."""
    same = dict.fromkeys(["charrnn"])
    config = json.loads(json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])["__metadata__"]["charrnn"])[
        "config"
    ]

    def configured(section: str, **keys: int) -> bytes:
        return with_changes(good, len, config=config | {section: config[section] | keys})

    return {
        "header": struct.pack("<Q", 2**40) + good[8:],
        "most header": struct.pack("<Q", 99_999_999) + good[8:],
        "shape": bytes_of({"a": tensor([2**40], 2**42)}, bytes(64)),
        "product": bytes_of({"a": tensor([2**32, 2**32], 0)}),
        "dimensions": bytes_of({"a": tensor([1] * 10**5, 4)}, bytes(4)),
        "tensors": bytes_of({str(n): tensor([0], 0) for n in range(10**4)}),
        "metadata": bytes_of({"__metadata__": same | {"charrnn": nested(10**5)}}),
        "layers": configured("model", num_layers=2**31),
        "most layers": configured("model", num_layers=100),
        "units": configured("model", hidden_size=2**40),
        "most units": configured("model", hidden_size=2**20),
        "streams": configured("train", batch_size=2**30),
        "steps": with_changes(good, len, step=2**200),
        "vocabulary": with_changes(good, len, vocabulary={"characters": "ab", "counts": [10**400] * 2}),
        "most vocabulary": with_changes(good, len, vocabulary={"characters": "a" * 10**6, "counts": [1] * 10**6}),
    }


MEASURE = """
import json, resource, sys
from pathlib import Path
from charrnn import api, checkpoint
from charrnn.errors import CheckpointError
api.load("good.safetensors", device="cpu").sample(length=3, seed=0)
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
said = {}
for path in sorted(Path("lies").iterdir()):
    limit = pages + 40 * path.stat().st_size + (48 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        checkpoint.load(path)
    except CheckpointError as error:
        said[path.name] = str(error)
print(json.dumps(said))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited here by Linux")
def test_a_file_costs_no_more_than_its_size_justifies(
    tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that states wrong sizes is refused in one line, with 48 MB and 40 times its own size left."""
    monkeypatch.chdir(tmp_path)
    good = checkpoint.find(theirs, "last")[0].read_bytes()
    (tmp_path / "good.safetensors").write_bytes(good)
    (tmp_path / "lies").mkdir()
    lies = liars(good)
    for name, made in lies.items():
        (tmp_path / "lies" / name).write_bytes(made)
    report = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True)
    assert report.returncode == 0, report.stderr
    said = json.loads(report.stdout)
    assert set(said) == set(lies)
    assert all("\n" not in line and "MemoryError" not in line for line in said.values())


def test_a_state_that_fits_no_stream(theirs: Path) -> None:
    """A tensor of another shape than the metadata imply is an error that names it."""
    good = checkpoint.find(theirs, "last")[0]
    good.write_bytes(
        with_changes(good.read_bytes(), lambda tensors: tensors.update({BIAS: np.zeros(2**10, np.float32)}))
    )
    with pytest.raises(CheckpointError, match=r"output\.b_y is float32\[1024\], not"):
        checkpoint.load(good)


# -- code ---


class Payload:
    """An object whose pickle runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('executed', 'w')",)


WATCH = """
import sys
from pathlib import Path
import charrnn
from charrnn.errors import CharrnnError
charrnn.load("good.safetensors", device="cpu").sample(length=3, seed=0)
BAD = ("exec", "compile", "pickle", "marshal", "os.system", "os.exec", "os.posix_spawn", "subprocess", "socket")
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(BAD) else None)
for path in sorted(Path("evil").iterdir()):
    try:
        charrnn.load(path, device="cpu").sample(length=3, seed=0)
    except CharrnnError as error:
        pass
print(sorted(set(seen)))
"""


def test_nothing_is_executed(tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a pickle, a NumPy object array or a string of code compiles, runs and opens nothing."""
    monkeypatch.chdir(tmp_path)
    good, payload = checkpoint.find(theirs, "last")[0].read_bytes(), pickle.dumps(Payload())
    (tmp_path / "good.safetensors").write_bytes(good)
    (tmp_path / "evil").mkdir()
    np.save(tmp_path / "evil" / "objects.npy", np.array([Payload()], object))
    (tmp_path / "evil" / "pickle").write_bytes(payload)
    code = "__import__('os').system('touch executed')"
    (tmp_path / "evil" / "inside").write_bytes(with_changes(good, len, corpus=code, vocabulary=code))
    (tmp_path / "evil" / "tensor").write_bytes(
        safetensors.numpy.save({code: np.frombuffer(payload, np.uint8)}, {"charrnn": code})
    )
    report = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True)
    assert report.returncode == 0, report.stderr
    assert report.stdout == "[]\n"
    assert not (tmp_path / "executed").exists()
