"""Run a program on a fake GPU: `python benchmarks/standin.py [--free BYTES] PROGRAM.py|MODULE ARGUMENTS`.

The kernels run on the CPU, thread by thread. So the results can be checked, but not the speed of a GPU.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"


def main() -> None:
    """Run the program with its arguments."""
    sys.path[:0] = [str(TESTS.parent), str(TESTS)]
    from helpers import cupy_cards, fake_cupy

    del sys.argv[0]
    if sys.argv[0] == "--free":
        card = cupy_cards.with_free_memory(int(sys.argv[1]))
        del sys.argv[:2]
    else:
        card = fake_cupy.installed()
    with card, cupy_cards.readable_values():
        if sys.argv[0].endswith(".py"):
            sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
