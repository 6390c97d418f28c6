"""The cache's bound, what is removed from it, and where it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers.texts import TEXT, caching, check

from charrnn.errors import TextError
from charrnn.text import cache, entry, from_files, from_text


def test_what_was_used_longest_ago_goes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit entries go in the order of their last use; never a new one, nor one that is mapped."""
    names, kept = [], []
    for n in range(4):
        names.append(str(tmp_path / f"{n}.txt"))
        Path(names[n]).write_text(TEXT + str(n))
        sha256 = from_files([names[n]]).sha256
        kept.append(home / f"{sha256}.ids")
        os.utime(kept[n], (n, n))
    in_use = from_files([names[1]])
    os.utime(kept[1], (1, 1))
    from_files([names[0]])  # now it is the one used last
    size = max(path.stat().st_size for path in kept)
    monkeypatch.setattr(cache, "LIMIT", 3 * size)
    new = from_text(TEXT + "new")
    assert {p.name for p in home.iterdir()} == {kept[0].name, kept[1].name, f"{new.sha256}.ids"}
    check(in_use, TEXT + "1")
    monkeypatch.setattr(cache, "LIMIT", 0)
    assert len(from_text(TEXT + "newer").ids) == len(TEXT) + 5
    assert {p.name for p in home.iterdir()} == {
        kept[1].name, f"{new.sha256}.ids", f"{from_text(TEXT + 'newer').sha256}.ids"
    }  # fmt: skip


def test_a_new_entry_stays_where_nothing_can_be_held(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be locked, as on Windows, the bound still never takes the entry that was just written."""
    monkeypatch.setattr(entry, "fcntl", None)
    monkeypatch.setattr(cache, "LIMIT", 0)
    for text in (TEXT, TEXT + "x"):
        check(from_text(text), text)
        assert len(list(home.iterdir())) == 1


def test_what_killed_processes_left_is_removed(home: Path) -> None:
    """A temporary file goes when a new entry is written, unless a process holds it or has just written to it."""
    home.mkdir(parents=True)
    old, held, fresh = (home / f".{digit * 64}.ids.0123abcd.tmp" for digit in "012")
    for path in (old, held, fresh):
        path.write_bytes(b"half")
    for path in (old, held):
        os.utime(path, (1, 1))
    with held.open("rb") as stream:
        assert entry.hold(stream, exclusive=True)
        from_text(TEXT)
        assert {p.name for p in home.glob(".*")} == {held.name, fresh.name}
        cache.clear()
        assert list(home.iterdir()) == [held]
    cache.clear()
    assert list(home.iterdir()) == []


def test_the_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME moves the cache; one that is not absolute means nothing."""
    with caching() as folder:
        assert cache.directory() == folder
    monkeypatch.setattr(sys, "platform", "linux")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.directory() == Path.home() / ".cache" / "charrnn"


def test_a_file_that_is_not_utf8_is_not_taken_for_cached_documents(home: Path, tmp_path: Path) -> None:
    """The hash parts documents with the byte 0xFF: a file with that byte in it is an error, whatever is cached."""
    parts = [b"one text, " * 30, b"and another " * 30]
    names = [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    for name, content in zip(names, [*parts, parts[0] + b"\xff" + parts[1]], strict=True):
        Path(name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "SMALL", 100)
        assert from_files(names[:2]).starts.tolist() == [0, len(parts[0])]
        with pytest.raises(TextError, match="0xFF"):
            from_files(names[2:])
