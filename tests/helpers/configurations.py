"""The keys of a configuration, the shipped files, and tables with all defaults."""

import dataclasses
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from charrnn.config import Config

CONFIGS = Path(__file__).parent.parent.parent / "configs"
KEYS = [f"{s.name}.{f.name}" for s in dataclasses.fields(Config) for f in dataclasses.fields(s.default)]
words = st.text(st.characters(codec="utf-8"), max_size=20)


def with_defaults(table: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return every key with its value in `table`, or its default; each has the type of the default."""
    result: dict[str, dict[str, Any]] = {}
    for section in dataclasses.fields(Config):
        result[section.name] = {}
        for field in dataclasses.fields(section.default):
            value = table.get(section.name, {}).get(field.name, field.default)
            result[section.name][field.name] = type(field.default)(value)
    return result
