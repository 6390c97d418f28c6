"""Baselines counted by a process of its own while this one goes on with something else.

A fresh interpreter, because the loop forks helpers and may not have a thread beside it. It takes only the time that
others leave. The text goes to it through a file without a name, its answer comes back through a pipe: whatever becomes
of either process, nothing is left. If this one is killed the other counts to its end, a few seconds, and has nobody
to tell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from charrnn.evaluation import store
from charrnn.evaluation.baselines import Baselines, Split

NICE = 10
"""How much lower than this process's its priority is."""


class Counting:
    """The baselines of a split: kept from before, or counted beside. A context manager, which ends the process.

    Whatever fails, there are no baselines; it is never an error.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self.process: subprocess.Popen[bytes] | None = None
        self.failed = False

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def kept(self) -> Baselines | None:
        """The baselines, if they are known without counting."""
        return store.get(self.split)

    def start(self) -> None:
        """Begin to count, if that has not been tried yet. Takes some milliseconds."""
        if self.process is not None or self.failed:
            return
        try:
            with tempfile.TemporaryFile(buffering=0) as stream:
                for part in (self.split.counted, self.split.predicted):
                    np.save(stream, part.ids)
                    np.save(stream, part.starts)
                stream.seek(0)
                self.process = subprocess.Popen(
                    [sys.executable or "", "-P", "-m", "charrnn.evaluation", str(self.split.V)],
                    stdin=stream,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    # It finds what this process found, and nothing else: not whatever lies in the current directory.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
                    creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),  # Windows
                )
            if hasattr(os, "setpriority"):
                lower = os.getpriority(os.PRIO_PROCESS, 0) + NICE
                os.setpriority(os.PRIO_PROCESS, self.process.pid, lower)
        except (OSError, ValueError):
            self.failed = self.process is None

    def result(self, patience: float = 0.0) -> Baselines | None:
        """The baselines, if they are counted; waits for them up to `patience` seconds. Keeps them for the next run."""
        if self.process is None or self.failed:
            return None
        try:
            status = self.process.wait(patience) if patience else self.process.poll()
        except subprocess.TimeoutExpired:
            return None
        if status is None:
            return None
        assert self.process.stdout is not None
        try:
            baselines = Baselines.of(self.split, json.loads(self.process.stdout.read()))
        except (OSError, ValueError):
            self.failed = True
            return None
        store.put(self.split, baselines)
        return baselines
