"""Draw loss against time as SVG: a thin line for each seed, and a dot at the end of the command and its `carried` loss.

Each run has a color. Horizontal lines are the published numbers of peers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from learning_report import grouped
from svg import INK, Plane, document, text


@dataclass(frozen=True)
class Peer:
    """The published loss of another program, or the range of several, in nats/char."""

    low: float
    high: float
    who: str
    protocol: str
    source: str

    @property
    def label(self) -> str:
        """Return the name, the loss, the protocol and the source."""
        loss = f"{self.low:g}" if self.low == self.high else f"{self.low:g}–{self.high:g}"
        return f"{self.who} {loss} ({self.protocol}; {self.source})"


TINYSHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
"""The SHA-256 of the file that the peers' numbers refer to. Its last tenth is their validation split, too."""
PEERS = (
    Peer(1.669, 1.669, "5-gram", "carried", "Witten-Bell, counted on the training split"),
    Peer(1.548, 1.575, "minGRU, minLSTM, Mamba", "windows", "Feng et al., arXiv 2410.01201"),
    Peer(1.4697, 1.4697, "transformer on a GPU", "random windows of 256", "nanoGPT's README"),
)

WIDTH, HEIGHT, LEFT, TOP, LINE = 900, 420, 60, 46, 19
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#bc4c00", "#bf3989", "#0a7d8c", "#57606a")
THEIRS = "#9a6700"
SHOWN = 0.7
"""The range of losses in nats/char that the picture shows at most. With ln V at its top the curves would be flat."""
DOUBLINGS = 8
"""The number of doublings of the time from the left side to the end of the longest run at the right side."""
STEPS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def picture(data: dict[str, Any]) -> str:
    """Return the picture of a series."""
    groups = grouped(data["rows"])
    peers = PEERS if data["text"]["sha256"] == TINYSHAKESPEARE else ()
    rows = [row for group in groups for row in group]
    plane = plane_for([row["curve"] for row in rows], peers)
    minutes = max((row["seconds"] / 60 for row in rows), default=1.0)
    title = "validation loss while training, nats/char, against minutes (a logarithmic axis)"
    shapes = [text(LEFT, 26, title), *axes(plane, minutes)]
    clip = f'<clipPath id="plane"><rect x="{LEFT}" y="{TOP}" width="{plane.width:g}" height="{HEIGHT}"/></clipPath>'
    shapes += [clip, *across(plane, peers)]
    y = TOP + HEIGHT + 50
    for number, group in enumerate(groups):
        colour = COLOURS[number % len(COLOURS)]
        for row in group:
            points = [(place(seconds / 60, minutes), loss) for seconds, _, loss in row["curve"]]
            end = place(row["seconds"] / 60, minutes), row["losses"]["carried"]
            clipped = ' clip-path="url(#plane)"'
            shapes += [plane.curve(points, colour, 1.5, clipped), plane.dot(*end, colour, clipped)]
        ends = f"carried {median(row['losses']['carried'] for row in group):.4f}"
        first = group[0]
        words = f"{first['name']}, {first['budget']}, {first['parameters']:,} parameters, {seeds(len(group))}: {ends}"
        shapes.append(text(LEFT, y, words, colour))
        y += LINE
    return document(WIDTH, y, shapes)


def seeds(number: int) -> str:
    """Return a number of seeds in words."""
    return "1 seed" if number == 1 else f"{number} seeds"


def plane_for(curves: Iterable[list[list[float]]], peers: Iterable[Peer]) -> Plane:
    """Return the plane that shows the end of every curve, and every peer."""
    losses = [loss for curve in curves for _, _, loss in curve]
    peers = tuple(peers)
    low = min([*losses, *(peer.low for peer in peers)], default=0.0)
    high = min(max([*losses, *(peer.high for peer in peers)], default=1.0), low + SHOWN)
    low = math.floor(low * 20) / 20
    return Plane(LEFT, TOP, WIDTH - LEFT - 30, HEIGHT, DOUBLINGS, low, max(math.ceil(high * 20) / 20, low + 0.05))


def place(minutes: float, last: float) -> float:
    """Return the x of a time in the plane whose right side is `last`. Times before its left side are negative."""
    return max(-1.0, DOUBLINGS + math.log2(max(minutes, 1e-9) / last))


def axes(plane: Plane, minutes: float) -> list[str]:
    """Return horizontal lines with their losses, and minutes below; `minutes` is the time at the right side."""
    shapes = []
    step = stride(plane.high - plane.low)
    for n in range(math.ceil(plane.low / step - 1e-9), math.floor(plane.high / step + 1e-9) + 1):
        y = round(plane.at(0, n * step)[1] + 5, 1)
        shapes += [plane.level(n * step), text(LEFT - 46, y, f"{n * step:.2f}")]
    for each in (m for m in STEPS if 0 <= place(m, minutes) <= DOUBLINGS):
        x = round(plane.at(place(each, minutes), plane.low)[0], 1)
        shapes.append(text(x, TOP + HEIGHT + 20, f"{each:g}", more=' text-anchor="middle"'))
    return shapes


def stride(length: float) -> float:
    """Return a round distance that divides `length` into at most ten parts."""
    return next((step for step in STEPS if length / step <= 10), length)


def across(plane: Plane, peers: Iterable[Peer]) -> list[str]:
    """Return a dashed line, or a band, for each peer, with a label above its right end."""
    shapes = []
    for peer in peers:
        (_, top), (_, bottom) = plane.at(0, peer.high), plane.at(0, peer.low)
        if peer.low == peer.high:
            shapes.append(plane.level(peer.low, THEIRS, ' stroke-dasharray="6 4"'))
        else:
            box = f'x="{LEFT}" y="{top:.1f}" width="{plane.width:g}" height="{bottom - top:.1f}"'
            shapes.append(f'<rect {box} fill="{THEIRS}" opacity="0.25"/>')
        more = ' text-anchor="end" font-size="12"'
        shapes.append(text(LEFT + plane.width, round(top - 4, 1), peer.label, INK, more))
    return shapes
