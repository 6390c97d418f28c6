"""Logits to characters: on the host in float64, one uniform number a character, no way to a NaN.

The distribution is never normalised: exp(logits - max) is cut by top-k and top-p, summed up, and searched for u times
its total (inverse CDF). Finite logits give finite sums of at least 1 at any temperature above 0. A device may have a
kernel that takes the place of `choices`, and chooses alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.errors import ConfigError
from charrnn.text import Ids

HostArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Settings:
    """How to choose the next character.

    Attributes:
        temperature: divides the logits; 0 always takes the likeliest character.
        top_k: only the k likeliest characters; 0 for all.
        top_p: only the likeliest characters whose probabilities reach p together; 1 for all.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < np.inf:
            raise ConfigError(f"--temperature must be 0 or a positive number, not {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"--top-k must be 0 (all characters) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top-p must be above 0 and at most 1, not {self.top_p}")


def choose(logits: HostArray, uniforms: HostArray, settings: Settings) -> Ids:
    """The next character of each of B streams. Numbers out of range make NumPy warn: see `Backend.quiet`.

    Args:
        logits: (B, V). Should a network overflow, NaN counts as least likely, infinity as the largest number.
        uniforms: (B,) in [0, 1).
        settings: how.

    Returns:
        ids (B,).
    """
    top = np.maximum.reduce(logits, axis=1)
    if not math.isfinite(top.dot(top)):
        logits = np.nan_to_num(logits.astype(np.float64), nan=-np.finfo(float).max)
        top = np.maximum.reduce(logits, axis=1)
    cumulative = np.add.accumulate(truncated(logits, top, settings), axis=1)
    # u is at most 1 - 2**-53, so u · total stays below the total also when rounded.
    targets = uniforms * cumulative[:, -1]
    return (cumulative > targets[:, None]).argmax(axis=1)


def choices(logits: Array, uniforms: HostArray, settings: Settings, *, out: Ids, backend: Backend) -> Iterator[Array]:
    """Choose N characters of each of B streams one after the other. Here that waits for the device at each.

    Args:
        logits: (B, V) of the next characters; the caller overwrites them before it asks for the next ids.
        uniforms: (N, B) in [0, 1).
        settings: how.
        out: (N, B), has all ids at the end.
        backend: of the logits.

    Yields:
        N times the ids (B,), on the device.
    """
    for n, uniform in enumerate(uniforms):
        out[n] = ids = choose(backend.to_host(logits), uniform, settings)  # sync
        yield backend.host_indices(ids)


def truncated(logits: HostArray, top: HostArray, settings: Settings) -> HostArray:
    """(B, V) weights, the likeliest 1, of the tempered and cut distribution; `top` (B,) are the largest logits."""
    weights = np.subtract(logits, top[:, None], dtype=np.float64)
    if settings.temperature == 0:
        likeliest = np.argmax(weights, axis=1)
        weights[:] = 0.0
        weights[np.arange(len(weights)), likeliest] = 1.0
        return weights
    if settings.temperature != 1:  # a tiny one sends all but the likeliest to -inf, and their weight to 0
        np.divide(weights, settings.temperature, out=weights)
    np.exp(weights, out=weights)
    V = weights.shape[1]
    if 0 < settings.top_k < V or settings.top_p < 1:
        order = np.argsort(-logits, axis=1, kind="stable")  # not by weight: a huge temperature makes them equal
        ranked = np.take_along_axis(weights, order, axis=1)
        if 0 < settings.top_k < V:
            ranked[:, settings.top_k :] = 0
        if settings.top_p < 1:
            above = np.cumsum(ranked, axis=1) - ranked  # the weight of everything likelier
            ranked[above >= settings.top_p * ranked.sum(axis=1, keepdims=True)] = 0
        np.put_along_axis(weights, order, ranked, axis=1)
    return weights


def first_characters(counts: tuple[int, ...], uniforms: HostArray) -> Ids:
    """Ids (B,) drawn from the corpus's own frequencies, for samples without a prompt."""
    cumulative = np.cumsum(np.asarray(counts, dtype=np.float64))
    return np.searchsorted(cumulative, uniforms * cumulative[-1], side="right").clip(max=len(counts) - 1)
