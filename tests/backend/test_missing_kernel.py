"""A cell without a CUDA kernel."""

from __future__ import annotations

from types import ModuleType

from helpers.namespaces import fake_gpu

from charrnn.model.cells import CELLS


def test_a_cell_without_a_kernel_uses_its_loop() -> None:
    """A new cell computes on a GPU before it has a kernel."""
    mine = ModuleType("mine")
    vars(mine).update(vars(CELLS["rnn"]), NAME="mine")
    backend = fake_gpu()
    assert backend.recurrence(mine) is mine
    assert backend.describe_recurrence(mine, 4, 8, "float32") == "one operation after another: this cell has no kernel"
    assert backend.recurrence(CELLS["rnn"]) is not CELLS["rnn"]
