"""Ctrl-C during the imports of the program; files that `tune --write` must not replace."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import TINY, Call

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


def test_ctrl_c_during_imports() -> None:
    """The program ends with the status and the line of any other Ctrl-C, without a traceback."""
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "charrnn: interrupted\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_tune_replaces_no_pipe_and_no_device(call: Call, more: tuple[str, ...]) -> None:
    """Something that is no file stays, with --overwrite too; the error comes before anything is measured."""
    os.mkfifo("p")
    _, error = call("tune", "t.txt", *TINY, "--seconds=1", "--write=p", *more, status=2)
    assert error == "charrnn: cannot write p: it is not a regular file; choose another name"
    assert stat.S_ISFIFO(Path("p").stat().st_mode)
