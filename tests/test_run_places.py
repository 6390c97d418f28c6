"""Which directory a training takes: whose it is, who is in it, and what must not be in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_concurrency import LOCKS, killed, until
from test_kill import started, words

from charrnn.errors import CheckpointError
from charrnn.training import Request, lock, prepare


@LOCKS
def test_the_same_command_again_is_told_who_trains(place: Path) -> None:
    """Without --resume too the second is told the first by its number, not that the run exists; from .pid on."""
    command = [*words(train_steps=10**6, log_every=1), "--out", "r"]
    with killed(started(*command)) as first:
        until(first, "loss")
        with started(*command) as second:
            said = second.communicate()[0]
    assert said == f"charrnn: process {first.pid} is training into r: wait for it, or name another --out\n"
    (place / "new").mkdir()
    held = lock.Lock(place / "new")
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(CheckpointError, match=f"^process {os.getpid()} is training into new"):
            prepare(Request(files=("no such text",), out=Path("new"), **how))
    held.close()
