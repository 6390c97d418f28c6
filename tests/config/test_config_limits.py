"""Configurations that would cost the parser gigabytes, or fill a screen, are refused in one short line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.hostile_inputs import time_limit

from charrnn import config
from charrnn.errors import ConfigError

PARTS = "a." * 30_000 + "a = 1"
REFUSED = {
    "a key of many parts": "a." * 100_000 + "a = 1",
    "a section of many parts": "[" + "a." * 30_000 + "a]\n" + "b.c = 1\n" * 9,
    "some parts too many to print": "[model]\nhidden_size" + ".a" * 2000 + " = 1",
    "quoted parts": "'a'." * 30_000 + '"a" = 1',
    "quoted parts with line separators": "'\u2028'." * 30_000 + "a = 1",
    "parts after a string of several lines": f"x = '''\n\"'''\n{PARTS} # \"",
    "parts after a string that ends in a quote": f'x = """a""""\n{PARTS} # "',
    "parts after an escaped quote": f'x = "\\""\n{PARTS} # "',
    "parts in an inline table": f"x = {{s = 'b', {PARTS}, t = 'c'}}",
    "strings without an end": '"\\"' * 30_000,
    "open brackets": "x = " + "[" * 10**6,
    "open braces": "x = " + "{a=" * 10**5,
    "many digits": f"[model]\nhidden_size = {'1' * 5000}",
    "an open string": "[data]\nencoding = '" + "x" * 10**6,
    "a long string": "[data]\nencoding = ['" + "x" * 10**6 + "']",
    "a long name": "x" * 10**6 + " = 1",
    "a long section": f"[{'x' * 10**6}]",
    "a long key": "[data]\n" + "x" * 10**6 + " = 1",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=list(REFUSED))
def test_large_configurations_are_refused(content: str, tmp_path: Path) -> None:
    """Keys of very many parts, endless brackets and very large values are one short line, in little RAM."""
    (tmp_path / "c.toml").write_text(content)
    with time_limit(), pytest.raises(ConfigError) as caught:
        config.read(str(tmp_path / "c.toml"))
    assert len(str(caught.value)) < 500
    with pytest.raises(ConfigError):
        config.parse_settings([f"model.hidden_size={{{content}}}"])


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("separator", [", ", ",\n"], ids=["one line", "many lines"])
def test_many_file_names_are_read(quote: str, separator: str, tmp_path: Path) -> None:
    """A list of 3,000 names with dots is read, on one line or on many, between any quotes."""
    names = tuple(f"folder.of.many/{n}.txt" for n in range(3000))
    listed = separator.join(f"{quote}{name}{quote}" for name in names)
    (tmp_path / "c.toml").write_text(f"[data]\nfiles = [{listed}]\n")
    assert config.read(str(tmp_path / "c.toml")) == {"data": {"files": names}}


def test_a_file_beyond_the_limit_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The limit is in bytes and is itself allowed."""
    (tmp_path / "c.toml").write_text("#" * 1000)
    monkeypatch.setattr(config.files, "MAX_BYTES", 1000)
    assert config.read(str(tmp_path / "c.toml")) == {}
    (tmp_path / "c.toml").write_text("#" * 1001)
    with pytest.raises(ConfigError, match="it is longer than"):
        config.read(str(tmp_path / "c.toml"))
