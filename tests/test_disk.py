"""A disk that is full, gone or damaged: one clear line, the last good checkpoint kept and named, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from breaking import touching
from test_kill import contents, words
from test_training import TINY, run

from charrnn import checkpoint, cli
from charrnn.checkpoint.file import FORMAT, content
from charrnn.errors import CheckpointError
from charrnn.training import Request, prepare

FEW = {"train": {"steps": 6, "shards": 1}, "log": {"every": 1, "eval_every": 3, "sample_every": 2, "keep": 2}}
OFTEN = {"log": {"checkpoint_every": 2, "keep_samples": 2}}


def full_from(moment: int, names: tuple[str, ...] = ("write", "fsync", "replace", "mkdir")) -> Callable[[str], None]:
    """A disk on which from one moment on there is room for nothing; files can still be removed."""
    passed = count()

    def at(name: str) -> None:
        if name in names and next(passed) >= moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return at


def test_full_at_every_moment(tmp_path: Path, corpus: Path) -> None:
    """Wherever the disk fills up, one line says up to where the run is safe; with room again it ends as ever."""
    run(tmp_path / "whole", corpus, FEW, OFTEN)
    whole, safe = contents(tmp_path / "whole"), set()
    for moment in count():
        out = tmp_path / str(moment)
        try:
            with touching(full_from(moment)):
                run(out, corpus, FEW, OFTEN)
            break
        except CheckpointError as error:
            line = str(error)
        assert "No space left on device" in line
        assert "\n" not in line
        saved = checkpoint.last(out)
        safe.add(line.partition("; ")[2])
        assert saved is None or f"saved up to step {saved[1].meta.step}: mend this and go on with --resume" in line
        assert not list(out.rglob(".*"))
        run(out, corpus, FEW, OFTEN, resume=True)
        assert contents(out) == whole, moment
    assert moment > 60
    assert len(safe) == 7  # at the start, before the first checkpoint, and after those of steps 0, 2, 3 (a best), 4, 6


SCRIPT = """
set -e
mount -t tmpfs -o size=$1 none disk
set +e
shift; python=$1; shift
"$python" -m charrnn "$@" --out disk/r >out 2>err; echo $? >status
mount -o remount,size=8m disk
"$python" -m charrnn "$@" --out disk/r --resume >out2 2>err2; echo $? >status2
cp -r disk/r r
umount disk
"""


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("unshare") is None, reason="needs a file system to fill")
@pytest.mark.parametrize("size", ["8k", "24k", "60k"])
def test_a_small_disk(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """The same on a real file system of a few pages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "t.txt").write_text(text)
    (tmp_path / "disk").mkdir()
    isolated = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*isolated, "mount", "-t", "tmpfs", "none", "disk"], capture_output=True).returncode:
        pytest.skip("this user may mount nothing")
    command = words(train_steps=12, train_shards=1, log_every=1, log_checkpoint_every=3, log_keep=9, log_sample_every=1)
    subprocess.run([*isolated, "bash", "-c", SCRIPT, "bash", size, sys.executable, *command], check=True)
    assert (tmp_path / "status").read_text() == "2\n"
    (line,) = [line for line in (tmp_path / "err").read_text().splitlines() if line.startswith("charrnn: ")]
    assert "No space left on device" in line
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert (tmp_path / "status2").read_text() == "0\n", (tmp_path / "err2").read_text()
    subprocess.run([sys.executable, "-m", "charrnn", *command, "--out", "whole"], check=True, capture_output=True)
    assert contents(tmp_path / "r") == contents(tmp_path / "whole")


def test_a_directory_that_vanishes(tmp_path: Path, corpus: Path) -> None:
    """A run whose directory is removed, or whose checkpoints are, ends with one line."""
    for gone, said in (("a", "was moved, removed or replaced"), ("b/checkpoints", "No such file or directory")):
        events = prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / gone[0])).events()
        next(events)
        shutil.rmtree(tmp_path / gone)
        with pytest.raises(CheckpointError, match=rf"^[^\n]*{said}[^\n]*$"):
            list(events)


# -- a checkpoint that is damaged ---


def values_of(good: bytes) -> dict[str, Any]:
    """The metadata of a checkpoint file."""
    size = int.from_bytes(good[:8], "little")
    return json.loads(json.loads(good[8 : 8 + size])["__metadata__"]["charrnn"])


def rebuilt(good: bytes, change: Callable[[dict[str, np.ndarray]], object], **meta: Any) -> bytes:
    """A checkpoint file with other tensors and metadata, and the right digest of them."""
    tensors = safetensors.numpy.load(good)
    change(tensors)
    values = values_of(good) | {"content": content(tensors)} | meta
    return safetensors.numpy.save(tensors, {"charrnn": json.dumps(values)})


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    """A file of which one tensor is another."""
    return lambda good: rebuilt(good, lambda tensors: tensors.update({name: np.array(change(tensors[name]))}))


def header(good: bytes) -> int:
    """The byte behind the header."""
    return 8 + int.from_bytes(good[:8], "little")


def flipped(good: bytes, place: int) -> bytes:
    """A file of which one byte is another."""
    return good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]


BIAS = "parameters/output.b_y"
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
    "flipped in the header": lambda good: flipped(good, header(good) // 2),
    "flipped in the first tensor": lambda good: flipped(good, header(good)),
    "flipped in the last tensor": lambda good: flipped(good, len(good) - 1),
    "a header of absurd size": lambda good: (2**62).to_bytes(8, "little") + good[8:],
    "zeros": lambda good: bytes(len(good)),
    "another type": changed(BIAS, lambda tensor: tensor.astype(np.float64)),
    "another shape": changed(BIAS, lambda tensor: tensor[:-1]),
    "a parameter that is NaN": changed(BIAS, lambda tensor: tensor * np.float32("nan")),
    "a memory that is infinite": changed("optimizer/memory/output.b_y", lambda tensor: tensor + np.float32("inf")),
    "a state that is NaN": changed("state/hidden", lambda tensor: tensor * np.float32("nan")),
    "a tensor too few": lambda good: rebuilt(good, lambda tensors: tensors.pop(BIAS)),
    "a tensor too many": lambda good: rebuilt(good, lambda tensors: tensors.update(more=np.zeros(2, np.float32))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_gives_way(tmp_path: Path, corpus: Path, damage: Callable[[bytes], bytes]) -> None:
    """The one before is used, and a line says so; the run ends in the same bytes; the damaged file is kept aside."""
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
    aside = {name: held for name, held in contents(out).items() if not name.endswith(".damaged")}
    assert aside == whole
    assert newest.with_name(newest.name + ".damaged").is_file()


def later(path: Path) -> None:
    """Make the checkpoint at `path` one of a later version."""
    path.write_bytes(rebuilt(path.read_bytes(), len, format=FORMAT + 1))


@pytest.mark.parametrize(("spoil", "words"), [(later, "update charrnn"), (None, "cannot read")])
def test_what_is_not_damaged_is_not_trained_anew(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None] | None, words: str
) -> None:
    """A checkpoint of a later version, or one that a disk does not give, is passed over by readers, not by --resume."""
    out = tmp_path / "r"
    run(out, corpus, FEW, OFTEN)
    newest = checkpoint.path_of(out, 6)
    if spoil is not None:
        spoil(newest)
    else:
        right = safetensors.safe_open

        def failing(path: Path, **options: str) -> object:
            if path == newest:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return right(path, **options)

        monkeypatch.setattr(safetensors, "safe_open", failing)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert words in checkpoint.find(out, "last")[2][0]
    with pytest.raises(CheckpointError, match=rf"{words}.*move this one away"):
        run(out, corpus, FEW, OFTEN, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_system_that_syncs_no_directory(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some say so when asked; a run does what can be done there."""
    right = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        right(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run(tmp_path / "r", corpus, FEW, OFTEN)[-1].reason == "steps"


def test_nothing_good_is_left(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no checkpoint can be read, the newest one's damage is the error, and nothing is written."""
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
