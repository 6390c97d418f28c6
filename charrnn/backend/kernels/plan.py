"""How the blocks of `recurrence.cuh` share a recurrence: a choice by the sizes of the problem and of the card.

All blocks must run at once, one on each multiprocessor, so there are at most as many as those. Where the recurrent
weights fit into their shared memory they stay there, else they are brought from L2 at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil

THREADS = 256
"""Of a block, at most."""
SIZES = (4, 8, 16, 32)
"""Units, and streams, of a block that are considered."""
CHUNKS = (64, 128, 256, 512, 1024, 2048, 4096)
QUAD = 4


@dataclass(frozen=True)
class Card:
    """What of a GPU matters here: its multiprocessors, and of a block the bytes of shared memory and the threads."""

    multiprocessors: int
    shared: int
    threads: int = THREADS


@dataclass(frozen=True)
class Plan:
    """A layout.

    Attributes:
        units: of a block.
        streams: that a block multiplies at once.
        chunk: elements of a state that are in shared memory at once.
        resident: whether the recurrent weights stay in shared memory.
        stream_tiles: among how many blocks the streams of a tile of units are shared out.
        blocks: of the grid, each of `threads` threads.
        threads: see `blocks`.
        shared: bytes of shared memory of each.
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
        """What `recurrence.cuh` wants to have defined."""
        sizes = {"UNITS": self.units, "STREAMS": self.streams, "THREADS": self.threads, "CHUNK": self.chunk}
        return sizes | {"RESIDENT": int(self.resident)}

    def __str__(self) -> str:
        """In words."""
        where = "weights on chip" if self.resident else "weights from L2"
        return f"one kernel, {where}: {self.blocks} blocks, {self.units} units by {self.streams} streams each"


def plan(G: int, B: int, H: int, itemsize: int, card: Card, residence: tuple[bool, ...] = (True, False)) -> Plan | None:
    """The cheapest layout that fits, or None if none does.

    Args:
        G: gates of the cell.
        B: streams.
        H: hidden units.
        itemsize: bytes of a number.
        card: where it must fit.
        residence: the values of `Plan.resident` to choose among.
    """
    found, threads = [], card.threads
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
        found.append((cost(layout, G, B, H), layout))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def elements(G: int, H: int, units: int, streams: int, chunk: int, resident: bool, threads: int) -> int:
    """Numbers in a block's shared memory, for the larger of the two passes: see `Product` in `recurrence.cuh`."""
    left, parts = streams * (chunk + QUAD), threads * QUAD * QUAD
    forward, backward = ((up(K) if resident else chunk) * columns for K, columns in ((H, G * units), (G * H, units)))
    return left + parts + max(forward, backward)


def up(n: int) -> int:
    """The next multiple of four."""
    return ceil(n / QUAD) * QUAD


def cost(layout: Plan, G: int, B: int, H: int) -> float:
    """About the cycles of a multiprocessor for a step forward and back: a model to choose by, not a prediction.

    It has 64 multiplications, and 16 numbers from L2, in a cycle; and waits once a chunk and once a step.
    """
    groups = ceil(ceil(B / layout.streams) / layout.stream_tiles)
    multiplications = 2 * layout.streams * G * layout.units * H
    numbers = layout.streams * (1 + G) * H + (0 if layout.resident else 2 * G * layout.units * H)
    waits = ceil(H / layout.chunk) + ceil(G * H / layout.chunk)
    return groups * (multiplications / 64 + numbers / 16 + 500 * waits) + 2000
