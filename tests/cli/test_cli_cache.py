"""`charrnn cache`, and runs on texts that are cached."""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path
from unittest import mock

import pytest
from helpers.commands import TEXT, TRAIN, Call, metrics

from charrnn.text import cache, sources


def test_entries_are_listed_and_removed(call: Call, home: Path) -> None:
    """The directory, a line an entry with size, last use and name, the newest first, and the total; --clear removes."""
    assert call("cache")[0] == f"directory: {home}\ntotal: 0 texts, 0.0 MB\n"
    assert not home.exists()
    call(*TRAIN, "--out=r")
    Path("ü\n.txt").write_text(TEXT * 900)
    call("train", "ü\n.txt", *TRAIN[2:], "--steps=0", "--out=s")
    small, large = sorted(cache.entries(), key=lambda entry: entry.size)
    os.utime(small.path, (time.mktime((2021, 2, 3, 4, 5, 6, 0, 0, -1)),) * 2)
    lines = call("cache")[0].splitlines()
    size = sum(path.stat().st_size for path in large.path.iterdir()) / 1e6
    assert lines[0] == f"directory: {home}"
    assert re.fullmatch(rf" +{size:.1f} MB  \d{{4}}-\d\d-\d\d \d\d:\d\d  ü\\n.txt", lines[1])
    assert lines[2] == "      0.0 MB  2021-02-03 04:05  t.txt"
    assert lines[3] == f"total: 2 texts, {size:.1f} MB"
    assert "ü\\n.txt" in call("cache", "--clear")[0]
    assert list(home.iterdir()) == []
    assert call("cache", "--clear")[0].endswith("removed: 0 texts, 0.0 MB\n")


def test_damaged_entries_are_listed_and_removed(call: Call, home: Path) -> None:
    """A damaged entry is listed as such and is removed with the others."""
    (home / ("0" * 64)).mkdir(parents=True)
    (home / ("0" * 64) / "ids.npy").write_bytes(b"x" * 2_000_000)
    assert call("cache")[0].splitlines()[1].split("  ")[-1] == "(damaged)"
    assert call("cache", "--clear")[0].splitlines()[-1] == "removed: 1 text, 2.0 MB"
    assert list(home.iterdir()) == []


def test_files_of_earlier_versions_are_counted_and_removed(call: Call, home: Path) -> None:
    """What earlier versions kept is a number in the last line, and --clear removes it."""
    home.mkdir(parents=True)
    (home / f"{'0' * 64}.ids").write_bytes(b"x" * 2_000_000)
    (home / "notes.txt").write_text("mine")
    assert call("cache")[0] == f"directory: {home}\ntotal: 0 texts, 0.0 MB, and 1 file of earlier versions\n"
    (home / f"{'0' * 64}.floors.json").write_bytes(b"{}")
    assert call("cache", "--clear")[0].endswith("removed: 0 texts, 0.0 MB, and 2 files of earlier versions\n")
    assert [path.name for path in home.iterdir()] == ["notes.txt"]


def test_errors_of_the_cache_are_one_line(call: Call, home: Path) -> None:
    """A cache that cannot be read or emptied, or not written by a run, is a line with status 2."""
    home.parent.mkdir()
    home.write_text("no directory")
    for words in (["cache"], ["cache", "--clear"]):
        error = call(*words, status=2)[1]
        assert f"charrnn: the cache directory {home} cannot be read (Not a directory): remove what is in" in error
    for words in (["train", "t.txt"], ["train", "-"]):
        assert "or set XDG_CACHE_HOME to another dir" in call(*words, "--out=r", stdin=TEXT, status=2)[1]
    assert not Path("r").exists()
    home.unlink()
    home.mkdir()
    (home / f"{0:064}.ids").mkdir()
    for name in (f"{1:064}", f"{2:064}.ids"):
        os.mkfifo(home / name)
    assert call("cache")[0].endswith("total: 0 texts, 0.0 MB\n")
    (home / f"{3:064}").mkdir()
    with mock.patch.object(Path, "rename", side_effect=OSError(errno.EBUSY, "busy", f"{3:064}")):
        assert f"{3:064} cannot be removed (busy)" in call("cache", "--clear", status=2)[1]


@pytest.mark.parametrize("source", ["t.txt", "-"])
def test_a_cached_text_trains_as_one_in_memory(
    call: Call, home: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run, its validation and its resume are the same from mapped ids; the text is encoded once."""
    call("train", source, *TRAIN[2:], "--out=mapped", "--stop-after=5", stdin=TEXT if source == "-" else "")
    with mock.patch.object(sources, "pieces", side_effect=AssertionError("encoded again")):
        call("train", "--resume", "--out=mapped")
        result = call("eval", "mapped")[0]
    monkeypatch.setattr(cache, "SMALL", 10**9)
    call(*TRAIN, "--out=memory")
    losses = [[m.get("loss", m.get("val_loss")) for m in metrics(Path(run))] for run in ("mapped", "memory")]
    assert losses[0] == losses[1]
    assert result == call("eval", "memory")[0].replace("memory", "mapped")
