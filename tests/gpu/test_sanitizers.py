"""Kernels on the CPU under two sanitizers: one for data races, one for accesses outside of arrays.

ThreadSanitizer accepts the kernels, and reports a race if the barrier between blocks orders no memory. AddressSanitizer
knows the ends of arrays and of a block's shared memory, because NumPy and the launcher allocate them on the heap.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import cuda_cpu

TESTS = Path(__file__).parent.parent
FOLDERS = (TESTS, Path(__file__).parent, TESTS.parent, TESTS.parent / "benchmarks")
LIBRARIES = {"thread": "libtsan.so", "address": "libasan.so"}
pytestmark = pytest.mark.slow

OPTIONS = {"TSAN_OPTIONS": "exitcode=66", "ASAN_OPTIONS": "detect_leaks=0:exitcode=66"}


def library(sanitizer: str) -> Path | None:
    """Return the sanitizer's run-time library, which must be loaded before any other."""
    if cuda_cpu.compiler is None:
        return None
    command = [cuda_cpu.compiler, f"-print-file-name={LIBRARIES[sanitizer]}"]
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    return path if (path := Path(printed.strip())).is_file() else None


RECURRENCE = """
from functools import partial
import test_kernels
from helpers import cuda_cpu
test_kernels.CUPY.RawModule = partial(cuda_cpu.RawModule, flags={flags})
for number in {layouts}:
    test_kernels.test_kernels_agree_with_the_loops("{cell}", *test_kernels.SMALL[number], "float32", 1e-5, True)
print("agreed")
"""


def run(sanitizer: str, program: str, *flags: str, **values: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a new process; its kernels are compiled with `flags` and checked by the sanitizer."""
    preload = library(sanitizer)
    if preload is None:
        pytest.skip(f"there is no g++ with the {sanitizer} sanitizer")
    needed = {"LD_PRELOAD": str(preload), "OPENBLAS_NUM_THREADS": "1", "PYTHONMALLOC": "malloc"}
    environment = os.environ | OPTIONS | needed | {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS))}
    compiled = (f"-fsanitize={sanitizer}", "-g", *flags)
    command = [sys.executable, "-c", program.format(flags=compiled, **values)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def agreed(ended: subprocess.CompletedProcess[str]) -> bool:
    """Return whether the results are right. Fails with the output if the sanitizer reports something."""
    assert "Sanitizer" not in ended.stderr, ended.stderr[:3000]
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout == "agreed\n"


def test_the_recurrence_has_no_race(cell: str) -> None:
    """Weights are in shared memory or in L2, and there are several tiles of streams."""
    assert agreed(run("thread", RECURRENCE, cell=cell, layouts=(2, 4)))


def test_a_relaxed_barrier_is_a_race() -> None:
    """With a relaxed counter the sanitizer reports a race. Its history is short, so it gets several launches."""
    ended = run("thread", RECURRENCE, "-DRELAXED", cell="lstm", layouts=(2, 4) * 4)
    assert ended.returncode == 66, ended.stderr[-3000:]
    assert "data race" in ended.stderr


def test_kernels_stay_inside_their_arrays(cell: str) -> None:
    """Sizes are no multiples of the block's, in global and in shared memory."""
    assert agreed(run("address", RECURRENCE, cell=cell, layouts=(0, 2, 3)))
