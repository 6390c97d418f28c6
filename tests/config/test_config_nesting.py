"""Configurations that would cost a parser gigabytes, or the reader a screen, are one short line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.nasty import in_time

from charrnn import config
from charrnn.errors import ConfigError

NESTING = {
    "a key of many parts": "a." * 100_000 + "a = 1",
    "a section of many parts": "[" + "a." * 30_000 + "a]\n" + "b.c = 1\n" * 9,
    "some parts too many to print": "[model]\nhidden_size" + ".a" * 2000 + " = 1",
    "open brackets": "x = " + "[" * 10**6,
    "open braces": "x = " + "{a=" * 10**5,
    "many digits": f"[model]\nhidden_size = {'1' * 5000}",
    "an open string": "[data]\nencoding = '" + "x" * 10**6,
    "a long string": "[data]\nencoding = ['" + "x" * 10**6 + "']",
    "a long name": "x" * 10**6 + " = 1",
    "a long section": f"[{'x' * 10**6}]",
    "a long key": "[data]\n" + "x" * 10**6 + " = 1",
}


@pytest.mark.parametrize("content", NESTING.values(), ids=list(NESTING))
def test_configurations_that_nest(content: str, tmp_path: Path) -> None:
    """Keys of very many parts, brackets without end and enormous values are one short line, in little memory."""
    (tmp_path / "c.toml").write_text(content)
    with in_time(), pytest.raises(ConfigError) as caught:
        config.read(str(tmp_path / "c.toml"))
    assert len(str(caught.value)) < 500
    with pytest.raises(ConfigError):
        config.parse_settings([f"model.hidden_size={{{content}}}"])


def test_a_configuration_without_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """More than a configuration can be is not read to its end; many files in lines of their own are no trouble."""
    files = ",\n".join(f"'folder.of.many/{n}.txt'" for n in range(20_000))
    (tmp_path / "c.toml").write_text(f"[data]\nfiles = [\n{files}\n]\n")
    assert len(config.read(str(tmp_path / "c.toml"))["data"]["files"]) == 20_000
    monkeypatch.setattr(config.files, "LONGEST", 1000)
    with pytest.raises(ConfigError, match="it is longer than"):
        config.read(str(tmp_path / "c.toml"))
