"""`benchmarks/learning.py` as a command."""

from __future__ import annotations

import learning
import pytest


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the program with these arguments and return its exit status."""
    monkeypatch.setattr("sys.argv", ["learning.py", *words])
    return learning.main()
