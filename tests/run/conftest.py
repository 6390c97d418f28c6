"""Fixtures of the tests of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import FRENCH, TRAIN, Call


@pytest.fixture
def source(call: Call, tmp_path: Path) -> Path:
    """Return a directory with the run `old` on t.txt, and the texts old.txt (known characters only) and new.txt."""
    (tmp_path / "old.txt").write_text("he sells bells\n" * 30)
    (tmp_path / "new.txt").write_text(FRENCH)
    call(*TRAIN, "--steps=40", "--out=old", "--set=model.num_layers=2", "--set=model.cell=gru")
    return tmp_path
