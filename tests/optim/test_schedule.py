"""Learning-rate schedules: their shape for random settings, and their rates by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import OptimizerConfig
from charrnn.optim import learning_rate

rates = st.builds(
    OptimizerConfig,
    learning_rate=st.floats(1e-4, 1),
    schedule=st.sampled_from(["constant", "cosine", "step", "plateau"]),
    warmup=st.floats(0, 0.99),
    final_rate=st.floats(0, 1),
    decay=st.floats(0.01, 1),
    decay_every=st.floats(0.01, 1),
)


@settings(deadline=None, max_examples=100)
@given(rates, st.integers(1, 500), st.integers(0, 5))
def test_the_rate_rises_only_during_warm_up(optimizer: OptimizerConfig, total: int, reductions: int) -> None:
    """Rates are between 0 and the configured rate, rise during the warm-up, and never rise after it."""
    values = [learning_rate(optimizer, step, total, reductions) for step in range(total + 1)]
    warm = math.ceil(optimizer.warmup * total)
    assert all(0 <= rate <= optimizer.learning_rate for rate in values)
    assert all(a < b for a, b in pairwise(values[:warm]))
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(values[warm:]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"warmup": 0.5}, [1 / 3, 2 / 3, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ({"schedule": "cosine", "final_rate": 0.2}, [1, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 0.6, 0.31716, 0.2]),
        ({"schedule": "cosine", "warmup": 0.5}, [1 / 3, 2 / 3, 1, 0.5, 0]),
        ({"schedule": "step", "decay": 0.1, "decay_every": 0.5}, [1, 1, 0.1, 0.1, 0.01]),
        ({"schedule": "plateau", "decay": 0.5}, [0.25] * 5),
    ],
)
def test_rates_of_each_schedule(settings: dict[str, Any], expected: list[float]) -> None:
    """The rates of a run of four steps, and of a fifth step, are those that were computed by hand."""
    optimizer = OptimizerConfig(**{"learning_rate": 1.0, "schedule": "constant", "warmup": 0.0} | settings)
    assert [learning_rate(optimizer, step, 4, 2) for step in range(5)] == pytest.approx(expected, abs=1e-5)


def test_steps_of_the_schedule_are_rounded_exactly() -> None:
    """0.07 of 100 steps are 7, although 0.07 * 100 is a little more than 7 in floating point."""
    optimizer = OptimizerConfig(learning_rate=1.0, schedule="step", warmup=0.0, decay=0.5, decay_every=0.07)
    assert [learning_rate(optimizer, step, 100) for step in (6, 7, 13, 14)] == [1.0, 0.5, 0.5, 0.25]
