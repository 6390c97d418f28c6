"""A barrier between blocks that never opens, two networks on one GPU, and the scratch memory of launches."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.namespaces import gpu
from recurrences import problem, solved

from charrnn import checkpoint
from charrnn.backend.kernels import Card
from charrnn.backend.kernels.loader import Recurrence
from charrnn.backend.numpy import NumpyBackend
from charrnn.errors import DeviceError
from charrnn.model.cells import CELLS
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.training.events import Snapshot

pytestmark = pytest.mark.gpu

NEVER_OPENS = {"gridDim": "dim3(gridDim.x + 1000)", "MOST_WAIT": "10000000ull"}
"""Macros: a block waits, for a hundredth of a second, for blocks that do not exist."""


def worst(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Return the largest relative error of all arrays."""
    return max(float(np.abs(actual[name] - array).max() / np.abs(array).max()) for name, array in expected.items())


@pytest.mark.skipif("CHARRNN_RACES" in os.environ, reason="blocks that give up at a barrier do race")
def test_a_run_whose_barrier_never_opens_stops_at_its_last_checkpoint(corpus: Path, tmp_path: Path) -> None:
    """The line names --kernels off, nothing is saved after the fault, and the run continues with the array code."""
    gpu()  # or skip the test
    options = {
        "model": {"hidden_size": 8},
        "train": {"device": "cuda", "batch_size": 4, "seq_length": 6, "steps": 12},
        "log": {"checkpoint_every": 4, "eval_every": 0, "sample_every": 0},
    }
    request = {"files": (str(corpus),), "out": tmp_path / "run"}
    session = prepare(Request(options=options, **request))
    (recurrence,) = session.network.backend.recurrences.values()
    events = session.events()
    while not (isinstance(event := next(events), Snapshot) and event.at.step == 4):
        pass
    recurrence.kernels.clear()
    recurrence.definitions = NEVER_OPENS
    with pytest.raises(DeviceError) as stopped:
        list(events)
    assert str(stopped.value).startswith("cuda:0: a kernel waited too long for its own blocks")
    assert "--resume --kernels off" in str(stopped.value)
    assert stopped.value.exit_status == 2
    assert "\n" not in str(stopped.value)
    assert checkpoint.steps(tmp_path / "run") == [0, 4]
    options["train"] |= {"kernels": "off"}
    assert list(prepare(Request(options=options, resume=True, **request)).events())[-1].at.step == 12
    assert checkpoint.steps(tmp_path / "run")[-1] == 12


@pytest.mark.parametrize("order", [(1, 0, 1), (0, 1, 0)])
def test_two_networks_of_different_sizes(cell: str, order: tuple[int, ...]) -> None:
    """Kernels of equal text share a function, and each launch has enough shared memory in any order."""
    device, cpu, G = gpu(), NumpyBackend(), CELLS[cell].GATES
    recurrence, sizes = Recurrence(device.cupy, CELLS[cell], device.card, residence=(True,)), (140 // G, 256 // G)
    layouts = [recurrence.layout(3, H, 4) for H in sizes]
    assert layouts[0].definitions == layouts[1].definitions
    assert layouts[0].shared < layouts[1].shared
    layers = [problem(cell, 2, 3, H, "float32", device) for H in sizes]
    for i in order:
        assert recurrence.kernel(layers[i].tape)
    for i in order:
        expected = solved(CELLS[cell], problem(cell, 2, 3, sizes[i], "float32", cpu))
        assert worst(solved(recurrence, layers[i]), expected) < 1e-4


def test_launches_share_no_scratch_memory() -> None:
    """Each launch has counters, which are zero, and a carry of its own: threads can use one network at once."""
    device = gpu()
    recurrence, layer = Recurrence(device.cupy, CELLS["lstm"], device.card), problem("lstm", 2, 3, 8, "float32", gpu())
    kernel, scratch = recurrence.kernel(layer.tape), []

    def recorded(function: Any, *launch: Any, **options: Any) -> None:
        *_, carry, counters, _ = launch[2]
        assert not counters.any()
        scratch.extend([carry, counters])
        function(*launch, **options)

    kernel.functions = {name: partial(recorded, function) for name, function in kernel.functions.items()}
    for _ in range(2):
        solved(recurrence, layer)
    assert len({array.data.ptr for array in scratch}) == len(scratch) == 8


def test_a_grid_that_does_not_fit_is_not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the card cannot run all blocks at once, the loop computes: some blocks would wait for the others forever."""
    device = gpu()
    layer, room = problem("rnn", 2, 3, 64, "float32", device), [1]
    layout = Recurrence(device.cupy, layer.cell, device.card).layout(3, 64, 4)
    monkeypatch.setattr(device.cupy.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: room[0])
    small = Recurrence(device.cupy, layer.cell, Card(layout.blocks // 2, device.card.shared))
    small.layout = lambda *_: layout
    assert small.kernel(layer.tape) is None
    small.kernels.clear()
    room[0] = 2
    assert small.kernel(layer.tape)
