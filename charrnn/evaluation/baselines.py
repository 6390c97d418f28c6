"""Baselines for a network's validation loss: how well n-gram models, which only count, predict the same characters.

The n-gram model predicts a character c from the n - 1 characters h before it:

    P_n(c | h) = (count(h c) + T(h) P_n-1(c | h')) / (count(h) + T(h)),    P_0(c) = 1 / V

h' is h without its first character, count(h) is how often a character follows h in the training split, and T(h) is how
many distinct characters follow it. Where none does, P_n is P_n-1. This weight of P_n-1 is method C of Witten and Bell,
"The zero-frequency problem" (1991); the recursive interpolation is that of Chen and Goodman, "An empirical study of
smoothing techniques for language modeling" (1998). If the network knows where documents begin, from a start symbol or
a separator, so do the n-grams: a start symbol is the first character of every context in a document. It is never
predicted.

One sort serves all orders: every window of `ORDERS` characters is sorted, and the first n characters of a window are an
n-gram. Counting takes 0.2 to 0.6 seconds for a million characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.text import Ids, Part

ORDERS = 6
COUNTED = 10_000_000
"""Maximum number of training characters that are counted: the last ones. The limit bounds
the memory that counting needs: 0.2 GB for words, 0.3 GB for source code, 0.6 GB for random characters."""
PREDICTED = 1_000_000
"""Maximum number of validation characters that are predicted: the first ones. By default, an evaluation while training
reads no more."""
HALF = ORDERS // 2
LARGEST = 2**31
"""Two numbers below this can be packed into an int64."""

Probabilities = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Split:
    """The characters that n-grams are counted on, and those that they predict.

    Attributes:
        V: number of distinct characters.
        counted: the training characters that are counted.
        predicted: the validation characters that are predicted, all but the first if no start symbol is before it.
        training: number of characters in the training split.
        evaluated: number of validation characters that an evaluation while training reads.
        start_symbol: whether a start symbol is before each document.
    """

    V: int
    counted: Part
    predicted: Part
    training: int
    evaluated: int
    start_symbol: bool

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The fields `counted`, `training`, `predicted` and `evaluated` of its `Baselines`."""
        first = 0 if self.start_symbol and self.predicted.begins else 1
        return len(self.counted.ids), self.training, len(self.predicted.ids) - first, self.evaluated - first


def split_of(V: int, training: Part, evaluated: Part, *, start_symbol: bool = False) -> Split:
    """Return the split of a run.

    Args:
        V: number of distinct characters.
        training: the text that is trained on.
        evaluated: the part of the held-out text that is evaluated while training, from its first character on.
        start_symbol: whether the network knows where documents begin.
    """
    counted, predicted = training.tail(COUNTED), evaluated.head(PREDICTED)
    return Split(V, counted, predicted, len(training.ids), len(evaluated.ids), start_symbol)


@dataclass(frozen=True)
class Baselines:
    """The losses of the n-gram models on a split.

    Attributes:
        losses: nats/char of the unigram, the 2-gram, ..., rounded to six digits.
        counted: number of training characters that were counted.
        training: number of characters in the training split.
        predicted: number of validation characters that the n-grams predicted.
        evaluated: number of validation characters that the network predicts while training.
    """

    losses: tuple[float, ...]
    counted: int
    training: int
    predicted: int
    evaluated: int

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The four numbers of characters."""
        return self.counted, self.training, self.predicted, self.evaluated

    @property
    def best_order(self) -> int:
        """The order of the n-gram with the lowest loss; the lowest order if several have it."""
        return 1 + self.losses.index(self.best_loss)

    @property
    def best_loss(self) -> float:
        """The lowest loss, nats/char."""
        return min(self.losses)

    def loss_of(self, order: int) -> float:
        """Return the loss of the n-gram of this order, nats/char."""
        return self.losses[order - 1]

    def as_json(self) -> dict[str, Any]:
        """Return the content of `baselines.json`."""
        return {
            "method": "witten-bell",
            "protocol": "carried",
            "nats_per_char": {str(n): loss for n, loss in enumerate(self.losses, 1)},
            "best": {"order": self.best_order, "nats_per_char": self.best_loss},
            "counted": self.counted,
            "training": self.training,
            "predicted": self.predicted,
            "evaluated": self.evaluated,
        }

    @classmethod
    def from_json(cls, values: Any) -> Baselines:
        """Return the baselines that `as_json` wrote. Raises `ValueError` for other values."""
        try:
            losses = tuple(values["nats_per_char"].values())
            sizes = (values[name] for name in ("counted", "training", "predicted", "evaluated"))
            baselines = cls(losses, *sizes)
            finite = all(isinstance(loss, float) and 0 <= loss < math.inf for loss in losses)
            whole = finite and len(losses) == ORDERS and baselines.as_json() == values
        except (AttributeError, KeyError, TypeError):
            whole = False
        if not whole:
            raise ValueError("these values are not baselines")
        return baselines


def count_baselines(split: Split) -> Baselines:
    """Return the baselines of a split: count its training characters and predict its validation characters."""
    losses = ngram_losses(split.counted, split.predicted, split.V, start_symbol=split.start_symbol)
    return Baselines(tuple(round(loss, 6) + 0.0 for loss in losses), *split.sizes)  # + 0.0 turns -0.0 into 0.0


def ngram_losses(training: Part, validation: Part, V: int, *, start_symbol: bool = False) -> tuple[float, ...]:
    """Return the losses of the unigram, the 2-gram, ... up to order `ORDERS`, nats/char.

    The characters of `validation` that the protocol `carried` predicts are predicted from those before them, but no
    n-gram crosses the start of a document.

    Args:
        training: the text to count, at least one character.
        validation: the text to predict, at least two characters.
        V: number of distinct characters; every id is below it.
        start_symbol: whether a start symbol is before each document.
    """
    first = 0 if start_symbol and validation.begins else 1
    if start_symbol:
        training, validation = with_start_symbols(training, V), with_start_symbols(validation, V)
    predicted = validation.ids < V
    predicted[:first] = False
    return tuple(float(-np.log(p[predicted]).mean()) for p in ngram_probabilities(training, validation, V))


def with_start_symbols(part: Part, V: int) -> Part:
    """Return the text with the id V before the first character of each document."""
    places = np.append(np.zeros(int(part.begins), np.int64), part.starts)
    ids = np.insert(part.ids.astype(np.min_scalar_type(V)), places, V)
    return Part(ids, part.starts + np.arange(len(part.starts)) + part.begins, part.begins)


def ngram_probabilities(training: Part, validation: Part, V: int) -> Iterator[Probabilities]:
    """Yield the probabilities (M,) of the M characters of `validation` for the orders 1, 2, ..., `ORDERS`.

    An id V is a start symbol, which is a context but never predicted. The arguments are those of `ngram_losses`.
    """
    base, windows = V + 2, count_windows(training, V)
    # Contexts, the n - 1 characters h before a character, are numbered. At order 1 there is one, the empty context 0.
    window_context = np.zeros(len(windows.counts), np.int32)  # (K,) the context that a window begins with
    context = np.zeros(len(validation.ids), np.int64)  # (M,) the context of a validation character, or -1: none
    p = np.full(len(validation.ids), 1 / V)  # P_0
    for n in range(ORDERS):
        keys = windows.character(n)
        keys += window_context * np.int64(base)  # a key is an n-gram h c; keys are sorted because windows are
        # The sums over all windows before each one, and in the last element over all.
        occurrences, ngrams = sums_before(windows.counts), sums_before(first_of_runs(keys))

        wanted = context * base + validation.ids + 1  # negative without a context: no key
        order = np.argsort(wanted)  # binary searches in sorted order stay in the cache
        wanted, smallest = wanted[order], context[order] * base
        first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")  # windows with h c
        left = np.searchsorted(keys, smallest + 1)  # windows with h and any character after it; + 0 means none
        right = np.searchsorted(keys, smallest + V + 1)  # without the start symbol
        T, total = ngrams[right] - ngrams[left], occurrences[right] - occurrences[left]  # T(h), count(h)
        numerator = occurrences[last] - occurrences[first] + T * p[order]
        p = p.copy()
        p[order] = np.where(total > 0, numerator / np.maximum(total + T, 1), p[order])
        yield p

        # The n-grams that occur in `validation` are the contexts of the next order; other windows are dropped.
        del keys, occurrences
        needed = np.zeros(ngrams[-1], bool)
        needed[ngrams[first[last > first]]] = True
        numbers = np.append(np.cumsum(needed, dtype=np.int32) - 1, -1)
        context[order] = np.where(last > first, numbers[ngrams[first]], -1)
        context[1:] = context[:-1].copy()
        context[np.append(0, validation.starts)] = -1
        ngram = ngrams[1:] - 1  # (K,) the n-gram that a window begins with
        kept = needed[ngram]
        windows, window_context = windows.only(kept), numbers[ngram[kept]]


@dataclass(frozen=True)
class Windows:
    """The K distinct windows of `ORDERS` characters of a text, sorted.

    A character is represented by its id + 1, the start symbol by V + 1. A 0 stands before the start of a document and
    after the end of the text; a sequence with a 0 in it does not count as an n-gram.

    Attributes:
        codes: (K,) int64, each window as left half * radix + right half.
        counts: (K,) int32, how often each window occurs.
        base: V + 2; a half is the number whose digits to this base are its characters.
        radix: number of possible halves.
        halves: if not None, a half in `codes` is an index into this sorted array of halves.
    """

    codes: Ids
    counts: Ids
    base: int
    radix: int
    halves: Ids | None

    def character(self, n: int) -> Ids:
        """Return the characters (K,) at position `n` of the windows, int64."""
        half: Ids = self.codes // self.radix if n < HALF else self.codes % self.radix
        if self.halves is not None:
            half = self.halves[half]
        half //= self.base ** (HALF - 1 - n % HALF)
        half %= self.base
        return half

    def only(self, mask: Ids) -> Windows:
        """Return the windows for which `mask` (K,) is true."""
        return Windows(self.codes[mask], self.counts[mask], self.base, self.radix, self.halves)


def count_windows(part: Part, V: int) -> Windows:
    """Return the windows of a text.

    Three characters always fit into an int64, six only if V is small: otherwise the distinct halves are numbered.
    """
    base = V + 2
    text = np.insert(part.ids.astype(np.min_scalar_type(V + 1)) + 1, np.append(part.starts, [len(part.ids)] * HALF), 0)
    half = np.zeros(len(text), np.int64)
    for n in range(HALF):
        half *= base
        half[: len(text) - n] += text[n:]
    halves, radix = None, base**HALF
    if radix > LARGEST:
        halves = number_in_place(half)
        radix = len(halves)
    codes = half[:-HALF] * radix
    codes += half[HALF:]
    del half, text
    codes.sort()
    first = first_of_runs(codes)
    codes = codes[first]
    counts = np.diff(np.flatnonzero(first), append=len(first)).astype(np.int32)
    return Windows(codes, counts, base, radix, halves)


def number_in_place(values: Ids) -> Ids:
    """Replace `values` (N,) by their indices in the sorted array of the distinct values, and return that array."""
    order = np.argsort(values)
    ranked = values[order]
    first = first_of_runs(ranked)
    distinct = ranked[first]
    del ranked
    indices = np.cumsum(first, dtype=np.int32)
    indices -= 1
    values[order] = indices
    return distinct


def first_of_runs(values: Ids) -> Ids:
    """Return for a sorted array (N,) whether each value differs from the one before it."""
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return first


def sums_before(values: Ids) -> Ids:
    """Return (N + 1,) int32: for each of `values` (N,) the sum of those before it, then the sum of all."""
    sums = np.zeros(len(values) + 1, np.int32)
    np.cumsum(values, out=sums[1:])
    return sums
