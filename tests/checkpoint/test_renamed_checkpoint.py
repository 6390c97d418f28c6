"""A checkpoint under the name of another step is not that step; what is set aside is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.commands import TRAIN, Call
from helpers.runs import contents

from charrnn import checkpoint
from charrnn.errors import CheckpointError


def test_a_renamed_checkpoint_is_passed_over(call: Call, tmp_path: Path) -> None:
    """A copy that claims a later step is named and kept aside, the run goes on from its newest, and ends as ever."""
    call(*TRAIN, "--out=whole", "--steps=12")
    call(*TRAIN, "--out=r", "--steps=12", "--stop-after=10")
    folder = tmp_path / "r" / "checkpoints"
    newest, renamed = checkpoint.find(Path("r"), "last")[0], folder / "step-00000900.safetensors"
    shutil.copy(folder / "step-00000005.safetensors", renamed)
    found, _, (notice,) = checkpoint.find(Path("r"), "last")
    assert (found, notice) == (
        newest,
        "r/checkpoints/step-00000900.safetensors is of step 5: it was renamed; using an earlier checkpoint",
    )
    with pytest.raises(CheckpointError, match="is of step 5: it was renamed"):
        checkpoint.find(Path("r"), "900")
    said = call(*TRAIN, "--out=r", "--resume", "--steps=12")[1]
    assert notice in said
    assert f"{renamed.relative_to(tmp_path)} is not used: it is kept as {renamed.name}.damaged" in said
    assert said.count("it is kept as") == 1
    (folder / f"{renamed.name}.damaged").unlink()
    assert contents(tmp_path / "r") == contents(tmp_path / "whole")
    shutil.copy(folder / "step-00000005.safetensors", renamed)
    assert "it is kept as" not in call(*TRAIN, "--out=r", "--resume", "--steps=12")[1]
    assert renamed.exists()
