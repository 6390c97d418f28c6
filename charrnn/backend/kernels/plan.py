"""Choose how the blocks of `recurrence.cuh` share a recurrence, from the sizes of the problem and of the card.

All blocks must run at once, one on each multiprocessor, so there are at most as many blocks as multiprocessors. If the
recurrent weights fit into the shared memory of all blocks, they stay there; else every step loads them from L2. The
cell's own loop, with one product of cuBLAS a step, is the third choice: it wins where a network is so large that its
products take longer than its many launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, inf

THREADS = 256
"""Most threads of a block."""
SIZES = (4, 8, 16, 32)
"""The numbers of units, and of streams, of a block to choose from."""
CHUNKS = (64, 128, 256, 512, 1024, 2048, 4096)
"""The numbers of elements of a state in shared memory to choose from."""
QUAD = 4
"""Numbers that the kernels load together."""
PER_CYCLE = 64
"""Multiplications of a multiprocessor in a cycle: half of those that it can make in float32."""


@dataclass(frozen=True)
class Card:
    """The sizes of a GPU: its multiprocessors, and the most bytes of shared memory and threads of a block."""

    multiprocessors: int
    shared: int
    threads: int = THREADS


@dataclass(frozen=True)
class Plan:
    """A layout.

    Attributes:
        units: units of a block.
        streams: streams that a block multiplies at once.
        chunk: elements of a state that are in shared memory at once.
        resident: whether the recurrent weights stay in shared memory.
        stream_tiles: the number of blocks that share the streams of a tile of units.
        blocks: blocks of the grid.
        threads: threads of a block.
        shared: bytes of shared memory of a block.
    """

    units: int
    streams: int
    chunk: int
    resident: bool
    stream_tiles: int
    blocks: int
    threads: int
    shared: int

    @property
    def definitions(self) -> dict[str, int]:
        """The macros of `recurrence.cuh`."""
        sizes = {"UNITS": self.units, "STREAMS": self.streams, "THREADS": self.threads, "CHUNK": self.chunk}
        return sizes | {"RESIDENT": int(self.resident)}

    def __str__(self) -> str:
        """Describe the layout to users."""
        where = "weights on chip" if self.resident else "weights from L2"
        return f"one kernel, {where}: {self.blocks} blocks, {self.units} units by {self.streams} streams each"


def plan(
    G: int,
    B: int,
    H: int,
    itemsize: int,
    card: Card,
    residence: tuple[bool, ...] = (True, False),
    *,
    loop: float = inf,
) -> Plan | None:
    """Return the cheapest layout that fits, or None if none fits, or none costs less than `loop`.

    Args:
        G: gates of the cell.
        B: streams.
        H: hidden units.
        itemsize: bytes of a number.
        card: the GPU.
        residence: the values of `Plan.resident` to choose from.
        loop: the `loop_cost`; by default a kernel is chosen wherever one fits.
    """
    layouts, threads = list[tuple[float, Plan | None]](), card.threads
    for units, streams, resident in product(SIZES, SIZES, residence):
        unit_tiles, groups = ceil(H / units), ceil(B / streams)
        tiles = streams // QUAD * (G * units // QUAD)
        if unit_tiles > card.multiprocessors or tiles > threads:
            continue
        stream_tiles = min(groups, card.multiprocessors // unit_tiles)
        room = {c: itemsize * elements(G, H, units, streams, c, resident, threads) for c in CHUNKS}
        chunks = [c for c in CHUNKS if room[c] <= card.shared]
        if not chunks:
            continue
        chunk = min((c for c in chunks if c >= G * H), default=chunks[-1])
        layout = Plan(units, streams, chunk, resident, stream_tiles, unit_tiles * stream_tiles, threads, room[chunk])
        layouts.append((cost(layout, G, B, H), layout))
    lowest, cheapest = min(layouts, key=lambda pair: pair[0], default=(inf, None))
    return cheapest if lowest < loop else None


def elements(G: int, H: int, units: int, streams: int, chunk: int, resident: bool, threads: int) -> int:
    """Return how many numbers a block has in shared memory in the larger of both passes: see `Product`."""
    left, parts = streams * (chunk + QUAD), threads * QUAD * QUAD
    forward, backward = (
        (round_up_to_quad(K) if resident else chunk) * columns for K, columns in ((H, G * units), (G * H, units))
    )
    return left + parts + max(forward, backward)


def round_up_to_quad(n: int) -> int:
    return ceil(n / QUAD) * QUAD


def cost(layout: Plan, G: int, B: int, H: int) -> float:
    """Estimate a multiprocessor's cycles for a step forward and back, to compare layouts; it is not a prediction.

    The model assumes 64 multiplications in a cycle, a cycle for each weight that comes from L2 and for four numbers of
    a state, which are loaded together, 500 cycles of waiting for each chunk and 2,000 for each step.
    """
    groups = ceil(ceil(B / layout.streams) / layout.stream_tiles)
    multiplications = 2 * layout.streams * G * layout.units * H
    states, weights = layout.streams * (1 + G) * H, 0 if layout.resident else 2 * G * layout.units * H
    waits = ceil(H / layout.chunk) + ceil(G * H / layout.chunk)
    return groups * (multiplications / PER_CYCLE + states / QUAD + weights + 500 * waits) + 2000


def loop_cost(operations: int, G: int, B: int, H: int, card: Card) -> float:
    """Estimate the cycles of a step of the cell's own loop, forward and back, for comparison with `cost`.

    The product uses all multiprocessors as well as a kernel does. Besides, either the host is the limit, which needs
    12,000 cycles (6.5 us at 1.8 GHz) for each of the operations, or the device, which needs 4,000.
    """
    products = 2 * B * G * H * H / (PER_CYCLE * card.multiprocessors)
    return max(12_000 * operations, products + 4000 * operations)
