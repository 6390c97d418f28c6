"""The recurrence kernels, run on the CPU, against the cells' own loops, which they replace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import cuda_cpu, cupy_arrays
from helpers.namespaces import fake_gpu
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


H200, LAPTOP, OLD = Card(132, 227 * 1024), Card(24, 99 * 1024), Card(14, 64 * 1024)
"""An H200, an RTX 4060, and a GTX 1650, the smallest card that can run the kernels."""
CHOICES = [
    # card, cell, B, H -> C: weights on chip, 2: weights from L2, L: the loop
    (H200, "rnn", (1, 64, 512), {128: "CCC", 512: "CCC", 1024: "CCL", 2048: "CLL", 4096: "LLL"}),
    (H200, "gru", (1, 64, 512), {128: "CCC", 640: "CCC", 1024: "CCL", 1536: "2LL", 2048: "2LL"}),
    (H200, "lstm", (1, 64, 512), {128: "CCC", 512: "CCC", 640: "CCC", 1024: "CCL", 2048: "2LL"}),
    (LAPTOP, "rnn", (1, 64, 512), {128: "CCC", 512: "CCL", 1024: "LLL"}),
    (LAPTOP, "lstm", (1, 64, 512), {128: "CCC", 256: "CCL", 512: "2LL", 1024: "LLL"}),
    (OLD, "rnn", (1, 64, 512), {128: "CCC", 256: "CCL", 512: "LLL"}),
    (OLD, "lstm", (1, 64, 512), {128: "CCC", 256: "22L", 512: "LLL"}),
]


@pytest.mark.parametrize(("card", "name", "streams", "expected"), CHOICES)
def test_the_plan_chooses_by_the_sizes(
    card: Card, name: str, streams: tuple[int, ...], expected: dict[int, str]
) -> None:
    """Small layers keep their weights on the chip. The loop, with one product a step, computes the large ones."""
    recurrence = loader.Recurrence(CUPY, CELLS[name], card)
    layouts = {H: [recurrence.layout(B, H, 4) for B in streams] for H in expected}
    letters = {H: "".join("L" if p is None else "C" if p.resident else "2" for p in row) for H, row in layouts.items()}
    assert letters == expected


def test_operations_are_those_of_the_loops(cell: str) -> None:
    """A time step more is as many launches of both loops as the plan counts for them."""
    device, counts = fake_gpu(), []
    for T in (4, 5):
        inputs = problem(cell, T, 2, 4, "float32", device)
        cupy_arrays.log.clear()
        solved(CELLS[cell], inputs, keep=False)
        counts.append(len(cupy_arrays.log))
    assert counts[1] - counts[0] == CELLS[cell].OPERATIONS


def test_the_description_says_why_the_loop_runs() -> None:
    """Too many units for the card, or products that are faster outside a kernel."""
    device = fake_gpu()
    device.card = Card(24, 99 * 1024)
    descriptions = [device.describe_recurrence(CELLS["lstm"], B, H, "float32") for B, H in ((64, 512), (1, 1024))]
    assert descriptions == [
        "one operation after another: for 64 streams of 512 units a product of cuBLAS at each step is estimated to be "
        "faster",
        "one operation after another: 1024 hidden units are too many for a kernel on this card",
    ]
