"""The moment before the command line is there, and files that `tune --write` must not replace."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.commands import TINY, Call
from helpers.namespaces import fake_gpu

from charrnn.model.cells import CELLS

INTERRUPTED = """
import builtins, runpy
real = builtins.__import__
def hurried(name, *arguments, **options):
    if name == "click":
        raise KeyboardInterrupt
    return real(name, *arguments, **options)
builtins.__import__ = hurried
runpy.run_module("charrnn", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_while_the_program_is_imported() -> None:
    """It ends with the status and the one line that it has later, and no traceback."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "charrnn: interrupted\n")


def test_resuming_what_is_not_there(call: Call) -> None:
    """A name that was mistyped starts no run on the embedded corpus; with a text it is the start of one."""
    _, error = call("train", "--resume", "--out", "inptu", status=2)
    assert error == "charrnn: there is no run inptu to resume: name a text to start one there"
    assert not Path("inptu").exists()
    call("train", "t.txt", "--resume", "--out", "inptu", *TINY, "--steps=2")
    assert Path("inptu", "config.toml").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_tune_replaces_no_pipe_and_no_device(call: Call, more: tuple[str, ...]) -> None:
    """What is there and no file stays, whatever is said; it is known before anything is measured."""
    os.mkfifo("p")
    _, error = call("tune", "t.txt", *TINY, "--seconds=1", "--write=p", *more, status=2)
    assert error == "charrnn: cannot write p: it is not a file; name another --write"
    assert stat.S_ISFIFO(Path("p").stat().st_mode)


def test_a_cell_without_a_kernel_keeps_its_loop() -> None:
    """A cell that somebody adds computes on a GPU before it has a kernel."""
    mine = ModuleType("mine")
    vars(mine).update(vars(CELLS["rnn"]), NAME="mine")
    backend = fake_gpu()
    assert backend.recurrence(mine) is mine
    assert backend.describe_recurrence(mine, 4, 8, "float32") == "one operation after another: this cell has no kernel"
    assert backend.recurrence(CELLS["rnn"]) is not CELLS["rnn"]
