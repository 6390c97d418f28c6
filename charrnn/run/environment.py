"""`environment.json` in a run directory: what computed the run, for a user who compares two runs or repeats one.

It describes the last process that trained in the directory, and is no part of the run's state: a file that is missing,
damaged, or cannot be written changes nothing.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import files
from charrnn.backend import Backend, blas, cores
from charrnn.run_files import ENVIRONMENT

MAX_BYTES = 1 << 20
"""Bytes of the file that are read."""
Environment = dict[str, Any]


def describe(backend: Backend, step: int) -> Environment:
    """Return the versions, the machine, the device, and the step at which this process begins."""
    return {
        "step": step,
        "charrnn": sys.modules["charrnn"].__version__,  # to import it here would import all of it
        "commit": commit(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        **backend.facts(),
    }


@cache
def commit() -> str | None:
    """Return the commit of charrnn, with `-dirty` if files differ from it; None outside of a git checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=10, env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
        )
        return ended.stdout.strip() or None
    return None


def processor() -> str:
    """Return the name of the processor, as far as the system knows it."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(run: Path, environment: Environment) -> None:
    """Write the file, if the disk allows it."""
    with suppress(OSError):
        files.write_atomically(run / ENVIRONMENT, json.dumps(environment, indent=2).encode() + b"\n")


def read(run: Path) -> Environment:
    """Return what `write` wrote; nothing if there is no file, or a damaged one."""
    path = run / ENVIRONMENT
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and not files.is_outside(path, run):
            with path.open("rb") as stream:
                values = json.loads(stream.read(MAX_BYTES))
            return values if isinstance(values, dict) else {}
    return {}


def changed_kernels(before: Environment, now: Environment) -> tuple[str, ...]:
    """Return a line for the user if a run that continues on a GPU uses other kernels than until now."""
    until_now, from_now = used_kernels(before), used_kernels(now)
    if until_now is None or from_now is None or until_now == from_now:
        return ()
    return (
        f"kernels: the run used {listed(until_now)} until now and uses {listed(from_now)} from here: "
        "the results differ by rounding",
    )


def used_kernels(environment: Environment) -> list[str] | None:
    """Return the names of the kernels that a process used; None on a CPU."""
    kernels = environment.get("kernels")
    return sorted(name for name, use in kernels.items() if use == "used") if isinstance(kernels, dict) else None


def listed(names: list[str]) -> str:
    """Return names as words."""
    return ", ".join(names) or "none"
