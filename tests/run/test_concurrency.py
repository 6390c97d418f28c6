"""One process trains into a run, any number of processes read it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.processes import POSIX, finished, killed, started, until, words
from helpers.runs import TINY, run, tree

from charrnn import api, checkpoint
from charrnn.checkpoint import directory
from charrnn.errors import CheckpointError
from charrnn.run import lock
from charrnn.run.lock import Lock
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.run_files import LOCK, OWNER


@POSIX
def test_the_error_names_the_process_that_trains(place: Path) -> None:
    """A second process ends before it reads the text. The lock of a killed process is free."""
    command = words(train_steps=10**6, log_every=1, log_checkpoint_every=50)
    with killed(started(*command, "--out", "r", "--threads=2")) as first:
        until(first, "loss")
        os.kill(first.pid, signal.SIGSTOP)  # so that nothing of it changes meanwhile
        before = tree(place)
        for option in ("--resume", "--overwrite"):
            with started("train", "t.txt", "--out", "r", option, "--stop-after=1") as second:
                said = second.communicate()[0]
            assert said == f"charrnn: process {first.pid} is training in r: wait for it, or name another --out\n"
            assert second.returncode == 2
        finished("sample", "r", "--length=5")
        finished("eval", "r")
        assert before == tree(place)
    finished("train", "--out", "r", "--resume", "--stop-after=1")
    assert not {LOCK, OWNER} & set(os.listdir(place / "r"))  # noqa: PTH208 (names only)


@POSIX
def test_the_owner_file_names_the_process(tmp_path: Path) -> None:
    """The error names the process, and its machine if it is another one; files that a dead process left are ignored."""
    (tmp_path / LOCK).touch()
    (tmp_path / OWNER).write_text("1 elsewhere\n")
    lock.check(tmp_path)
    held = Lock(tmp_path)
    with pytest.raises(CheckpointError, match=f"^process {os.getpid()} is training in"):
        Lock(tmp_path)
    for content, process in (
        ("77 elsewhere\n", "process 77 on elsewhere"),
        ("7\x1b[2J", "another process"),
        ("", "another process"),
        (f"5 {socket.gethostname()}", "process 5"),
    ):
        (tmp_path / OWNER).write_text(content)
        with pytest.raises(CheckpointError, match=f"^{process} is training in"):
            lock.check(tmp_path)
    (tmp_path / OWNER).unlink()
    with pytest.raises(CheckpointError, match=r"^another process is training in"):
        lock.check(tmp_path)
    held.close()
    lock.check(tmp_path)
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_lock_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A link or a directory in place of the lock file is an error of one line; the file behind the link stays."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LOCK).symlink_to("precious")
    with pytest.raises(CheckpointError, match=r"^cannot read .*\.lock: .*; remove it$"):
        lock.check(tmp_path)
    with pytest.raises(OSError, match=r"\.lock"):
        Lock(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


FORKED = """
import os, signal, sys
from pathlib import Path
from charrnn.run.lock import Lock
held = Lock(Path("."))
if os.fork() == 0:
    sys.stdin.read()  # until the test ends
    os._exit(0)
print(os.getpid(), flush=True)
sys.argv[1] == "closed" and (held.close(), print("closed", flush=True), signal.pause())
os.kill(os.getpid(), signal.SIGKILL)
"""


@POSIX
@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_forked_child_holds_no_lock(tmp_path: Path, end: str) -> None:
    """After the parent closes the lock or is killed, another process can train, though the child still lives."""
    command = [sys.executable, "-c", FORKED, end]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid}\n"
        if end == "closed":
            assert process.stdout.readline() == "closed\n"
        else:
            process.wait()
        Lock(tmp_path).close()
        process.kill()


@pytest.mark.parametrize("take", [lambda run: Lock(run).close(), lock.check])
def test_a_check_does_not_refuse_other_processes(tmp_path: Path, take: Callable[[Path], None]) -> None:
    """A process that finds the lock held for the moment of another one's check tries again."""
    (tmp_path / LOCK).touch()
    checking = lock.locked(tmp_path / LOCK, create=False)
    assert checking is not None
    pauses = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("charrnn.run.lock.time.sleep", lambda _: (pauses.append(1), checking.close()))
        take(tmp_path)
    assert pauses == [1]


@POSIX
def test_a_failed_start_releases_the_lock(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start that fails, for instance on a full disk, the same process can start the run again."""
    (tmp_path / "t.txt").write_text(text)
    with monkeypatch.context() as patched:
        patched.setattr("charrnn.run.logs.write_samples", lambda *_: os.mkdir("/dev/null/x"))  # noqa: PTH102
        with pytest.raises(CheckpointError, match="cannot write"):
            run(tmp_path / "r", tmp_path / "t.txt")
    assert run(tmp_path / "r", tmp_path / "t.txt", resume=True)[-1].reason == "steps"


@pytest.mark.parametrize("which", ["best", "last", "0"])
def test_read_while_checkpoints_come_and_go(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """If a checkpoint is pruned after it is found and before it is read, a newer one is read instead."""
    (tmp_path / "t.txt").write_text(text)
    often = {"log": {"keep": 1, "checkpoint_every": 1, "eval_every": 3}, "train": {"steps": 30}}
    options = {section: TINY.get(section, {}) | often.get(section, {}) for section in TINY}
    events = prepare(Request(files=(str(tmp_path / "t.txt"),), options=options, out=tmp_path / "r")).events()
    while next(events).at.step < 5:
        pass
    right, pruned = directory.load, []

    def load(path: Path) -> checkpoint.Checkpoint:
        if len(pruned) < 4:  # the training goes on between looking and reading
            at = next(events).at.step
            while next(events).at.step < at + 4:
                pass
            pruned.append(not path.exists())
        return right(path)

    monkeypatch.setattr(directory, "load", load)
    model = api.load(tmp_path / "r", checkpoint=which, device="cpu")
    assert len(model.sample(length=9, seed=1)) == 9
    assert any(pruned) == (which != "0")
    assert model.notices == ()


def test_readers_and_a_writer(place: Path) -> None:
    """While a process saves a checkpoint at every step, another process can load the run 200 times."""
    command = words(train_steps=10**6, log_every=50, log_eval_every=2, log_checkpoint_every=1, train_shards=1)
    with killed(started(*command, "--out", "r")) as writer:
        until(writer, "loss")
        load = "charrnn.load('r', checkpoint=['best', 'last'][n % 2], device='cpu')"
        script = f"import charrnn\nfor n in range(200): {load}"
        report = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert writer.poll() is None
    assert report.returncode == 0, report.stderr


def test_a_lock_whose_file_cannot_be_removed_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a lock in a directory that became read-only raises nothing, and another process may train there."""
    held = Lock(tmp_path)

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        held.close()
    assert held.stream.closed
    Lock(tmp_path).close()
