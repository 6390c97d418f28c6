"""Helpers of the tests. Their `assert` statements report values, as those of the tests do."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite(*(f"helpers.{path.stem}" for path in Path(__file__).parent.glob("[!_]*.py")))
