"""Which passages of a text stand word for word in the training text.

The windows of the texts are hashed, and the training text is searched for the same hashes: a polynomial hash modulo
2**64 of every window, computed for all positions at once by doubling. Candidates are compared character by character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.text import Ids

WIDTH = 20
"""Characters of a window: a passage of this length is hardly written twice by chance."""
SHORTER = (10, 5)
"""Widths that are tried for texts in which no window of `WIDTH` is copied."""
BASE = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 1 << 20
"""Positions of the training text that are hashed at a time."""
MOST = 200_000_000
"""Characters of the training text that are searched."""
FILTER_BITS = 18
PAIRS = 500_000
"""Most places in a block where a window is compared, so that a text like "aaaa" ends in time."""

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Copied:
    """How much of a text is copied.

    Attributes:
        first: where the longest copied passage begins in the text.
        length: its length; 0 if it is shorter than the shortest width.
        place: where it begins in the training text.
        share: the share of the text's windows of `WIDTH` characters that are copied; None for a shorter text.
    """

    first: int
    length: int
    place: int
    share: float | None


def copied(training: Ids, texts: Sequence[Ids]) -> list[Copied]:
    """Return for each text (N,) of ids how much of it is in `training` (M,), the ids in the same vocabulary."""
    training = training[:MOST]
    results = search(training, texts, WIDTH)
    shares = [share for _, share in results]
    best = [longest for longest, _ in results]
    for width in SHORTER:
        missing = [i for i, (_, length, _) in enumerate(best) if length == 0]
        if missing:
            results = search(training, [texts[i] for i in missing], width)
            for i, (longest, _) in zip(missing, results, strict=True):
                best[i] = longest
    return [Copied(*longest, share) for longest, share in zip(best, shares, strict=True)]


def search(training: Ids, texts: Sequence[Ids], width: int) -> list[tuple[tuple[int, int, int], float | None]]:
    """Return for each text its longest passage of at least `width` in `training`, and the share of copied windows."""
    hashes = [window_hashes(text, width) for text in texts]
    owners = np.repeat(np.arange(len(texts)), [len(h) for h in hashes])
    positions = np.concatenate([np.zeros(0, int), *(np.arange(len(h)) for h in hashes)])
    wanted = np.concatenate([np.zeros(0, np.uint64), *hashes])
    order = np.argsort(wanted, kind="stable")
    wanted, owners, positions = wanted[order], owners[order], positions[order]
    is_copied = [np.zeros(len(h), bool) for h in hashes]
    longest = [(0, 0, 0)] * len(texts)
    for places, first, last in occurrences(training, wanted, width):
        counts = last - first
        rows = np.repeat(first, counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = np.repeat(places, counts)
        for owner in np.unique(owners[rows]):
            mine = owners[rows] == owner
            at, place = positions[rows[mine]], starts[mine]
            is_copied[owner][at] = True
            longest[owner] = max(longest[owner], run_of(training, texts[owner], at, place), key=lambda run: run[1])
    return [(best, float(mask.mean()) if len(mask) else None) for best, mask in zip(longest, is_copied, strict=True)]


def occurrences(training: Ids, wanted: Hashes, width: int) -> Iterator[tuple[Ids, Ids, Ids]]:
    """Yield, block by block, the places in `training` of the windows whose hashes are `wanted` (K,), sorted.

    With each place come the first and the last + 1 of the elements of `wanted` that are equal to its hash.
    """
    if not len(wanted):
        return
    shift = np.uint64(64 - FILTER_BITS)
    possible = np.zeros(1 << FILTER_BITS, bool)
    possible[wanted >> shift] = True
    for start in range(0, len(training) - width + 1, BLOCK):
        hashes = window_hashes(training[start : start + BLOCK + width - 1], width)
        places = np.flatnonzero(possible[hashes >> shift])
        first, last = (np.searchsorted(wanted, hashes[places], side) for side in ("left", "right"))
        is_wanted = last > first
        places, first, last = places[is_wanted], first[is_wanted], last[is_wanted]
        fits = np.cumsum(last - first) <= PAIRS
        yield places[fits] + start, first[fits], last[fits]


def window_hashes(ids: Ids, width: int) -> Hashes:
    """Return the hash (N - width + 1,) of each window of `ids` (N,)."""
    if len(ids) < width:
        return np.zeros(0, np.uint64)
    power = ids.astype(np.uint64) + np.uint64(1)  # the hash of every window of `length` = 1, 2, 4, ... characters
    length, factor = 1, BASE
    result, done = np.zeros(len(ids), np.uint64), 0  # the hash of every window of `done` characters
    with np.errstate(over="ignore"):
        while True:
            if width & length:
                result = result[: len(power) - done] * factor + power[done:]
                done += length
            if done == width:
                return (result ^ (result >> np.uint64(29))) * BASE  # so that the first bits depend on all characters
            power = power[: len(power) - length] * factor + power[length:]
            length, factor = 2 * length, factor * factor


def run_of(training: Ids, text: Ids, at: Ids, place: Ids) -> tuple[int, int, int]:
    """Return the longest passage that begins with one of the windows `at` of a text, which occur at `place`.

    The passage is (first, length, place), extended to the right as far as the characters are equal.
    """
    diagonal = place - at
    order = np.lexsort((at, diagonal))
    at, place, diagonal = at[order], place[order], diagonal[order]
    firsts = np.flatnonzero(np.append(True, (np.diff(diagonal) != 0) | (np.diff(at) != 1)))
    lengths = np.diff(np.append(firsts, len(at)))
    n = min(firsts[lengths == lengths.max()], key=at.__getitem__)
    first, start = int(at[n]), int(place[n])
    return first, equal_run(training[start : start + len(text) - first], text[first:]), start


def equal_run(a: Ids, b: Ids) -> int:
    """Return how many elements are equal at the beginning of `a` and `b`."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
