"""The recurrence kernels, run on the CPU, against the cells' own loops, which they replace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import cuda_cpu
from recurrences import problem, solved

from charrnn.backend.kernels import Card, loader, plan
from charrnn.backend.kernels.plan import Plan, elements
from charrnn.backend.numpy import NumpyBackend
from charrnn.model.cells import CELLS

pytestmark = pytest.mark.skipif(cuda_cpu.compiler is None, reason="there is no g++")

CUPY = SimpleNamespace(
    RawModule=cuda_cpu.RawModule,
    cuda=SimpleNamespace(driver=cuda_cpu.driver),
    zeros=np.zeros,
    empty=np.empty,
    ascontiguousarray=np.ascontiguousarray,
)


def small_layout(units: int, streams: int, *, threads: int, chunk: int, resident: bool, tiles: int, H: int) -> Plan:
    """Return a layout with small blocks."""
    return Plan(units, streams, chunk, resident, tiles, -(-H // units) * tiles, threads, 0)


SMALL = [
    # T, B, H, layout
    (5, 3, 6, small_layout(4, 4, threads=4, chunk=8, resident=True, tiles=1, H=6)),
    (1, 1, 4, small_layout(4, 4, threads=5, chunk=4, resident=True, tiles=1, H=4)),
    (4, 9, 5, small_layout(4, 4, threads=6, chunk=4, resident=True, tiles=2, H=5)),
    (4, 9, 10, small_layout(4, 8, threads=8, chunk=4, resident=False, tiles=2, H=10)),
    (3, 17, 8, small_layout(8, 4, threads=8, chunk=12, resident=False, tiles=3, H=8)),
]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("T", "B", "H", "shape"), SMALL)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_kernels_agree_with_the_loops(
    cell: str, T: int, B: int, H: int, shape: Plan, dtype: str, tolerance: float, keep: bool
) -> None:
    """States and gradients agree for every kind of block, with and without resets, also if sizes do not divide."""
    G, itemsize = CELLS[cell].GATES, np.dtype(dtype).itemsize
    threads = max(shape.threads, shape.streams // 4 * (shape.units // 4) * G)
    numbers = elements(G, H, shape.units, shape.streams, shape.chunk, shape.resident, threads)
    shape = replace(shape, threads=threads, shared=itemsize * numbers)
    recurrence = loader.Recurrence(CUPY, CELLS[cell], Card(64, 2**20))
    recurrence.layout = lambda *_: shape
    inputs = problem(cell, T, B, H, dtype, NumpyBackend())
    expected, actual = (solved(subject, inputs, keep=keep) for subject in (CELLS[cell], recurrence))
    for name, values in expected.items():
        assert np.abs(actual[name] - values).max() <= tolerance * np.abs(values).max(), name


def test_a_layout_fits_the_card() -> None:
    """A layout covers all units and streams with blocks that fit on the card at once, within its shared memory."""
    for card in (Card(132, 227 * 1024), Card(24, 99 * 1024), Card(1, 48 * 1024)):
        for G in (1, 3, 4):
            for B in (1, 7, 64, 300):
                for H in (1, 100, 512, 1024, 3000):
                    layout = plan(G, B, H, 4, card)
                    if layout is None:
                        assert 32 * card.multiprocessors < H or G * H > 300
                        continue
                    assert layout.blocks <= card.multiprocessors
                    assert layout.shared <= card.shared
                    assert layout.blocks == -(-H // layout.units) * layout.stream_tiles
