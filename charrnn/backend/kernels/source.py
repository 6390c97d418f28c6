"""The text of a kernel, complete: headers in place of their `#include`, sizes as definitions before it.

CuPy keeps compiled kernels by the text it was given, so a header that changes must be part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
REALS = {"float32": ("float", 4), "float64": ("double", 8)}
"""Of each dtype the name in C and the bytes."""


def source(name: str, dtype: str, definitions: Mapping[str, int | str]) -> str:
    """The file `name` for numbers of `dtype`.

    Args:
        name: of a file in this package.
        dtype: float32 or float64.
        definitions: the other macros that the file wants.
    """
    real, size = REALS[dtype]
    macros = {"REAL": real, "REAL_BYTES": size, **definitions}
    return "".join(f"#define {key} {value}\n" for key, value in macros.items()) + inlined(FOLDER / name)


def has_source(name: str) -> bool:
    """Whether there is a file `name`."""
    return (FOLDER / name).is_file()


def inlined(path: Path) -> str:
    """The text of a file, with each `#include "file"` replaced by that file."""
    code = path.read_text(encoding="utf-8")
    return re.sub(r'#include "(.*)"\n', lambda found: inlined(path.parent / found[1]), code)
