"""`docs/reliability.md` names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
DOCUMENT = TESTS.parent / "docs" / "reliability.md"


def test_every_named_test_exists() -> None:
    """Each file exists below `tests/`, and each function in the file that was named before it."""
    names = re.findall(r"`([a-z_/]*test_\w+(?:\.py)?)`", DOCUMENT.read_text("utf-8"))
    content, missing = "", []
    for name in names:
        if name.endswith(".py"):
            content = (TESTS / name).read_text("utf-8") if (TESTS / name).is_file() else ""
        if not content or (not name.endswith(".py") and f"def {name}(" not in content):
            missing.append(name)
    assert len(names) > 50
    assert missing == []
