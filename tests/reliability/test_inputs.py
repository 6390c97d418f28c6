"""Hostile texts, prompts and numbers end with a documented status and one line, and write no stray file."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers.commands import TEXT, TINY, Call
from helpers.hostile_inputs import check, outcome, tree

import charrnn
from charrnn import backend, cli, config
from charrnn.cli import inputs
from charrnn.errors import TextError
from charrnn.text import blocks, build, cache, from_files, sources

QUICK = [*TINY, "--steps=2", "--threads=1", "--set=log.eval_chars=99", "--set=log.sample_length=9"]
FEW = "characters are too few to learn from; at least 2 are needed"
ALL = "".join(chr(n) for n in range(0x100, 0x100 + 60_000 + 0x800) if not 0xD800 <= n < 0xE000)

TEXTS = {
    "empty": (b"", f"text: 0 {FEW}"),
    "one character": ("é".encode(), f"text: 1 {FEW}"),
    "one character twice": (b"aa", ""),
    "one repeated character": (b"a" * 300, ""),
    "only newlines": (b"\n" * 300, ""),
    "NUL bytes": (b"a\0b\0\0" * 60, "text: it has NUL characters as utf-8; remove them, or if they"),
    "CRLF": (b"one\r\ntwo\r" * 30, ""),
    "right to left, and combining": ("שלום עולם العربية e\u0301 a\u0308\u0323 \u200f\u202e\n".encode() * 9, ""),
    "beyond the basic plane": ("👩\u200d🚀🏽 \U0010ffff\n".encode() * 30, ""),
    "60,000 distinct characters": (ALL.encode(), ""),
    "control characters": (bytes(range(1, 128)) * 4, "text: it has many control characters as utf-8; remove them, or"),
    "some control characters": (b"a" * 180 + bytes(range(1, 128)), ""),
    "a surrogate in UTF-8": (b"ab\xed\xa0\x80", "text: byte 2 (0xED) is not utf-8; if you know the encoding"),
    "half a character": (b"ab\xf0\x9f\x98", "text: byte 2 (0xF0) is not utf-8; if you know the encoding"),
    "UTF-16": ("ab".encode("utf-16"), "(0xFF) is not utf-8; it is probably utf-16: add --encoding utf-16"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "error"), TEXTS.values(), ids=list(TEXTS))
def test_every_kind_of_text(call: Call, tmp_path: Path, content: bytes, error: str) -> None:
    """A text of any kind is learned, sampled and scored in its own characters, or refused in one line."""
    (tmp_path / "text").write_bytes(content)
    before = tree(tmp_path)
    if error:
        assert error in call("train", "text", *QUICK, "--out=run", status=2)[1]
        assert tree(tmp_path) == before
        return
    call("train", "text", *QUICK, "--out=run")
    assert tree(tmp_path, ignore=("run",)) == before
    characters = set(content.decode())
    assert set(charrnn.load("run", device="cpu").vocabulary.characters) == characters
    assert set(call("sample", "run", "--length=50", "--seed=1")[0].removesuffix("\n")) <= characters
    (tmp_path / "part").write_text(content.decode()[:40], newline="")
    scored = [json.loads(line.partition("\t")[2]) for line in call("score", "run", "part")[0].splitlines()]
    assert "".join(scored) == content.decode()[:40]


def test_one_long_line(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line of 100 MB is trained on, and the cache has each of its characters."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    block, count = b"abcdefgh" * 1024, 100 * 128
    with (tmp_path / "line").open("wb") as stream:
        stream.writelines([block] * count)
    call("train", "line", *QUICK, "--set=log.baselines=false", "--out=run")
    (made,) = (tmp_path / "home" / "charrnn").iterdir()
    corpus = cache.load(made.name, "line")
    assert corpus is not None
    assert (len(corpus.ids), corpus.vocabulary.counts) == (8192 * count, (1024 * count,) * 8)
    assert corpus.ids[-9:].tolist() == [7, *range(8)]
    assert charrnn.load("run", device="cpu").sha256 == made.name


@pytest.mark.parametrize("words", [["train", "-"], ["score", "r", "-"], ["eval", "r", "-"], ["compare", "r", "-"]])
def test_bytes_that_are_no_text(trained: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """Every command that reads a text names the byte that cannot be decoded, and the encoding to try."""
    monkeypatch.chdir(trained)
    before = tree(trained)
    found = outcome(words, stdin=b"she \xff")
    check(found)
    assert found.status == 2
    assert ": byte 4 (0xFF) is not utf-8; if you know the encoding of the text, add --encoding NAME" in found.err
    assert tree(trained) == before


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["sample", "R", "--prompt=a\udcff"], "character 1 of the text is the lone surrogate '\\udcff'"),
        (["sample", "R", "--prompt=\udcff", "--unknown=skip"], "is the lone surrogate"),
        (["sample", "R", "--stop=\udcff", "--length=9"], ""),
        (["sample", "R\udcff"], "there is no run directory or checkpoint"),
        (["sample", "R", "--checkpoint=\udcff"], "--checkpoint must be best, last or a step, not '\\udcff'"),
        (["sample", "R", "--prompt-file=\udcff"], "\\udcff: there is no such file"),
        (["eval", "R", "\udcff"], "\\udcff: there is no such file"),
        (["train", "\udcff"], "this path is not valid Unicode"),
        (["train", "t.txt", "--out=\udcff"], "this path is not valid Unicode"),
        (["train", "t.txt", "--config=\udcff"], "no such file or preset"),
        (["train", "t.txt", "--set=\udcff"], "--set \\udcff: write it as section.key=value"),
        (["train", "--set=data.files=['\udcff']"], "this path is not valid Unicode"),
        (["train", "t.txt", "--encoding=\udcff"], "there is no text encoding '\\udcff'"),
        (["train", "t.txt", "--document-separator=\udcff"], "data.document_separator must be valid Unicode"),
        (["train", "t.txt", "--init-from=\udcff"], "must be valid Unicode"),
        (["tune", "t.txt", "--write=\udcff/x"], "cannot write \\udcff/x"),
        (["\udcff"], "No such command"),
    ],
)
def test_bytes_in_arguments_that_are_no_text(call: Call, trained: Path, words: list[str], error: str) -> None:
    """A lone surrogate, which Python makes of such a byte, is an error of one line in every argument."""
    before = tree(Path.cwd())
    words = [word.replace("R", str(trained / "r")) if word[0] == "R" else word for word in words]
    assert error in call(*words, status=2 if error else 0)[1]
    assert tree(Path.cwd()) == before


def test_bytes_in_arguments_of_a_process(trained: Path) -> None:
    """The same holds for a process, whose arguments are bytes."""
    words = [b"sample", b"r", b"--device=cpu", b"--seed=1", b"--prompt=she\xff\xfe"]
    result = subprocess.run(
        [sys.executable, "-m", "charrnn", *words], cwd=trained, capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 2)
    assert b"\ncharrnn: character 3 of the text is the lone surrogate '\\udcff': " in result.stderr


def numeric() -> list[tuple[str, str]]:
    """Return every command with each of its options that takes a number."""
    kinds = (click.types.IntParamType, click.types.FloatParamType)
    pairs = [(name, option) for name, command in cli.charrnn.commands.items() for option in command.params]
    return [(name, option.opts[0]) for name, option in pairs if isinstance(option.type, kinds)]


@pytest.mark.parametrize(("command", "option"), numeric())
def test_options_that_are_no_number(trained: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str) -> None:
    """Every option that takes a number refuses NaN, infinity, numbers above a float, and other words."""
    monkeypatch.chdir(trained)
    words = {"train": ["t.txt"], "tune": ["t.txt"], "gradcheck": ["--layers=1"]}.get(command, ["r"])
    words += ["--dynamic"] if option == "--dynamic-rate" else []
    before = tree(trained)
    for value in ("nan", "inf", "-inf", "1e999", "-1", "x", ""):
        found = outcome([command, *words, f"{option}={value}"])
        check(found)
        # A tolerance that nothing is within ends as a check that failed.
        assert found.status == 2 or (option == "--tolerance" and found.status == (value not in ("inf", "1e999"))), value
        assert option in found.err or found.status != 2
    assert tree(trained) == before


NUMBERS = [dotted for dotted, spec in config.files.FIELDS.items() if type(spec.default) in (int, float)]


@pytest.mark.parametrize("dotted", NUMBERS)
def test_keys_that_are_no_number(dotted: str, tmp_path: Path) -> None:
    """Every key that takes a number refuses NaN, infinity and numbers out of bounds, by --set and in a file."""
    section, _, key = dotted.partition(".")
    for value in ("nan", "inf", "-inf", "1e999", str(-(10**30)), "'1'", "[1]", "true", "9" * 5000, "a.b", ""):
        found = outcome(["train", "--out", str(tmp_path / "r"), "--set", f"{dotted}={value}"])
        check(found)
        assert (found.status, found.err[:15]) == (2, "charrnn: --set ")
        (tmp_path / "c.toml").write_text(f"[{section}]\n{key} = {value}\n")
        found = outcome(["train", "--out", str(tmp_path / "r"), "--config", str(tmp_path / "c.toml")])
        check(found)
        assert found.status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


def test_more_digits_than_python_reads(call: Call, trained: Path) -> None:
    """A number with thousands of digits is out of range, also as a step or a size."""
    error = call("sample", trained / "r", "--checkpoint", "9" * 5000, status=2)[1]
    assert error.startswith(f"charrnn: {trained / 'r'} has no checkpoint of step 999")
    error = call("train", "t.txt", f"--gpu-memory-limit={'9' * 400}GB", status=2)[1]
    assert error.startswith("charrnn: --gpu-memory-limit: train.gpu_memory_limit must be empty, or a size")
    assert call("sample", trained / "r", "--seed", "9" * 4000, "--length=0")[0] == "\n"


class Endless(io.RawIOBase):
    """A pipe that never ends, and counts the bytes that are read from it."""

    taken = 0

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer."""
        buffer[:] = b"s" * len(buffer)
        self.taken += len(buffer)
        return len(buffer)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["sample", "r", "--prompt-file=-"], "the text is longer than 500,000 characters: use only its end"),
        (["eval", "r", "-"], "the text is longer than 250,000 characters: use only a part of it"),
        (["score", "r", "-"], "the text is longer than 250,000 characters: use only a part of it"),
        (["compare", "r", "-"], "the text is longer than 250,000 characters: use only a part of it"),
    ],
)
def test_texts_without_end(monkeypatch: pytest.MonkeyPatch, trained: Path, words: list[str], error: str) -> None:
    """A prompt or text without an end is read up to a limit, and the error says what to do."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr(inputs, "LONGEST_PROMPT", 500_000)
    monkeypatch.setattr(backend, "total_ram", lambda: 4_000_000)
    pipe = Endless()
    found = outcome(words, io.BufferedReader(pipe))
    check(found)
    assert (found.status, found.out) == (2, b"")
    assert found.err.endswith(f"charrnn: -: {error}\n")
    assert pipe.taken < 500_000 + 3 * sources.BLOCK


def test_texts_up_to_the_bound_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A text with as many characters as the limit is read, and the limits are the documented ones."""
    (tmp_path / "t").write_text("é" * 300_000)
    assert len(inputs.read_text(str(tmp_path / "t"), "utf-8", 300_000)) == 300_000
    with pytest.raises(TextError, match="longer than 299,999 characters"):
        inputs.read_text(str(tmp_path / "t"), "utf-8", 299_999)
    assert inputs.LONGEST_PROMPT == 2**24
    assert (backend.total_ram() or 0) >= 2**27


def test_a_file_that_shrinks(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is cut after its size was read, or between two blocks, is read as the rest of it."""
    path, text = tmp_path / "t.txt", TEXT * 100
    path.write_text(text)
    from_files([str(path)])  # so that the cache has a text of this size, and the next hashes first
    reading = blocks(str(path), "utf-8")
    first = next(reading)
    os.truncate(path, 100)
    read = first + "".join(reading)
    assert text.startswith(read)
    assert len(first) <= len(read) < len(text)
    path.write_text(text)
    hash_files = build.hash_files
    with monkeypatch.context() as patch:
        patch.setattr(build, "hash_files", lambda *words: (hash_files(*words), os.truncate(path, 150))[0][::-1])
        corpus = from_files([str(path)])
    assert corpus.vocabulary.decode(corpus.ids) == TEXT[:150]
    path.write_bytes(b"x" * 150)
    monkeypatch.setattr(sources, "size_of", lambda _: (os.truncate(path, 1), 150)[1])
    with pytest.raises(TextError, match=f"1 {FEW}"):
        from_files([str(path)])
