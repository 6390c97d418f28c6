"""From logits to characters: on the host in float64, with one uniform number u a character, and never a NaN.

The distribution is not normalized. The weights exp(logits - max) are truncated by top-k, top-p and min-p and summed;
the character is the first whose cumulative weight is above u times the total (inverse CDF). Finite logits give a finite
total of at least 1 at any temperature above 0. So a seed gives the same text on every device whose logits agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.errors import ConfigError
from charrnn.text import Ids

HostArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Settings:
    """How to choose the next character. Raises `ConfigError` for values out of range.

    Attributes:
        temperature: divides the logits; 0 always chooses the likeliest character.
        top_k: only the k likeliest characters; 0 for all.
        top_p: only the likeliest characters whose probabilities reach p together; 1 for all.
        min_p: only characters whose probability is at least this share of the likeliest one's; 0 for all.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < np.inf:
            raise ConfigError(f"--temperature must be 0 or a positive number, not {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"--top-k must be 0 (all characters) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top-p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"--min-p must be 0 (all characters) or a share up to 1, not {self.min_p}")


def choose(logits: HostArray, uniforms: HostArray, settings: Settings) -> Ids:
    """Return the ids (B,) of the next character of each stream. NumPy warns of an overflow: see `Backend.quiet`.

    Args:
        logits: (B, V). If a network overflows, NaN counts as the least likely and infinity as the largest number.
        uniforms: (B,) in [0, 1).
        settings: how to choose.
    """
    top = np.maximum.reduce(logits, axis=1)
    if not math.isfinite(top.dot(top)):
        logits = np.nan_to_num(logits.astype(np.float64), nan=-np.finfo(float).max)
        top = np.maximum.reduce(logits, axis=1)
    cumulative = np.add.accumulate(truncated(logits, top, settings), axis=1)
    # u is at most 1 - 2**-53, so u · total stays below the total also when rounded.
    targets = uniforms * cumulative[:, -1]
    return (cumulative > targets[:, None]).argmax(axis=1)


def truncated(logits: HostArray, top: HostArray, settings: Settings) -> HostArray:
    """Return the weights (B, V) after temperature, top-k, top-p and min-p; the largest is 1. `top` is (B,)."""
    weights = np.subtract(logits, top[:, None], dtype=np.float64)
    if settings.temperature == 0:
        likeliest = np.argmax(weights, axis=1)
        weights[:] = 0.0
        weights[np.arange(len(weights)), likeliest] = 1.0
        return weights
    if settings.temperature != 1:  # a tiny one makes all but the likeliest -inf, and their weight 0
        np.divide(weights, settings.temperature, out=weights)
    np.exp(weights, out=weights)
    V = weights.shape[1]
    if 0 < settings.top_k < V or settings.top_p < 1:
        order = np.argsort(-logits, axis=1, kind="stable")  # by logits, as a huge temperature makes all weights equal
        ranked = np.take_along_axis(weights, order, axis=1)
        if 0 < settings.top_k < V:
            ranked[:, settings.top_k :] = 0
        if settings.top_p < 1:
            above = np.cumsum(ranked, axis=1) - ranked  # the weight of all likelier characters
            ranked[above >= settings.top_p * ranked.sum(axis=1, keepdims=True)] = 0
        np.put_along_axis(weights, order, ranked, axis=1)
    if settings.min_p > 0:
        weights[weights < settings.min_p] = 0
    return weights


def first_characters(counts: tuple[int, ...], uniforms: HostArray, never: Sequence[int] = ()) -> Ids:
    """Return ids (B,) drawn from the frequencies of the corpus for samples without a prompt, but none of `never`."""
    frequencies = np.array(counts, dtype=np.float64)
    frequencies[list(never)] = 0
    cumulative = np.cumsum(frequencies)
    return np.searchsorted(cumulative, uniforms * cumulative[-1], side="right").clip(max=len(counts) - 1)
