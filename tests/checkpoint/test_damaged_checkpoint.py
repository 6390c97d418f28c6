"""A run with a damaged, unknown or unreadable newest checkpoint: the last good one is used, and no file is lost."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
from helpers.crafted_checkpoints import BIAS, with_changes, with_flipped_byte
from helpers.runs import FEW, OFTEN, contents, run

from charrnn import checkpoint, cli
from charrnn.checkpoint.file import FORMAT
from charrnn.errors import CheckpointError


def with_tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    """Return a function that changes one tensor of a file."""
    return lambda good: with_changes(good, lambda tensors: tensors.update({name: np.array(change(tensors[name]))}))


def header(good: bytes) -> int:
    """Return the position of the first byte after the header."""
    return 8 + int.from_bytes(good[:8], "little")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: good[:0],
    "cut in the header's size": lambda good: good[:5],
    "cut behind the header's size": lambda good: good[:8],
    "cut in the header": lambda good: good[:100],
    "cut behind the header": lambda good: good[: header(good)],
    "cut behind the first number": lambda good: good[: header(good) + 4],
    "cut in the tensors": lambda good: good[: (header(good) + len(good)) // 2],
    "cut before the last byte": lambda good: good[:-1],
    "a byte too long": lambda good: good + b"\0",
    "flipped in the header": lambda good: with_flipped_byte(good, good.index(BIAS.encode())),
    "flipped in the first tensor": lambda good: with_flipped_byte(good, header(good)),
    "flipped in the last tensor": lambda good: with_flipped_byte(good, len(good) - 1),
    "a header of absurd size": lambda good: (2**62).to_bytes(8, "little") + good[8:],
    "zeros": lambda good: bytes(len(good)),
    "another type": with_tensor(BIAS, lambda tensor: tensor.astype(np.float64)),
    "another shape": with_tensor(BIAS, lambda tensor: tensor[:-1]),
    "a parameter that is NaN": with_tensor(BIAS, lambda tensor: tensor * np.float32("nan")),
    "a sum of squares that is infinite": with_tensor(
        "optimizer/square_sum/output.b_y", lambda tensor: tensor + np.float32("inf")
    ),
    "a state that is NaN": with_tensor("state/hidden", lambda tensor: tensor * np.float32("nan")),
    "a tensor too few": lambda good: with_changes(good, lambda tensors: tensors.pop(BIAS)),
    "a tensor too many": lambda good: with_changes(good, lambda tensors: tensors.update(more=np.zeros(2, np.float32))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, corpus: Path, damage: Callable[[bytes], bytes]) -> None:
    """The checkpoint before it is used, with a notice; the resumed run ends in the same bytes and keeps the file."""
    out = tmp_path / "r"
    run(out, corpus, FEW, OFTEN)
    whole, newest = contents(out), checkpoint.path_of(out, 6)
    newest.write_bytes(damage(newest.read_bytes()))
    path, _, (notice,) = checkpoint.find(out, "last")
    assert path == checkpoint.path_of(out, 4)
    assert str(newest) in notice
    assert "using an earlier checkpoint" in notice
    assert "\n" not in notice
    run(out, corpus, FEW, OFTEN, resume=True)
    resumed = {name: content for name, content in contents(out).items() if not name.endswith(".damaged")}
    assert resumed == whole
    assert newest.with_name(newest.name + ".damaged").is_file()


def of_later_version(path: Path) -> None:
    """Change the format of the checkpoint at `path` to a later one."""
    path.write_bytes(with_changes(path.read_bytes(), len, format=FORMAT + 1))


def of_later_version_with_another_digest(path: Path) -> None:
    """Change the format of the checkpoint at `path` to a later one, which computes its digest in another way."""
    path.write_bytes(with_changes(path.read_bytes(), len, format=FORMAT + 1, content="0" * 64))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_later_version, "update charrnn"),
        (of_later_version_with_another_digest, "update charrnn"),
        (None, "cannot read"),
    ],
)
def test_resume_refuses_a_checkpoint_that_is_not_damaged(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None] | None, words: str
) -> None:
    """Readers pass over a checkpoint of a later version, or one that the disk does not return; --resume refuses it."""
    out = tmp_path / "r"
    run(out, corpus, FEW, OFTEN)
    newest = checkpoint.path_of(out, 6)
    if change is not None:
        change(newest)
    else:
        original = safetensors.safe_open

        def failing(path: Path, **options: str) -> object:
            if path == newest:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(path, **options)

        monkeypatch.setattr(safetensors, "safe_open", failing)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert words in checkpoint.find(out, "last")[2][0]
    with pytest.raises(CheckpointError, match=rf"{words}.*move this one away"):
        run(out, corpus, FEW, OFTEN, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_no_checkpoint_can_be_read(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no checkpoint can be read, the error names the damage of the newest one, and no file changes."""
    out = tmp_path / "r"
    run(out, corpus, FEW, OFTEN)
    for step in checkpoint.steps(out):
        checkpoint.path_of(out, step).write_bytes(b"torn")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in (["train", "--resume", "--out"], ["sample"], ["eval"]):
        monkeypatch.setattr(sys, "argv", ["charrnn", *command, str(out)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "step-00000006" in line
        assert "no other can be read either" in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
