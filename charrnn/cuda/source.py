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


def source(name: str, dtype: str, definitions: Mapping[str, int], *, folders: tuple[Path, ...] = (FOLDER,)) -> str:
    """The file `name` for numbers of `dtype`.

    Args:
        name: of a file in `folders`.
        dtype: float32 or float64.
        definitions: the other macros that the file wants.
        folders: where files are looked for, in order; that is how tests put a CPU's platform in the place of a GPU's.
    """
    real, size = REALS[dtype]
    macros = {"REAL": real, "REAL_BYTES": size, **definitions}
    return "".join(f"#define {key} {value}\n" for key, value in macros.items()) + inlined(name, folders)


def inlined(name: str, folders: tuple[Path, ...]) -> str:
    """A file of the folders, with each `#include "file"` replaced by that file."""
    path = next(folder / name for folder in folders if (folder / name).is_file())
    return re.sub(r'#include "(.*)"\n', lambda found: inlined(found[1], folders), path.read_text(encoding="utf-8"))
