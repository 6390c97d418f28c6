"""Single keys of a TOML file are changed, everything else of it stays."""

from __future__ import annotations

import pytest
from helpers.configurations import CONFIGS

from charrnn.config import edited, merged, parse
from charrnn.errors import ConfigError

TWO = {"train": {"shards": 2}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[train]\nshards = 1\nsteps = 3\n", "[train]\nshards = 2\nsteps = 3\n"),
        ("[train]\n shards=16   # mine\n", "[train]\n shards=2    # mine\n"),
        ("[train]\nshards = 1# mine\n", "[train]\nshards = 2 # mine\n"),
        ("[train]\nsteps = 3\n", "[train]\nsteps = 3\nshards = 2\n"),
        ("[train] # it\n\n[log]\nevery = 1\n", "[train] # it\nshards = 2\n\n[log]\nevery = 1\n"),
        ("[train]\nsteps = 3\n\n# the log\n[log]\n", "[train]\nsteps = 3\nshards = 2\n\n# the log\n[log]\n"),
        ("[train]\n# shards = 1\nsteps = 3\n", "[train]\n# shards = 1\nshards = 2\nsteps = 3\n"),
        ("[train]\n# shards = 1\nshards = 4\n", "[train]\n# shards = 1\nshards = 2\n"),
        ("", "[train]\nshards = 2\n"),
        ("# only words", "# only words\n\n[train]\nshards = 2\n"),
        ("[log]\nevery = 1", "[log]\nevery = 1\n\n[train]\nshards = 2\n"),
        ("[log]\r\nevery = 1\r\n", "[log]\r\nevery = 1\r\n\r\n[train]\r\nshards = 2\r\n"),
        ("[train]\r\nshards = 1 # a\u2028b\r\n", "[train]\r\nshards = 2 # a\u2028b\r\n"),
        ("\ufeff[train]\nshards = 1\n", "\ufeff[train]\nshards = 2\n"),
        ("[log]\nevery = 1 # shards = 1\n[train]\n", "[log]\nevery = 1 # shards = 1\n[train]\nshards = 2\n"),
    ],
)
def test_one_line_changes(before: str, after: str) -> None:
    """The key's line, or one more, in its section; comments, blank lines, line ends and marks stay as they are."""
    assert edited(before.encode(), TWO, "c.toml").decode() == after
    assert parse(after.encode(), "c.toml")["train"]["shards"] == 2


@pytest.mark.parametrize(
    "content",
    [
        "train = {shards = 1}\n",
        "train.shards = 1\n",
        '["train"]\nshards = 1\n',
        "[train]\n'shards' = 1\n",
        '[data]\nencoding = """\n[train]\nshards = 1\n"""\n',
    ],
)
def test_what_is_not_written_line_by_line_is_refused(content: str) -> None:
    """Where a changed line does not give the table that is meant, nothing is changed and the error names the file."""
    with pytest.raises(ConfigError, match=r"^c\.toml is not written line by line, so train\.shards cannot be changed"):
        edited(content.encode(), TWO, "c.toml")


def test_mistakes_in_the_file_are_named() -> None:
    """What is no configuration before is that error, not one about lines."""
    with pytest.raises(ConfigError, match=r"^c\.toml: there is no key 'train\.step'"):
        edited(b"[train]\nstep = 1\n", TWO, "c.toml")


def test_presets_can_be_changed() -> None:
    """Two keys at once in every shipped configuration: two lines differ, and it reads back as it should."""
    changes = {"train": {"shards": 64, "device": "cuda:1"}}
    for path in CONFIGS.glob("*.toml"):
        before, after = path.read_bytes(), edited(path.read_bytes(), changes, "c.toml")
        assert parse(after, "c") == merged(parse(before, "c"), changes)
        assert len(set(after.splitlines()) - set(before.splitlines())) == 2
        assert before.count(b"#") == after.count(b"#")
