"""The cache on the disk: complete entries or none, its size, and what is removed from it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from helpers.commands import TINY, Call
from helpers.texts import TEXT, caching, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn import files
from charrnn.errors import TextError
from charrnn.text import Corpus, cache, from_files, from_text, sources

NAMES = ["ids.npy", "meta.json", "starts.npy"]
CHILD = """
import sys
from charrnn.text import cache, from_files, sources
cache.SMALL, sources.BLOCK = 100, 64
print("ready", flush=True)
sys.stdin.readline()
corpus = from_files([sys.argv[1]])
print(corpus.sha256, int(corpus.ids.sum()), flush=True)
sys.stdin.readline()
print(int(corpus.ids.sum()), flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A text file."""
    (tmp_path / "t.txt").write_text(TEXT)
    return str(tmp_path / "t.txt")


def encodings() -> Any:
    """Count how often a source is encoded."""
    return mock.patch.object(sources, "pieces", wraps=sources.pieces)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_small_texts_are_not_cached(home: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the threshold the cache is not read or written; a text of one byte more is cached."""
    monkeypatch.setattr(cache, "SMALL", len(TEXT.encode()))
    with mock.patch.object(cache, "directory", side_effect=AssertionError):
        check(from_files([file]), TEXT)
    monkeypatch.setattr(cache, "SMALL", len(TEXT.encode()) - 1)
    check(from_files([file]), TEXT)
    assert len(list(home.iterdir())) == 1


def test_an_entry_is_plain_files(home: Path, file: str) -> None:
    """The ids and the starts are .npy files, the rest is JSON."""
    corpus = from_files([file])
    (entry,) = home.iterdir()
    assert entry.name == corpus.sha256
    assert sorted(path.name for path in entry.iterdir()) == NAMES
    ids, starts = (np.load(entry / name) for name in ("ids.npy", "starts.npy"))
    assert (ids.tolist(), ids.dtype, starts.tolist(), starts.dtype) == (corpus.ids.tolist(), np.uint8, [0], np.int64)
    assert json.loads((entry / "meta.json").read_text()) == {
        "name": file,
        "size": len(TEXT.encode()),
        "length": len(TEXT),
        "documents": 1,
        "vocabulary": {"characters": corpus.vocabulary.characters, "counts": list(corpus.vocabulary.counts)},
    }


@pytest.mark.parametrize("damage", ["cut", "grow", "empty", "header", "missing"])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_entry_is_removed_and_made_again(home: Path, file: str, name: str, damage: str) -> None:
    """A file that is cut short, too long, empty, missing, or of another kind: the whole entry is replaced."""
    with encodings() as read:
        corpus = from_files([file])
        whole = contents(home)
        path = home / corpus.sha256 / name
        content = path.read_bytes()
        path.unlink()
        if damage != "missing":
            changed = {"cut": content[:-1], "grow": content + b"}", "empty": b"", "header": b"x" + content[1:]}
            path.write_bytes(changed[damage])
        assert cache.load(corpus.sha256, "t") is None
        assert list(home.iterdir()) == []
        path.parent.mkdir()
        (path.parent / "ids.npy").write_bytes(whole[f"{corpus.sha256}/ids.npy"])
        check(from_files([file]), TEXT)
        assert read.call_count == 2
    assert contents(home) == whole


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_the_meta_data(home: Path, file: str, data: st.DataObject) -> None:
    """With any byte of `meta.json` changed, an entry is the same text, or it is damaged; never an error."""
    corpus = from_files([file])
    path = home / corpus.sha256 / "meta.json"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    loaded = cache.load(corpus.sha256, "t")
    if loaded is not None:
        assert loaded.ids.tolist() == corpus.ids.tolist()
        shutil.rmtree(path.parent)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "meta",
    [
        [],
        {},
        {"length": "9"},
        {"length": -1},
        {"documents": 2},
        {"documents": "1"},
        {"vocabulary": None},
        {"vocabulary": {"characters": "ab", "counts": [1]}},
        {"vocabulary": {"characters": "".join(chr(n) for n in range(300)), "counts": [1] * 300}},
        {"more": 1},
    ],
)
def test_meta_data_that_do_not_fit(home: Path, file: str, meta: Any) -> None:
    """Meta data with other fields, types, sizes or another number of characters than the arrays are damaged."""
    corpus = from_files([file])
    path = home / corpus.sha256 / "meta.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | meta if meta else meta))
    assert cache.load(corpus.sha256, "t") is None
    assert list(home.iterdir()) == []


def test_content_that_is_no_text_is_damaged(home: Path, file: str) -> None:
    """A vocabulary that is not sorted, ids of no character and impossible document starts; then it is made again."""
    corpus = from_files([file])
    folder, largest = home / corpus.sha256, len(corpus.vocabulary)
    values = json.loads((folder / "meta.json").read_text())
    vocabulary = {key: values["vocabulary"][key][::-1] for key in ("characters", "counts")}
    ids = corpus.ids.copy()
    ids[7] = largest
    damaged = {
        "meta.json": [json.dumps(values | {"vocabulary": vocabulary}).encode(), b"[" * 100_000],
        "ids.npy": [cache.npy_header(ids.dtype, len(ids)) + ids.tobytes()],
        "starts.npy": [cache.npy_header(cache.START, 1) + np.array([n], cache.START).tobytes() for n in (1, -1, 10**6)],
    }
    for name, contents_of_file in damaged.items():
        for content in contents_of_file:
            (folder / name).write_bytes(content)
            assert cache.load(corpus.sha256, "t") is None
            assert list(home.iterdir()) == []
            check(from_files([file]), TEXT)


def test_an_array_of_another_type_is_damaged(home: Path, file: str) -> None:
    """Ids of another type or byte order are not mapped."""
    corpus = from_files([file])
    path = home / corpus.sha256 / "starts.npy"
    for dtype in (">i8", "<f8", "<i4"):
        np.save(path, np.zeros(1, dtype))
        with pytest.raises(ValueError, match="is damaged"):
            cache.map_array(path, cache.START, 1)
    np.save(path, np.zeros(1, np.int64))
    assert cache.map_array(path, cache.START, 1).tolist() == [0]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOMEM, "bytes of address space, more than this process may have): raise the limit (ulimit -v)"),
        (errno.ENODEV, f"({os.strerror(errno.ENODEV)}): set XDG_CACHE_HOME to a directory on another file system"),
    ],
)
def test_an_entry_that_cannot_be_mapped(call: Call, home: Path, number: int, words: str) -> None:
    """The error says why and what to do, each time; the entry is kept, and used when it can be mapped."""
    command = ["train", "t.txt", *TINY, "--steps=1", "--out=r"]
    with mock.patch("mmap.mmap", side_effect=OSError(number, os.strerror(number))):
        for _ in range(2):
            error = call(*command, status=2)[1]
            assert words in error
            assert "cannot be mapped" in error
    (entry,) = home.iterdir()
    if number == errno.ENOMEM:
        assert f"it takes {(entry / 'ids.npy').stat().st_size:,} bytes" in error
    before = (entry / "ids.npy").stat().st_ino
    call(*command)
    assert (entry / "ids.npy").stat().st_ino == before


def test_two_processes_make_the_same_entry(home: Path, file: str) -> None:
    """Two processes that encode a text at once both get it, also after its removal, and one entry remains."""
    command = [sys.executable, "-c", CHILD, file]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        children = (one, two)
        assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
        for child in children:
            child.stdin.write("\n")
        corpus = from_text(TEXT)
        assert {child.stdout.readline() for child in children} == {f"{corpus.sha256} {corpus.ids.sum()}\n"}
        assert [path.name for path in home.iterdir()] == [corpus.sha256]
        if os.name == "posix":
            cache.clear()
            check(corpus, TEXT)
        for child in children:
            child.stdin.write("\n")
        assert {child.stdout.readline() for child in children} == {f"{corpus.ids.sum()}\n"}


def test_an_entry_that_another_process_saves_meanwhile(home: Path, file: str) -> None:
    """The second of two processes uses the entry of the first."""
    right, first = cache.save, []

    def late(*words: Any) -> Corpus:
        with mock.patch.object(cache, "save", right):
            first.append(from_files([file]))
        return right(*words)

    with mock.patch.object(cache, "save", late):
        check(from_files([file]), TEXT)
    check(first[0], TEXT)
    assert len(list(home.iterdir())) == 1


def test_an_entry_appears_complete(home: Path, file: str) -> None:
    """Until the temporary folder is complete there is nothing under the entry's name; nothing remains on an error."""
    right, renamed = Path.rename, []

    def rename(temporary: Path, path: Path) -> Path:
        assert not path.exists()
        assert files.TEMPORARY.fullmatch(temporary.name)  # so that it is removed should this process be killed
        assert sorted(file.name for file in temporary.iterdir()) == NAMES
        renamed.append(path)
        return right(temporary, path)

    with mock.patch.object(Path, "rename", side_effect=OSError(errno.EIO, "broken")), pytest.raises(TextError):
        from_files([file])
    assert list(home.iterdir()) == []
    with mock.patch.object(Path, "rename", rename):
        check(from_files([file]), TEXT)
    assert renamed == list(home.iterdir())


@pytest.mark.parametrize("part", [0, 0.02, 0.3, 0.5, 0.7, 0.97, 0.999])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_nothing(home: Path, file: str, part: float, number: int) -> None:
    """If the disk is full, at any write, the error says what to do and no part of an entry remains."""
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
    """A real refusal of the system, in a real process: one line, status 2, nothing remains."""
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
    """A cache directory that cannot be made or written is an error with the remedy; small texts do not need it."""
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


def test_an_entry_that_cannot_be_read(home: Path, file: str) -> None:
    """An entry that the system refuses to read is an error that names it, and is not removed."""
    sha256 = from_files([file]).sha256
    with (
        mock.patch.object(Path, "open", side_effect=PermissionError(errno.EACCES, "Permission denied")),
        pytest.raises(TextError, match=rf"{sha256} cannot be read \(Permission denied\): remove this directory"),
    ):
        cache.load(sha256, "t")
    check(cache.load(sha256, "t"), TEXT)


def test_an_entry_in_a_read_only_cache_is_used(home: Path, file: str) -> None:
    """The entries of a cache that can only be read are used."""
    from_files([file])
    with (
        mock.patch("os.utime", side_effect=PermissionError),
        mock.patch.object(sources, "pieces", side_effect=AssertionError),
    ):
        check(from_files([file]), TEXT)


def test_the_entries_used_longest_ago_are_removed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, entries are removed in the order of their last use, but never a new one."""
    names, paths = [], []
    for n in range(4):
        names.append(str(tmp_path / f"{n}.txt"))
        Path(names[n]).write_text(TEXT + str(n))
        paths.append(home / from_files([names[n]]).sha256)
        os.utime(paths[n], (n, n))
    first = from_files([names[0]])  # now it is the one used last
    second = from_files([names[1]])
    os.utime(paths[1], (1, 1))
    size = max(entry.size for entry in cache.entries())
    monkeypatch.setattr(cache, "LIMIT", 3 * size)
    new = home / from_text(TEXT + "new").sha256
    assert set(home.iterdir()) == {paths[0], paths[3], new}
    check(first, TEXT + "0")
    if os.name == "posix":
        check(second, TEXT + "1")  # it is mapped, and stays what it was
    monkeypatch.setattr(cache, "LIMIT", 0)
    newer = from_text(TEXT + "newer")
    assert list(home.iterdir()) == [home / newer.sha256]


def test_an_entry_that_cannot_be_removed_stays_complete(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a mapped entry cannot be renamed: it stays as it is, and the new entry is used."""
    first = from_text(TEXT)
    before = contents(home)
    monkeypatch.setattr(cache, "LIMIT", 0)
    right = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == first.sha256:
            raise PermissionError
        return right(path, target)

    with mock.patch.object(Path, "rename", rename):
        check(from_text(TEXT + "x"), TEXT + "x")
    assert before.items() <= contents(home).items()
    assert len(cache.entries()) == 2


def test_what_killed_processes_left_is_removed(home: Path) -> None:
    """A temporary folder is removed after the next write, unless a process has just written to it."""
    old, growing, fresh = (home / f".{digit * 64}.0123abcd.tmp" for digit in "012")
    for path in (old, growing, fresh):
        path.mkdir(parents=True)
        (path / "ids.npy").write_bytes(b"half")
    os.utime(old / "ids.npy", (1, 1))
    for path in (old, growing):
        os.utime(path, (1, 1))
    from_text(TEXT)
    assert set(home.glob(".*")) == {growing, fresh}
    for path in (fresh, fresh / "ids.npy"):
        os.utime(path, (time.time() - cache.STALE_IF_CLEARED - 1,) * 2)
    growing.touch()
    cache.clear()
    assert list(home.iterdir()) == [growing]


def test_clear_removes_what_is_the_caches(home: Path, file: str) -> None:
    """Entries and the files of earlier versions are removed; other files stay."""
    sha256 = from_files([file]).sha256
    old = [f"{'0' * 64}.ids", f"{'1' * 64}.floors.json", f"{'2' * 64}.baselines.json", f".{'3' * 64}.ids.0123abcd.tmp"]
    others = ["notes.txt", "a.ids", f"{'4' * 64}.txt"]
    for name in (*old, *others):
        (home / name).write_bytes(b"")
    entries, files_of_earlier_versions = cache.clear()
    assert [entry.path.name for entry in entries] == [sha256]
    assert sorted(path.name for path in files_of_earlier_versions) == sorted(old)
    assert sorted(path.name for path in home.iterdir()) == sorted(others)


def test_the_directory_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME moves the cache if it is an absolute path."""
    with caching() as folder:
        assert cache.directory() == folder
    monkeypatch.setattr(sys, "platform", "linux")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.directory() == Path.home() / ".cache" / "charrnn"


def test_a_file_that_is_not_utf8_is_not_taken_for_cached_documents(home: Path, tmp_path: Path) -> None:
    """The hash separates documents by the byte 0xFF: a file with that byte is an error, also beside its documents."""
    parts = [b"one text, " * 30, b"and another " * 30]
    names = [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    for name, content in zip(names, [*parts, parts[0] + b"\xff" + parts[1]], strict=True):
        Path(name).write_bytes(content)
    assert from_files(names[:2]).starts.tolist() == [0, len(parts[0])]
    with pytest.raises(TextError, match="0xFF"):
        from_files(names[2:])
