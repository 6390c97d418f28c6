"""Write a few shapes of SVG, with which the pictures are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

INK, GRID, PAPER = "#24292f", "#d8dee4", "#ffffff"
FONT = 'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14"'


@dataclass(frozen=True)
class Plane:
    """A rectangle of the picture for numbers from (0, low), bottom left, to (right, high), top right.

    Attributes:
        left: the x of its left side in pixels.
        top: the y of its top in pixels.
        width: its width in pixels.
        height: its height in pixels.
        right: the number at its right side; the number at its left side is 0.
        low: the number at its bottom.
        high: the number at its top.
    """

    left: float
    top: float
    width: float
    height: float
    right: float
    low: float
    high: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position in pixels of the numbers (x, y)."""
        share = (self.high - y) / (self.high - self.low)
        return self.left + x / self.right * self.width, self.top + share * self.height

    def curve(self, points: Iterable[tuple[float, float]], colour: str, width: float, more: str = "") -> str:
        """Return a line through `points`, which are numbers."""
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}"{more}/>'

    def dot(self, x: float, y: float, colour: str, more: str = "") -> str:
        """Return a dot at the numbers (x, y)."""
        left, height = self.at(x, y)
        return f'<circle cx="{left:.1f}" cy="{height:.1f}" r="3" fill="{colour}"{more}/>'

    def level(self, y: float, colour: str = GRID, more: str = "") -> str:
        """Return a horizontal line at the number y."""
        left, height = self.at(0, y)
        return f'<path d="M{left:.1f} {height:.1f}H{left + self.width:g}" stroke="{colour}"{more}/>'


def text(x: float, y: float, words: str, colour: str = INK, more: str = "") -> str:
    """Return `words` that begin at (x, y)."""
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}"{more}>{escape(words)}</text>'


def document(width: float, height: float, shapes: Iterable[str]) -> str:
    """Return the whole picture."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {FONT}>',
            f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>',
            *shapes,
            "</svg>",
        ]
    )
