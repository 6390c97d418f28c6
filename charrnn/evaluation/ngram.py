"""Witten-Bell interpolated n-grams over characters: how well counting alone predicts a text.

    P_n(c | h) = (count(h c) + T(h) P_n-1(c | h')) / (count(h) + T(h)),    P_0(c) = 1 / V

where h are the n - 1 characters before c, h' is h without its first, count(h) how often h was followed by a character,
and T(h) by how many distinct ones. A context that was never followed says P_n-1. The estimate of what is new is method
C of Witten and Bell, "The zero-frequency problem" (1991); interpolated recursively as in Chen and Goodman, "An
empirical study of smoothing techniques for language modeling" (1998).

Contexts are counted by sorting every window of `ORDERS` characters once: the n-grams are the beginnings of windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.text import Ids, Part

ORDERS = 6
HALF = ORDERS // 2
LARGEST = 2**31
"""Numbers below this can be packed two to an int64."""

Probabilities = np.ndarray[Any, np.dtype[np.float64]]


def losses(training: Part, validation: Part, V: int) -> tuple[float, ...]:
    """The mean surprise of the unigram, the 2-gram, ... up to `ORDERS`, nats/char.

    Every character of `validation` after the first is predicted from those before it, as the protocol `carried` has
    it; but no context reaches across the start of a document.

    Args:
        training: what is counted, at least one character.
        validation: what is predicted, at least two characters.
        V: distinct characters; every id is below.
    """
    return tuple(float(-np.log(p[1:]).mean()) for p in probabilities(training, validation, V))


def probabilities(training: Part, validation: Part, V: int) -> Iterator[Probabilities]:
    """(M,) the probability of each character of `validation`, for the orders 1, 2, ... `ORDERS`; see `losses`.

    An order keeps the windows that begin with an n-gram of `validation`: only these are contexts of the next.
    """
    base, windows = V + 1, counted(training, V)
    group = np.zeros(len(windows.counts), np.int32)  # of each window: the number of its first n - 1 characters
    context = np.zeros(len(validation.ids), np.int64)  # of each character: the number of the n - 1 before it, or -1
    result = np.full(len(validation.ids), 1 / V)
    for n in range(ORDERS):
        keys = windows.character(n)
        keys += group * np.int64(base)
        # Before each window, and at the end: how many characters were counted, and how many distinct n-grams.
        occurrences, grams = before(windows.counts), before(first_of_runs(keys))

        wanted = context * base + validation.ids + 1  # below 0 without a context
        order = np.argsort(wanted)  # searches in order stay in the cache
        wanted, mother = wanted[order], context[order] * base
        first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
        left, right = np.searchsorted(keys, mother + 1), np.searchsorted(keys, mother + base)  # + 0 is no character
        followers, total = grams[right] - grams[left], occurrences[right] - occurrences[left]
        mixed = occurrences[last] - occurrences[first] + followers * result[order]
        result = result.copy()
        result[order] = np.where(total > 0, mixed / np.maximum(total + followers, 1), result[order])
        yield result

        del keys
        needed = np.zeros(grams[-1], bool)
        needed[grams[first[last > first]]] = True
        number = np.append(np.cumsum(needed, dtype=np.int32) - 1, -1)
        context[order] = np.where(last > first, number[grams[first]], -1)
        context[1:] = context[:-1].copy()
        context[np.append(0, validation.starts)] = -1
        group = grams[1:] - 1
        kept = needed[group]
        windows, group = windows.only(kept), number[group[kept]]


@dataclass(frozen=True)
class Windows:
    """The K distinct windows of `ORDERS` characters of a text, sorted.

    A character is its id + 1; 0 stands at the start of a document and after the end, so that no n-gram with a 0 in it
    is one.

    Attributes:
        codes: (K,) int64, two halves packed.
        counts: (K,) int32, how often each occurs.
        base: of the digits of a half, which are its characters.
        radix: how many halves there can be.
        halves: what the halves are the numbers of; None where they are the digits themselves.
    """

    codes: Ids
    counts: Ids
    base: int
    radix: int
    halves: Ids | None

    def character(self, n: int) -> Ids:
        """(K,) int64, the character `n` of each window."""
        half: Ids = self.codes // self.radix if n < HALF else self.codes % self.radix
        if self.halves is not None:
            half = self.halves[half]
        half //= self.base ** (HALF - 1 - n % HALF)
        half %= self.base
        return half

    def only(self, which: Ids) -> Windows:
        """Those for which `which` (K,) is true."""
        return Windows(self.codes[which], self.counts[which], self.base, self.radix, self.halves)


def counted(part: Part, V: int) -> Windows:
    """The windows of a text. Three characters of any V fit an int64; six may not, and then halves are numbered."""
    base = V + 1
    text = np.insert(part.ids.astype(np.min_scalar_type(V)) + 1, np.append(part.starts, [len(part.ids)] * HALF), 0)
    half = np.zeros(len(text), np.int64)
    for n in range(HALF):
        half *= base
        half[: len(text) - n] += text[n:]
    halves, radix = None, base**HALF
    if radix > LARGEST:
        halves = numbered(half)
        radix = len(halves)
    codes = half[:-HALF] * radix
    codes += half[HALF:]
    del half
    codes.sort()
    new = first_of_runs(codes)
    counts = np.diff(np.flatnonzero(new), append=len(codes)).astype(np.int32)
    return Windows(codes[new], counts, base, radix, halves)


def numbered(values: Ids) -> Ids:
    """Put in place of `values` (N,) their numbers in the sorted array of the distinct ones, which is returned."""
    order = np.argsort(values)
    ranked = values[order]
    first = first_of_runs(ranked)
    values[order] = np.cumsum(first) - 1
    return ranked[first]


def first_of_runs(values: Ids) -> Ids:
    """(N,) whether a value is the first of its kind in a sorted array (N,)."""
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return first


def before(values: Ids) -> Ids:
    """(N + 1,) int32: the sum of all `values` (N,) before each, and of all."""
    sums = np.zeros(len(values) + 1, np.int32)
    np.cumsum(values, out=sums[1:])
    return sums
