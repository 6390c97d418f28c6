"""The names of texts in a run mean plain files: no folder, pattern, pipe, device or standard input."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import TEXT, TINY, Call
from helpers.crafted_checkpoints import craft

from charrnn import config, text
from charrnn import files as file_system
from charrnn.errors import TextError
from charrnn.text import sources

EVAL, RESUME = ["eval", "r"], ["train", "--resume", "--out=r", "--steps=11"]
NOWHERE = {
    "the whole file system": ["/"],
    "a pattern": ["/usr/**/*"],
    "a pattern of a folder": ["{here}/*.txt"],
    "standard input": ["-"],
    "a folder": ["{here}"],
    "a pipe": ["{here}/pipe"],
    "a device": ["/dev/zero"],
    "an empty name": [""],
    "NUL": ["\0"],
    "half a character": ["\ud800"],
    "a name that is too long": ["x" * 300],
    "one that is too long, in a folder": ["/x/" + "x" * 300],
    "a file and more": ["{here}/t.txt", "/"],
}


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the names that are opened as texts or searched for texts."""
    seen = list[str]()
    before, meant, walk = file_system.open_input, sources.expand_name, os.walk

    def opened(path: str | Path) -> Any:
        seen.append(str(path))
        return before(path)

    monkeypatch.setattr(file_system, "open_input", opened)
    monkeypatch.setattr(sources, "expand_name", lambda name: (seen.append(name), meant(name))[1])
    monkeypatch.setattr(os, "walk", lambda top: (seen.append(top), walk(top))[1])
    return seen


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names only there")
@pytest.mark.parametrize("words", [EVAL, RESUME], ids=["eval", "resume"])
@pytest.mark.parametrize("files", NOWHERE.values(), ids=NOWHERE)
def test_what_is_no_file(
    call: Call,
    trained: Path,
    unread: list[str],
    words: list[str],
    files: list[str],
) -> None:
    """A name that is no file is refused. Nothing is opened or searched, and standard input is not read."""
    os.mkfifo("pipe")
    craft(trained, data={"files": [name.replace("{here}", str(Path.cwd())) for name in files]})
    error = call(*words, stdin=TEXT, status=2)[1]
    assert "there is no such file" in error or "File name too long" in error
    assert [name for name in unread if not name.endswith("config.toml")] == []
    assert sys.stdin.read() == TEXT
    assert call("compare", "r")[0].count("no carried, windows:256: ") == 1


@pytest.mark.parametrize("files", [["/"], ["-"]], ids=repr)
def test_a_run_that_only_has_a_configuration(call: Call, unread: list[str], files: list[str]) -> None:
    """The same holds for a run that has no checkpoint yet, only a configuration."""
    Path("r").mkdir()
    Path("r/config.toml").write_text(config.dump(config.build({"data": {"files": tuple(files)}})))
    assert "there is no such file" in call("train", "--resume", "--out=r", *TINY, stdin=TEXT, status=2)[1]
    assert [name for name in unread if not name.endswith("config.toml")] == []


def test_a_file_whose_name_is_a_pattern(call: Call, tmp_path: Path) -> None:
    """A text is found again although its own name is a pattern that matches others."""
    (tmp_path / "[t]*.txt").write_text(TEXT)
    call("train", "[t]*.txt", *TINY, "--out=a", "--steps=2")
    call("train", "--resume", "--out=a", "--steps=3")
    call("eval", "a")


@pytest.mark.parametrize("words", ["t.txt", "*.txt", "below", "-", "below t.txt"])
def test_what_training_writes_down(call: Call, tmp_path: Path, words: str) -> None:
    """A run records the absolute names of its files, however they were given, and none for the embedded text."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.txt").write_text(TEXT)
    call("train", *words.split(), *TINY, "--out=r", "--steps=1", stdin=TEXT)
    named = config.read("r/config.toml")["data"]["files"]
    assert len(named) == len(words.split())
    assert all(Path(name).is_absolute() and Path(name).is_file() for name in named)
    assert text.check_plain_files(named, 0) == list(named)
    call("train", "--resume", "--out=r", "--steps=2")
    call("eval", "r")


def test_a_text_that_is_too_short_is_not_opened(call: Call, trained: Path, unread: list[str]) -> None:
    """A file with fewer bytes than the text has characters is refused before it is opened."""
    Path("empty").touch()
    craft(trained, data={"files": [str(Path.cwd() / "empty")]})
    for words in (EVAL, RESUME):
        assert "empty is not the text that the run was trained on" in call(*words, status=2)[1]
    assert [name for name in unread if not name.endswith("config.toml")] == []


@pytest.mark.parametrize("name", ["long.txt", "long.txt.gz"])
def test_a_text_that_is_too_long_is_not_read_to_its_end(
    call: Call,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """At most twice the text and one block are read of a file, packed or not, that is longer than the text."""
    taken, before = list[int](), sources.chunks_of
    monkeypatch.setattr(sources, "BLOCK", 1000)

    def chunks(*words: Any) -> Any:
        return (taken.append(len(chunk)) or chunk for chunk in before(*words))  # type: ignore[func-returns-value]

    monkeypatch.setattr(sources, "chunks_of", chunks)
    content = (TEXT * 1000).encode()
    Path(name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    craft(trained, data={"files": [str(Path.cwd() / name)]})
    for words in (EVAL, RESUME):
        taken.clear()
        assert "the text has more than 820 characters" in call(*words, status=2)[1]
        assert 0 < sum(taken) < 820 + 2 * 1003


def test_a_bound_is_itself_allowed(tmp_path: Path) -> None:
    """A text with as many characters as the limit is read, and a text with one more is not, in any encoding."""
    for encoding in ("utf-8", "utf-16", "latin-1"):
        (tmp_path / "t").write_text("é" * 300, encoding=encoding)
        assert len(text.from_files([str(tmp_path / "t")], encoding, max_characters=300).ids) == 300
        with pytest.raises(TextError, match="more than 299 characters"):
            text.from_files([str(tmp_path / "t")], encoding, max_characters=299)
