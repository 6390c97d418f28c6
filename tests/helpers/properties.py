"""Of property tests: how many examples most of them try."""

from hypothesis import settings

modest = settings(deadline=None, max_examples=60)
