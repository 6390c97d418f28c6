"""The lines of `charrnn train --profile`."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.training.profile import MeanStep


def profile_lines(mean: MeanStep) -> Iterator[str]:
    """Yield lines about the time of a step, and what a rank sends in it."""
    total = sum(mean.seconds.values())
    yield f"a step takes {1000 * total:.3f} ms, the mean of {mean.steps:,}:"
    for part, seconds in mean.seconds.items():
        yield f"  {part:23} {1000 * seconds:9.3f} ms {seconds / total:5.0%}"
    if sent := mean.sent:
        S, P, N = sent.shards, sent.parameters, sent.ranks
        model = f"({S}/{N} + 1) * {P:,} * {N - 1}/{N} numbers of {sent.itemsize} bytes"
        yield f"a rank sends {sent.bytes:,.0f} bytes in {sent.messages:g} messages in a step"
        yield f"the cost model says {sent.expected:,.0f} bytes: {model}"
