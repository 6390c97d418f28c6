"""CUDA kernels on the CPU: their sources compiled by g++ with `cuda/platform.cuh`, and launched on NumPy arrays.

`RawModule` has the part of CuPy's interface that the package uses, so the code that launches kernels is tested, too.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from charrnn.backend.kernels.source import FOLDER, inlined

HERE = Path(__file__).parent / "cuda"
FLAGS = ("-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-Wall", "-Werror", "-Wno-unknown-pragmas")
compiler = shutil.which("g++") if sys.platform == "linux" else None  # elsewhere it may be another compiler


def on_cpu(code: str) -> str:
    """Return a kernel's source with the CPU's platform instead of the GPU's, and a launcher for each kernel."""
    gpu_platform, cpu_platform = inlined(FOLDER / "platform.cuh"), inlined(HERE / "platform.cuh")
    assert code.count(gpu_platform) == 1
    kernels = re.findall(r"KERNEL void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(", code)
    return code.replace(gpu_platform, cpu_platform) + "".join(f"LAUNCHER({name})\n" for name in dict.fromkeys(kernels))


@cache
def library(code: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the shared library of a kernel's source; it is cached in a file named by its text and flags."""
    assert compiler
    name = hashlib.sha256(repr((code, flags)).encode()).hexdigest()[:20]
    path = Path(tempfile.gettempdir()) / f"charrnn-kernels-{name}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            text, result = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
            text.write_text(on_cpu(code), encoding="utf-8")
            subprocess.run([compiler, *FLAGS, *flags, "-o", str(result), str(text)], check=True)
            shutil.move(result, path)
    return ctypes.CDLL(str(path))


class Function:
    """A kernel with the interface of CuPy's RawKernel."""

    def __init__(self, function: Any) -> None:
        self.function, self.kernel = function, SimpleNamespace(ptr=0)
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: tuple[int], block: tuple[int], args: Iterable[Any], *, shared_mem: int = 0) -> None:
        """Launch the kernel: arrays are passed by address, NumPy scalars by value."""
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        values = [pointer(a) if isinstance(a, np.ndarray) else a for a in args]
        assert all(isinstance(value, np.generic) for value in values)
        addresses = (ctypes.c_void_p * len(values))()
        cells = [np.array(value) for value in values]
        for i, cell in enumerate(cells):
            addresses[i] = cell.ctypes.data
        self.function(grid[0], block[0], shared_mem, addresses)


def pointer(array: np.ndarray) -> np.uint64:
    """Return the address of an array, which must be contiguous because kernels ignore strides."""
    assert array.flags.c_contiguous
    return np.uint64(array.ctypes.data)


driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda *_: 1)
"""One block of each kernel fits on a multiprocessor."""


class RawModule:
    """The kernels of one source with the interface of CuPy's RawModule. `flags` are for the CPU's compiler."""

    def __init__(self, *, code: str, flags: tuple[str, ...] = (), **options: object) -> None:
        assert set(options) <= {"options", "enable_cooperative_groups"}
        self.library = library(code, flags)

    def get_function(self, name: str) -> Function:
        """Return a kernel by name."""
        return Function(getattr(self.library, f"launch_{name}"))
