"""The choice of a character from logits, against exact arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.sampling import Settings, choose
from charrnn.sampling.distribution import truncated

BELOW_ONE = math.nextafter(1, 0)
MODERATE = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=7)
HUGE = st.lists(st.floats(-1e300, 1e300) | st.sampled_from([0.0, 1e300, -1e300, 5e-324]), min_size=1, max_size=7)
UNIFORM = st.floats(0, BELOW_ONE) | st.sampled_from([0.0, BELOW_ONE])
TEMPERATURE = st.floats(1e-300, 1e300) | st.sampled_from([1e-300, 0.8, 1.0, 1e300])


def chosen(logits: list[float], u: float, **settings: Any) -> int:
    """Return the id that `choose` returns for one stream."""
    with np.errstate(over="ignore"):
        ids = choose(np.array([logits]), np.array([u]), Settings(**settings))
    assert ids.shape == (1,)
    return int(ids[0])


def intervals(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> list[tuple[int, Decimal, Decimal]]:
    """Return for each possible id the interval of u that chooses it, in 28 digits: softmax, top-k, top-p, min-p."""
    weights = [(Decimal(z) / Decimal(temperature)).exp() for z in logits]
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: top_k or None]
    total, above, possible = sum(weights[i] for i in ranked), Decimal(0), []
    for i in ranked:
        share = above / total
        assume(top_p == 1 or share == Decimal(top_p) or abs(share - Decimal(top_p)) > 1e-9)  # else rounding decides
        ratio = weights[i] / max(weights)
        assume(ratio == Decimal(min_p) or abs(ratio - Decimal(min_p)) > 1e-9)
        if (share < Decimal(top_p) or top_p == 1) and ratio >= Decimal(min_p):
            possible.append(i)
        above += weights[i]
    total, end = sum(weights[i] for i in possible), Decimal(0)
    return [(i, end, end := end + weights[i] / total) for i in sorted(possible)]


@given(HUGE, UNIFORM, TEMPERATURE, st.integers(0, 8), st.floats(0, 1, exclude_min=True), st.floats(0, 1))
@example([1e300, -1e300], BELOW_ONE, 1e-300, 0, 1.0, 0.0)
@example([1.0, 2.0], 0.0, 1e300, 1, 1.0, 1.0)
@example([0.0, 2.0**53, -1.0, 0.0], 0.875, 2.0**52, 3, 1.0, 0.0)
@example([-1.0, 0.0, -1.0], BELOW_ONE, 0.8, 0, 5e-324, 0.0)
def test_the_choice_is_never_impossible(
    logits: list[float], u: float, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """For any finite logits and any settings the weights are finite, and the chosen character is possible."""
    settings = Settings(temperature, top_k, top_p, min_p)
    with np.errstate(over="ignore"):
        weights = truncated(np.array([logits]), np.array([max(logits)]), settings)[0]
    assert all(0 <= w <= 1 for w in weights)
    assert max(weights) == 1
    i = chosen(logits, u, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    assert weights[i] > 0
    behind = [Fraction(z) - Fraction(logits[i]) for z in logits]
    assert max(behind) <= 746 * Fraction(temperature)  # exp(-746) is 0 in float64
    assert top_k == 0 or sum(b > 0 for b in behind) < top_k


@given(MODERATE, st.sampled_from([0.25, 0.8, 1.0, 3.0]), st.integers(0, 8), st.floats(0.01, 1), st.floats(0, 1))
@example([0.0, 0.0, 0.0, 0.0], 1.0, 2, 1.0, 1.0)
@example([0.0, 1.0, 2.0], 1.0, 0, 0.7, 0.0)
@example([0.0, 1.0, 2.0], 1.0, 0, 1.0, 0.2)
@example([0.0, 1.0, 2.0], 3.0, 2, 1.0, 0.7)
@example([0.0, 0.0, 0.0, 0.0], 1.0, 0, 0.5, 0.0)
@example([0.0, 0.0, 0.0, 0.0], 1.0, 2, 0.5, 0.0)
def test_the_choice_is_the_inverse_cdf(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """Every u in a character's interval, by exact softmax, top-k, top-p and min-p, chooses this character."""
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    expected = intervals(logits, temperature, top_k, top_p, min_p)
    for i, first, last in expected:
        margin = min(Decimal("1e-12"), (last - first) / 4)
        for u in (first + margin, (first + last) / 2, last - margin):
            assert chosen(logits, float(u), **settings) == i
    assert chosen(logits, 0.0, **settings) == expected[0][0]
    assert chosen(logits, BELOW_ONE, **settings) == expected[-1][0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_frequencies_follow_the_softmax(temperature: float) -> None:
    """With N evenly spaced u, each of several streams chooses a character N times its probability, to within one."""
    logits, N = [[0.3, -1.2, 2.0, 0.0], [5.0, 4.9, -3.0, 4.0]], 1009
    us = [(n + 0.5) / N for n in range(N)]
    drawn = [choose(np.array(logits), np.array([u, u]), Settings(temperature)) for u in us]
    for b, row in enumerate(logits):
        exps = [math.exp(z / temperature) for z in row]
        cumulative = [sum(exps[: i + 1]) / sum(exps) for i in range(4)]
        expected = [next(i for i in range(4) if cumulative[i] > u) for u in us]
        assert [int(ids[b]) for ids in drawn] == expected
        for i in range(4):
            assert abs(expected.count(i) - N * exps[i] / sum(exps)) <= 1


@given(HUGE, UNIFORM)
def test_temperature_zero_is_the_first_maximum(logits: list[float], u: float) -> None:
    """Temperature 0 chooses the likeliest character, the first one of several, for any u."""
    assert chosen(logits, u, temperature=0) == logits.index(max(logits))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_logits_that_are_not_finite(temperature: float) -> None:
    """NaN is the least likely, infinity the likeliest, also if no logit is finite; other streams are not affected."""
    nan, inf, sure = math.nan, math.inf, {"temperature": temperature}
    assert chosen([nan, 3.0, nan], 0.5, **sure) == 1
    assert chosen([5.0, inf, nan, -inf], 0.5, **sure) == 1
    assert chosen([-inf, -inf], 0.25, **sure) == 0
    assert chosen([nan, nan], BELOW_ONE, **sure) == (1 if temperature else 0)
    logits = np.array([[nan, 3.0, 4.0], [0.5, 1.0, 0.0]])
    with np.errstate(over="ignore"):
        both = choose(logits, np.array([0.9, 0.9]), Settings(temperature))
    assert both.tolist() == [2, chosen([0.5, 1.0, 0.0], 0.9, **sure)]


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", v) for v in (math.nan, math.inf, -math.inf, -0.1)]
    + [("top_k", -1)]
    + [("top_p", v) for v in (math.nan, math.inf, -0.5, 0.0, 1.0000001)]
    + [("min_p", v) for v in (math.nan, math.inf, -0.5, 1.0000001)],
)
def test_invalid_settings_are_errors(option: str, value: float) -> None:
    """A setting that is not finite, or outside of its bounds, is an error that names the option and the value."""
    with pytest.raises(ConfigError, match=f"^--{option.replace('_', '-')} must be .*not {value}$"):
        Settings(**{option: value})
