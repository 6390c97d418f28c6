"""What the units follow: the correlation of each with properties of the text, and the characters that excite it."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.text import Part, Vocabulary
from charrnn.tools.report.passage import Passage, quantized
from charrnn.tools.report.properties import properties
from charrnn.tools.report.reading import Block, HostArray

CLEAR = 0.3
"""Correlation from which a unit counts as following a property."""
NAMED = 3
"""Units that are named for a property."""
EXCITING = 5
"""Characters of a unit that are named."""
SEEN = 5
"""How often a character must occur to count as exciting."""
MOST_BYTES = 800_000
"""Bytes of states in the page: one for a unit and a character."""
FEWEST = 600
"""Characters of the passage that are kept before units are left out."""


class UnitStatistics:
    """Sums over the blocks of a reading. A unit is a layer and an index; U = L·H units of one kind of state.

    Args:
        part: the text that is read.
        vocabulary: its characters.
    """

    def __init__(self, part: Part, vocabulary: Vocabulary) -> None:
        values = properties(part, vocabulary)
        self.ids, self.names, self.characters = part.ids, list(values), vocabulary.characters
        self.values = np.stack(list(values.values()), axis=1).astype(np.float64)  # (N, K)
        self.count = 0
        self.sums: dict[str, dict[str, HostArray]] = {}
        self.seen = np.zeros(len(vocabulary), np.int64)

    def add(self, block: Block) -> None:
        """Add the states of a block, but those after a start symbol before the text."""
        kept = block.positions.reshape(-1) >= 0
        positions = block.positions.reshape(-1)[kept]
        wanted = self.values[positions]
        order = np.argsort(self.ids[positions], kind="stable")
        read, firsts, counts = np.unique(self.ids[positions][order], return_index=True, return_counts=True)
        self.count += len(positions)
        self.seen[read] += counts
        added = {"p": wanted.sum(0), "pp": (wanted**2).sum(0)}
        self.accumulate("properties", added)
        for name, array in block.states.items():
            x = array.reshape(len(kept), -1)[kept].astype(np.float64)
            by_character = np.zeros((len(self.seen), x.shape[1]))
            by_character[read] = np.add.reduceat(x[order], firsts)
            self.accumulate(name, {"x": x.sum(0), "xx": (x**2).sum(0), "xp": x.T @ wanted, "by": by_character})

    def accumulate(self, key: str, values: dict[str, HostArray]) -> None:
        """Add arrays to the sums of a key."""
        sums = self.sums.setdefault(key, {name: np.zeros_like(value) for name, value in values.items()})
        for name, value in values.items():
            sums[name] += value

    def correlations(self, state: str) -> HostArray:
        """Return Pearson's correlation (U, K) of each unit with each property; NaN where either is constant."""
        n, sums, of = self.count, self.sums[state], self.sums["properties"]
        covariance = sums["xp"] / n - np.outer(sums["x"] / n, of["p"] / n)
        of_units = np.maximum(sums["xx"] / n - (sums["x"] / n) ** 2, 0)
        of_properties = np.maximum(of["pp"] / n - (of["p"] / n) ** 2, 0)
        constant = (of_units < 1e-12)[:, None] | (of_properties < 1e-12)[None, :]
        product = np.sqrt(np.outer(of_units, of_properties))
        result: HostArray = np.where(constant, np.nan, covariance / np.where(constant, 1, product))
        return result.clip(-1, 1)

    def exciting(self, state: str) -> tuple[HostArray, HostArray]:
        """Return for each unit the ids (U, n) of the characters after which its mean is highest, and the means."""
        common = np.flatnonzero(self.seen >= min(SEEN, self.seen.max(initial=0)))
        common = common[self.seen[common] > 0]
        means = (self.sums[state]["by"][common] / self.seen[common, None]).T  # (U, characters)
        order = np.argsort(-means, axis=1, kind="stable")[:, :EXCITING]
        return common[order], np.take_along_axis(means, order, axis=1)


def neurons(shown: Passage, statistics: UnitStatistics) -> dict[str, Any]:
    """Return what the panel of the units needs.

    The states that color the passage are those of the cell, if the network has one, else the hidden states. Units that
    follow no property are left out, and the passage is shortened, where the page would become too large.
    """
    colored = list(shown.states)[-1]
    T, L, H = shown.states[colored].shape
    correlations = {name: statistics.correlations(name) for name in shown.states}
    clearest = best(correlations[colored])
    kept = np.sort(np.argsort(-clearest, kind="stable")[: max(1, MOST_BYTES // min(T, FEWEST))])
    length = min(T, max(FEWEST, MOST_BYTES // len(kept)))
    states, largest = quantized(shown.states[colored].reshape(T, L * H)[:length, kept])
    ids, means = statistics.exciting(colored)
    return {
        "state": colored,
        "layers": L,
        "hidden_size": H,
        "units": kept.tolist(),
        "left_out": L * H - len(kept),
        "length": length,
        "values": states,
        "largest": largest,
        "properties": statistics.names,
        "count": statistics.count,
        "correlations": {name: rounded(array[kept]) for name, array in correlations.items()},
        "named": named(correlations[colored], statistics.names),
        "exciting": ids[kept].tolist(),
        "means": np.round(means[kept], 3).tolist(),
    }


def best(correlations: HostArray) -> HostArray:
    """Return for each unit (U,) the largest absolute correlation; 0 if it has none."""
    return np.nan_to_num(np.abs(correlations)).max(axis=1, initial=0)


def named(correlations: HostArray, names: list[str]) -> list[dict[str, Any]]:
    """Return the clearest units of each property: {property, units: [[unit, correlation]]}, the clearest first."""
    strengths = np.nan_to_num(np.abs(correlations))
    result = []
    for k, name in enumerate(names):
        order = np.argsort(-strengths[:, k], kind="stable")[:NAMED]
        units = [[int(u), round(float(correlations[u, k]), 2)] for u in order if strengths[u, k] >= CLEAR]
        if units:
            result.append({"property": name, "units": units})
    return sorted(result, key=lambda one: -abs(one["units"][0][1]))


def rounded(correlations: HostArray) -> list[list[float | None]]:
    """Return correlations (U, K) with two digits; None for one that does not exist."""
    return [[None if np.isnan(r) else round(float(r), 2) for r in row] for row in correlations]
