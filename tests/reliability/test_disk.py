"""A disk that is full or gone is an error of one line, which names the last good checkpoint; nothing saved is lost."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from helpers.disk_faults import on_disk_access
from helpers.processes import words
from helpers.runs import FEW, OFTEN, TINY, contents, run

from charrnn import checkpoint
from charrnn.errors import CheckpointError
from charrnn.run.request import Request
from charrnn.run.session import prepare


def full_from(moment: int, names: tuple[str, ...] = ("write", "fsync", "replace", "mkdir")) -> Callable[[str], None]:
    """Return a function for `on_disk_access` that makes the disk full from a moment on; files can still be removed."""
    passed = count()

    def at(name: str) -> None:
        if name in names and next(passed) >= moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return at


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow, id="every"), pytest.param(9, id="sample")])
def test_full_at_every_moment(tmp_path: Path, corpus: Path, stride: int) -> None:
    """Wherever the disk becomes full, one line says which step is saved; with room again, the run ends as usual."""
    run(tmp_path / "whole", corpus, FEW, OFTEN)
    whole, lines = contents(tmp_path / "whole"), set()
    for moment in count(0, stride):
        out = tmp_path / str(moment)
        try:
            with on_disk_access(full_from(moment)):
                run(out, corpus, FEW, OFTEN)
            break
        except CheckpointError as error:
            line = str(error)
        assert "No space left on device" in line
        assert "\n" not in line
        saved = checkpoint.last(out)
        lines.add(line.partition("; ")[2])
        assert saved is None or f"saved up to step {saved[1].meta.step}: fix this and continue with --resume" in line
        assert not list(out.rglob(".*"))
        run(out, corpus, FEW, OFTEN, resume=True)
        assert contents(out) == whole, moment
    assert moment > 60
    # At the start, before the first checkpoint, and after the checkpoints of steps 0, 2, 3 (a best one), 4 and 6.
    assert len(lines) == 7 if stride == 1 else len(lines) >= 4


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
@pytest.mark.parametrize("size", ["24k", *(pytest.param(size, marks=pytest.mark.slow) for size in ("8k", "60k"))])
def test_a_small_disk(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """The same on a real file system of some kilobytes."""
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
    """A run ends with one line if its directory or its checkpoints are removed."""
    for gone, said in (("a", "was moved, removed or replaced"), ("b/checkpoints", "No such file or directory")):
        events = prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / gone[0])).events()
        next(events)
        shutil.rmtree(tmp_path / gone)
        with pytest.raises(CheckpointError, match=rf"^[^\n]*{said}[^\n]*$"):
            list(events)


def test_a_file_system_that_syncs_no_directory(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run works on a file system that refuses to sync a directory."""
    right = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        right(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run(tmp_path / "r", corpus, FEW, OFTEN)[-1].reason == "steps"
