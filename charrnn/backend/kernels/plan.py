"""Choose how the blocks of `recurrence.cuh` share a recurrence, from the sizes of the problem and of the card.

All blocks must run at once, one on each multiprocessor, so there are at most as many blocks as multiprocessors. If the
recurrent weights fit into the shared memory of all blocks, they stay there; else every step loads them from L2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil

THREADS = 256
"""Most threads of a block."""
SIZES = (4, 8, 16, 32)
"""The numbers of units, and of streams, of a block to choose from."""
CHUNKS = (64, 128, 256, 512, 1024, 2048, 4096)
"""The numbers of elements of a state in shared memory to choose from."""
QUAD = 4
"""Numbers that the kernels load together."""


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


def plan(G: int, B: int, H: int, itemsize: int, card: Card, residence: tuple[bool, ...] = (True, False)) -> Plan | None:
    """Return the cheapest layout that fits, or None if none fits.

    Args:
        G: gates of the cell.
        B: streams.
        H: hidden units.
        itemsize: bytes of a number.
        card: the GPU.
        residence: the values of `Plan.resident` to choose from.
    """
    layouts, threads = [], card.threads
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
    return min(layouts, key=lambda pair: pair[0])[1] if layouts else None


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

    The model assumes 64 multiplications and 16 numbers from L2 in a cycle, 500 cycles of waiting for each chunk and
    2,000 for each step.
    """
    groups = ceil(ceil(B / layout.streams) / layout.stream_tiles)
    multiplications = 2 * layout.streams * G * layout.units * H
    numbers = layout.streams * (1 + G) * H + (0 if layout.resident else 2 * G * layout.units * H)
    waits = ceil(H / layout.chunk) + ceil(G * H / layout.chunk)
    return groups * (multiplications / 64 + numbers / 16 + 500 * waits) + 2000
