"""Threads and blocks that meet, under ThreadSanitizer: in order as they are, and a race as soon as nothing is."""

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


RECURRENCE = """
from functools import partial
import cuda_cpu, test_kernels
test_kernels.CUPY.RawModule = partial(cuda_cpu.RawModule, flags={flags})
for number in {layouts}:
    test_kernels.test_the_kernels_are_the_loops("{cell}", *test_kernels.SMALL[number], "float32", 1e-5, True)
print("agreed")
"""
CHOICE = """
from functools import partial
import cupy_double, test_choices
cupy_double.RawModule = partial(cupy_double.RawModule, flags={flags})
said = test_choices.Settings(temperature=1, top_k=20, top_p=0.7)
test_choices.test_usual_logits_give_the_same_ids(test_choices.double(), 65, "float32", said)
print("agreed")
"""


def run(program: str, *flags: str, **values: object) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, its kernels compiled with `flags` and watched by the sanitizer."""
    preload = library()
    if preload is None:
        pytest.skip("there is no g++ with ThreadSanitizer")
    said = {"LD_PRELOAD": str(preload), "TSAN_OPTIONS": "exitcode=66", "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | said | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    command = [sys.executable, "-c", program.format(flags=(*SANITIZER, *flags), **values)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def agreed(ended: subprocess.CompletedProcess[str]) -> bool:
    """Not one race, and the right numbers; else it says what happened."""
    assert "ThreadSanitizer" not in ended.stderr, ended.stderr[:3000]
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout == "agreed\n"


def test_no_two_threads_meet_unordered(cell: str) -> None:
    """Weights on chip and from memory, several tiles of streams."""
    assert agreed(run(RECURRENCE, cell=cell, layouts=(2, 4)))


def test_threads_choose_in_order() -> None:
    """Both cuts and the search, with logits and uniforms that take all of it."""
    assert agreed(run(CHOICE))


def test_a_meeting_that_orders_nothing_is_a_race() -> None:
    """The same kernels with a relaxed counter are found out."""
    ended = run(RECURRENCE, "-DWEAK", cell="lstm", layouts=(2,))
    assert ended.returncode == 66, ended.stderr[-3000:]
    assert "data race" in ended.stderr
