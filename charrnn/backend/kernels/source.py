"""Assemble the source of a kernel: macros first, then the file, with headers in place of `#include`.

CuPy caches compiled kernels by their source, so a header that changes must be part of it. CuPy also writes sources in
the locale's encoding, so they must be ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
REALS = {"float32": ("float", 4), "float64": ("double", 8)}
"""dtype -> its name in C, and its bytes."""


def source(name: str, dtype: str, definitions: Mapping[str, int | str]) -> str:
    """Return the source of a kernel file for numbers of `dtype`.

    Args:
        name: the name of a file in this package.
        dtype: float32 or float64.
        definitions: the other macros that the file needs.
    """
    real, size = REALS[dtype]
    macros = {"REAL": real, "REAL_BYTES": size, **definitions}
    return "".join(f"#define {key} {value}\n" for key, value in macros.items()) + inlined(FOLDER / name)


@cache
def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype. NumPy composes it at every call, which takes as long as a launch."""
    return str(dtype)


@cache
def has_source(name: str) -> bool:
    """Return whether this package has a file `name`."""
    return (FOLDER / name).is_file()


def inlined(path: Path) -> str:
    """Return the text of a file with each `#include "file"` replaced by that file."""
    code = path.read_text(encoding="utf-8")
    return re.sub(r'#include "(.*)"\n', lambda match: inlined(path.parent / match[1]), code)
