"""The meeting of blocks under ThreadSanitizer: in order as it is, and a race as soon as it orders nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cuda_cpu
import pytest

HERE = Path(__file__).parent
SANITIZER = ("-fsanitize=thread", "-g")


def library() -> Path | None:
    """The sanitizer's run-time library, which must be loaded before everything else."""
    if cuda_cpu.compiler is None:
        return None
    found = subprocess.run([cuda_cpu.compiler, "-print-file-name=libtsan.so"], capture_output=True, text=True)
    return path if (path := Path(found.stdout.strip())).is_file() else None


PROGRAM = """
from functools import partial
import cuda_cpu, test_kernels
test_kernels.CUPY.RawModule = partial(cuda_cpu.RawModule, flags={flags})
for number in {layouts}:
    test_kernels.test_the_kernels_are_the_loops("{cell}", *test_kernels.SMALL[number], "float32", 1e-5, True)
print("agreed")
"""


def run(cell: str, layouts: tuple[int, ...], *flags: str) -> subprocess.CompletedProcess[str]:
    """The kernels of a cell in a process of their own that the sanitizer watches."""
    preload = library()
    if preload is None:
        pytest.skip("there is no g++ with ThreadSanitizer")
    said = {"LD_PRELOAD": str(preload), "TSAN_OPTIONS": "exitcode=66", "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | said | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    program = PROGRAM.format(flags=(*SANITIZER, *flags), cell=cell, layouts=layouts)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_no_two_threads_meet_unordered(cell: str) -> None:
    """Weights on chip and from memory, several tiles of streams: not one race, and the right numbers."""
    ended = run(cell, (2, 4))
    assert "ThreadSanitizer" not in ended.stderr, ended.stderr[:3000]
    assert (ended.returncode, ended.stdout) == (0, "agreed\n"), ended.stderr[-3000:]


def test_a_meeting_that_orders_nothing_is_a_race() -> None:
    """The same kernels with a relaxed counter are found out."""
    ended = run("lstm", (2,), "-DWEAK")
    assert ended.returncode == 66, ended.stderr[-3000:]
    assert "data race" in ended.stderr
