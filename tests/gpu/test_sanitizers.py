"""Kernels under two sanitizers: threads and blocks that meet, and memory that is not theirs.

ThreadSanitizer finds them in order as they are, and a race as soon as nothing is. AddressSanitizer knows where arrays
and a block's shared memory end, as NumPy and the launcher took them from the heap.
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
    """The sanitizer's run-time library, which must be loaded before everything else."""
    if cuda_cpu.compiler is None:
        return None
    command = [cuda_cpu.compiler, f"-print-file-name={LIBRARIES[sanitizer]}"]
    found = subprocess.run(command, capture_output=True, text=True)
    return path if (path := Path(found.stdout.strip())).is_file() else None


RECURRENCE = """
from functools import partial
import test_kernels
from helpers import cuda_cpu
test_kernels.CUPY.RawModule = partial(cuda_cpu.RawModule, flags={flags})
for number in {layouts}:
    test_kernels.test_the_kernels_are_the_loops("{cell}", *test_kernels.SMALL[number], "float32", 1e-5, True)
print("agreed")
"""
CHOICE = """
from functools import partial
import test_choices
from helpers import fake_cupy
fake_cupy.RawModule = partial(fake_cupy.RawModule, flags={flags})
said = test_choices.Settings(temperature=1, top_k=20, top_p=0.7)
test_choices.test_usual_logits_give_the_same_ids(test_choices.fake_gpu(), 65, "float32", said)
print("agreed")
"""


def run(sanitizer: str, program: str, *flags: str, **values: object) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, its kernels compiled with `flags` and watched by the sanitizer."""
    preload = library(sanitizer)
    if preload is None:
        pytest.skip(f"there is no g++ with the {sanitizer} sanitizer")
    said = {"LD_PRELOAD": str(preload), "OPENBLAS_NUM_THREADS": "1", "PYTHONMALLOC": "malloc"}
    environment = os.environ | OPTIONS | said | {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS))}
    compiled = (f"-fsanitize={sanitizer}", "-g", *flags)
    command = [sys.executable, "-c", program.format(flags=compiled, **values)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def agreed(ended: subprocess.CompletedProcess[str]) -> bool:
    """Nothing found, and the right numbers; else it says what happened."""
    assert "Sanitizer" not in ended.stderr, ended.stderr[:3000]
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout == "agreed\n"


def test_no_two_threads_meet_unordered(cell: str) -> None:
    """Weights on chip and from memory, several tiles of streams."""
    assert agreed(run("thread", RECURRENCE, cell=cell, layouts=(2, 4)))


def test_threads_choose_in_order() -> None:
    """Both cuts and the search, with logits and uniforms that take all of it."""
    assert agreed(run("thread", CHOICE))


def test_a_meeting_that_orders_nothing_is_a_race() -> None:
    """The same kernels with a relaxed counter are found out: if not at first, as the sanitizer's memory is short."""
    ended = run("thread", RECURRENCE, "-DRELAXED", cell="lstm", layouts=(2, 4) * 4)
    assert ended.returncode == 66, ended.stderr[-3000:]
    assert "data race" in ended.stderr


@pytest.mark.parametrize("program", [RECURRENCE, CHOICE], ids=["recurrence", "choice"])
def test_nothing_is_read_or_written_beyond_its_end(program: str, cell: str) -> None:
    """Sizes that are no multiple of a block's, in the arrays and in shared memory."""
    if program == CHOICE and cell != "rnn":
        pytest.skip("a choice knows no cell")
    assert agreed(run("address", program, cell=cell, layouts=(0, 2, 3)))
