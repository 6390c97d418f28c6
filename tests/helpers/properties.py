"""How many examples the property tests try."""

from hypothesis import settings


def examples(count: int) -> settings:
    """Return settings with `count` examples, and ten times as many in the profile `explore` of `conftest.py`."""
    return settings(max_examples=count * settings.default.max_examples // 100)


modest = examples(60)
