"""The cache on the disk: whole entries or none, whatever else happens to it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from helpers.texts import TEXT, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn import files
from charrnn.errors import TextError
from charrnn.text import Corpus, cache, entry, from_files, from_text, sources

CHILD = """
import sys
from charrnn.text import cache, from_files, sources
cache.SMALL, sources.BLOCK = 100, 64
print("ready", flush=True)
sys.stdin.readline()
corpus = from_files([sys.argv[1]])
print(corpus.sha256, int(corpus.ids.sum()), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A text file."""
    (tmp_path / "t.txt").write_text(TEXT)
    return str(tmp_path / "t.txt")


def encodings() -> Any:
    """Counts how often a source is encoded."""
    return mock.patch.object(sources, "pieces", wraps=sources.pieces)


def test_small_texts_leave_the_cache_alone(home: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the threshold nothing is looked up and nothing is written; one byte more is cached."""
    monkeypatch.setattr(cache, "SMALL", len(TEXT.encode()))
    with mock.patch.object(cache, "directory", side_effect=AssertionError):
        check(from_files([file]), TEXT)
    monkeypatch.setattr(cache, "SMALL", len(TEXT.encode()) - 1)
    check(from_files([file]), TEXT)
    assert len(list(home.iterdir())) == 1


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_entry_is_made_again(home: Path, file: str, data: st.DataObject) -> None:
    """A byte changed anywhere, an end cut off or bytes added, and the entry is not trusted but replaced."""
    with encodings() as read:
        from_files([file])
        (path,) = home.iterdir()
        whole = path.read_bytes()
        damage = data.draw(st.sampled_from(["flip", "cut", "grow", "empty"]))
        content = bytearray(whole)
        if damage == "flip":
            content[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        content = {"cut": content[: data.draw(st.integers(1, len(whole) - 1))], "empty": b""}.get(damage, content)
        path.write_bytes(content + (b"x" if damage == "grow" else b""))
        before = read.call_count
        check(from_files([file]), TEXT)
        assert read.call_count == before + 1
    assert [path.read_bytes() for path in home.iterdir()] == [whole]


def test_every_byte_of_an_entry_is_checked(home: Path, file: str) -> None:
    """One bit changed, anywhere in ids, description or trailer, or the file cut short there: it is no entry."""
    sha256 = from_files([file]).sha256
    (path,) = home.iterdir()
    whole = path.read_bytes()
    for n in range(len(whole)):
        for content in (whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :], whole[:n]):
            path.write_bytes(content)
            assert entry.mapped(path, sha256, "t") is None
    path.write_bytes(whole)
    check(entry.mapped(path, sha256, "t"), TEXT)


def test_a_foreign_entry_is_not_taken(home: Path, file: str, tmp_path: Path) -> None:
    """A whole entry under another text's name is replaced; files that are no entries are left alone."""
    from_files([file])
    (path,) = home.iterdir()
    (tmp_path / "other.txt").write_text(TEXT[::-1])
    other = from_files([str(tmp_path / "other.txt")])
    (home / f"{other.sha256}.ids").write_bytes(path.read_bytes())
    (home / "notes.txt").write_text("mine")
    check(from_files([str(tmp_path / "other.txt")]), TEXT[::-1])
    check(from_files([file]), TEXT)
    cache.clear()
    assert [p.name for p in home.iterdir()] == ["notes.txt"]


def test_two_processes_make_the_same_entry(home: Path, file: str) -> None:
    """Two processes that encode a text at once both get it, and one entry is left."""
    command = [sys.executable, "-c", CHILD, file]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        children = (one, two)
        assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
        for child in children:
            child.stdin.write("\n")
        corpus = from_text(TEXT)
        assert {child.stdout.readline() for child in children} == {f"{corpus.sha256} {corpus.ids.sum()}\n"}
        assert entry.held(home / f"{corpus.sha256}.ids")
        for child in children:
            child.stdin.write("\n")
    assert [path.name for path in home.iterdir()] == [f"{corpus.sha256}.ids"]


def test_an_entry_that_appears_meanwhile_is_replaced(home: Path, file: str) -> None:
    """Whoever comes second puts its own entry in place; the first one's mapping stays what it was."""
    right, first = cache.put, []

    def late(*words: Any) -> Corpus:
        with mock.patch.object(cache, "put", right):
            first.append(from_files([file]))
        return right(*words)

    with mock.patch.object(cache, "put", late):
        check(from_files([file]), TEXT)
    check(first[0], TEXT)
    assert len(list(home.iterdir())) == 1


def test_an_entry_appears_whole(home: Path, file: str) -> None:
    """Under its name there is nothing until a temporary file beside it is whole; where the rename fails, nothing."""
    right = Path.replace

    def replace(temporary: Path, path: Path) -> Path:
        assert not path.exists()
        assert temporary in cache.left_over(cache.ENTRY)  # so that it is swept, should this process be killed
        assert entry.described(temporary).length == len(TEXT)
        return right(temporary, path)

    with mock.patch.object(Path, "replace", side_effect=OSError(errno.EIO, "broken")), pytest.raises(TextError):
        from_files([file])
    assert list(home.iterdir()) == []
    with mock.patch.object(Path, "replace", replace):
        check(from_files([file]), TEXT)


@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.5, 0.7, 0.97, 0.999])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_nothing(home: Path, file: str, part: float, number: int) -> None:
    """Where the disk is full, at whichever write, the error says what to do and no half entry is left."""
    with mock.patch.object(files, "write_whole", wraps=files.write_whole) as counted:
        from_files([file])
    cache.clear()
    right, writes = files.write_whole, iter(range(int(part * counted.call_count)))

    def write(stream: Any, data: memoryview) -> None:
        if next(writes, None) is None:
            stream.write(data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        right(stream, data)

    with mock.patch.object(files, "write_whole", write), pytest.raises(TextError) as caught:
        from_files([file])
    assert os.strerror(number) in str(caught.value)
    assert "charrnn cache --clear" in str(caught.value)
    assert str(home) in str(caught.value)
    assert caught.value.__suppress_context__
    assert list(home.iterdir()) == []
    check(from_files([file]), TEXT)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_limit_on_file_sizes_is_an_error(home: Path, file: str) -> None:
    """A real refusal of the system, in a real process: one line, status 2, nothing left."""
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700));"
        "from charrnn import cli; from charrnn.text import cache; cache.SMALL = 100; cli.main()"
    )
    command = [sys.executable, "-c", program, "train", file, "--out", str(home / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("charrnn: a text over 0 MB is kept in ")
    assert result.stderr.count("\n") == 1
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "readonly", "nowhere"])
def test_a_cache_that_cannot_be_written(
    place: str, home: Path, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache directory that cannot be made or written is an error with the remedy; small texts do not care."""
    if place == "file":
        (tmp_path / "home").write_text("")
    elif place == "readonly":
        if os.geteuid() == 0:
            refuse: Callable[..., None] = mock.Mock(side_effect=OSError(errno.EROFS, os.strerror(errno.EROFS)))
            monkeypatch.setattr("tempfile.TemporaryFile", refuse)
        home.mkdir(parents=True)
        home.chmod(0o500)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", mock.Mock(side_effect=RuntimeError))
    with pytest.raises(TextError, match="XDG_CACHE_HOME"):
        from_files([file])
    check(from_text(TEXT[:50]), TEXT[:50])


def test_an_entry_in_a_read_only_cache_is_used(home: Path, file: str) -> None:
    """A cache that can only be read still gives what it has."""
    from_files([file])
    with (
        mock.patch("os.utime", side_effect=PermissionError),
        mock.patch.object(sources, "pieces", side_effect=AssertionError),
    ):
        check(from_files([file]), TEXT)
