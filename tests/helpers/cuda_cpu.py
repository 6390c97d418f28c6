"""Run CUDA kernels on the CPU: g++ compiles their sources with `cuda/platform.cuh`; they run on NumPy arrays.

`RawModule` has the part of CuPy's interface that the package uses, so the code that launches is tested with them.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
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
compiler = shutil.which("g++")


def on_cpu(code: str) -> str:
    """Return the complete source of kernels for the CPU's platform, with a launcher for each kernel."""
    platform, here = inlined(FOLDER / "platform.cuh"), inlined(HERE / "platform.cuh")
    assert code.count(platform) == 1
    kernels = re.findall(r"KERNEL void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(", code)
    return code.replace(platform, here) + "".join(f"LAUNCHER({name})\n" for name in dict.fromkeys(kernels))


@cache
def library(code: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compile a source unless its library is in the temporary directory, and return the library."""
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
    """A kernel as CuPy's RawKernel."""

    def __init__(self, function: Any) -> None:
        self.function, self.kernel = function, SimpleNamespace(ptr=0)
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: tuple[int], block: tuple[int], args: Iterable[Any], *, shared_mem: int = 0) -> None:
        """Launch it. Arrays are passed by address, NumPy scalars by value."""
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        values = [pointer(a) if isinstance(a, np.ndarray) else a for a in args]
        assert all(isinstance(value, np.generic) for value in values)
        addresses = (ctypes.c_void_p * len(values))()
        cells = [np.array(value) for value in values]
        for i, cell in enumerate(cells):
            addresses[i] = cell.ctypes.data
        self.function(grid[0], block[0], shared_mem, addresses)


def pointer(array: np.ndarray) -> np.uint64:
    """Return the address of an array, which must be contiguous: kernels know no strides."""
    assert array.flags.c_contiguous
    return np.uint64(array.ctypes.data)


driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda *_: 1)
"""One block of each kernel fits on a multiprocessor."""


class RawModule:
    """Kernels of one source as CuPy's RawModule. `flags` are for the compiler of the CPU."""

    def __init__(self, *, code: str, flags: tuple[str, ...] = (), **options: object) -> None:
        assert set(options) <= {"options", "enable_cooperative_groups"}
        self.library = library(code, flags)

    def get_function(self, name: str) -> Function:
        """Return a kernel by its name."""
        return Function(getattr(self.library, f"launch_{name}"))
