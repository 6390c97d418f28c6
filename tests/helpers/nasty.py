"""Nasty command lines and files, drawn by a `Random`: Hypothesis's own in the suite, one with a seed in `fuzz.py`."""

from __future__ import annotations

import io
import math
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from signal import ITIMER_PROF, ITIMER_REAL, SIGALRM, SIGPROF, setitimer, signal
from typing import BinaryIO, NoReturn
from unittest import mock

import click
from helpers.commands import TEXT

import charrnn
from charrnn import cli, config

NUMBERS = [
    *("nan", "inf", "-inf", "-1", "0", "-0.0", "1", "2", "0.5", "1e-320", "1e308", "1e999", str(2**63), str(10**30)),
    *("9" * 5000, "\u0663", "1_0", " 1", "0x10", "", "x"),
]
WORDS = ["", "\udcff", "a\nb", "\x1b[31m\x9b", "\u202e", "e\u0301", "%s{0}", "\\", "\\u12", "~", "--", "x" * 300]
PATHS = [
    *("r", "r/checkpoints", "r/checkpoints/step-00000004.safetensors", "t.txt", "garbage", "garbage.toml", "empty"),
    *(
        "garbage.gz",
        "folder",
        "loop",
        "pipe",
        "pipe.gz",
        ".",
        "folder/..",
        "-",
        "",
        "missing",
        "a\nb\x1b.txt",
        "\udcff",
        "[",
    ),
    *("**", "/dev/null", "/dev/zero", "folder/**/*.txt", "x" * 300, "t.txt/x"),
]
OUT = ["out/r", "out/a\nb\x1b", "t.txt", "t.txt/r", ".", "", "\udcff", "/dev/null", "x" * 300]
WRITE = ["out/w.toml", ".", "", "missing/w.toml", "\udcff"]
TOML = [
    *("nan", "-inf", "-1", "0", "1", "0.5", "1e308", "1e999", str(2**63), str(10**30), "0x10", "true", "''", "'rnn'"),
    *("'cuda:9'", '"\\u0000\\n"', "'''\n'''", "[]", "['t.txt']", "[1]", "[[]]", "{}", "{a.b = 1}", "1979-05-27", "a"),
]
SMALL = ["train.shards=1", "log.eval_every=0", "model.hidden_size=4", "train.seq_length=8", "train.batch_size=2"]
BASE = [*(f"--set={word}" for word in SMALL), "--device=cpu"]
MOST = {"--length": 1000, "--count": 100, "--steps": 20, "--layers": 4, "--seconds": 0, "--minutes": 0}
MOST |= {"model.hidden_size": 64, "model.num_layers": 4, "train.steps": 20, "log.sample_length": 100}
"""What more would be honest work, and none of it is drawn unless it is out of all bounds."""
UNBOUNDED = ("--length",)
USUAL = {"run": "r", "words": "r", "file": "t.txt", "files": "t.txt", "--file": "t.txt", "--prompt-file": "empty"}
USUAL |= {"--checkpoint": "last", "--device": "cpu", "--encoding": "latin-1", "--prompt": "she", "--init-from": "r"}
"""What most values are, so that commands come as far as to the others."""


SECONDS, PATIENCE = 5.0, 120.0
"""What a command may take of the processor, whoever else does, and how long it may wait, before it counts as hung."""


class HungError(BaseException):
    """What was tried does not end; nothing on the way takes this for an error of its own."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise `HungError` in what takes longer than a command may."""

    def end(number: int, _: object) -> NoReturn:
        raise HungError(f"over {SECONDS} s of processor time" if number == SIGPROF else f"over {PATIENCE} s")

    timers = {ITIMER_PROF: (SIGPROF, SECONDS), ITIMER_REAL: (SIGALRM, PATIENCE)}
    before = {number: signal(number, end) for number, _ in timers.values()}
    try:
        for timer, (_, seconds) in timers.items():
            setitimer(timer, seconds)
        yield
    finally:
        for timer in timers:
            setitimer(timer, 0)
        for number, handler in before.items():
            signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: bytes
    err: str


def world(folder: Path) -> None:
    """Make a run and whatever else `PATHS` names in `folder`, which is the current directory."""
    (folder / "t.txt").write_text(TEXT)
    (folder / "a\nb\x1b.txt").write_text(TEXT)
    (folder / "folder" / "below").mkdir(parents=True)
    (folder / "folder" / "t.txt").write_text(TEXT)
    (folder / "empty").touch()
    for name in ("garbage", "garbage.toml", "garbage.gz"):
        (folder / name).write_bytes(b"\x1f\x8b\0[model]\xff\r\n")
    for place in ("pipe", "pipe.gz", "folder/pipe"):
        os.mkfifo(folder / place)
    for place, target in (("loop", "loop"), ("folder/up", ".."), ("folder/here", "."), ("folder/zero", "/dev/zero")):
        (folder / place).symlink_to(target)
    keys = {"model.hidden_size": 4, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 4}
    keys |= {"train.device": "cpu", "log.eval_every": 2}
    charrnn.train(files=["t.txt"], settings=keys, out=folder / "r")


def outcome(words: list[str], stdin: bytes | BinaryIO = b"") -> Outcome:
    """Run a command in this process. Whatever it raises but its exit is raised here, and that it does not end."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    given = io.TextIOWrapper(io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin)
    status = None
    with in_time(), mock.patch.multiple(sys, argv=["charrnn", *words], stdin=given, stdout=out, stderr=err):
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        for stream in {sys.stdout, sys.stderr} - {out, err}:  # what took the place of one that failed
            stream.close()
    given.detach()
    assert isinstance(status, int)
    return Outcome(status, out.buffer.getvalue(), err.buffer.getvalue().decode())


def check(found: Outcome) -> None:
    """The promise about every command: a documented status, and an error is one line, the last, that drives nothing."""
    assert found.status in (0, 1, 2, 3)
    lines = found.err.splitlines()
    errors = [line for line in lines if line.startswith("charrnn: ")]
    assert errors == (lines[-1:] if found.status in (2, 3) else [])
    assert "Traceback" not in found.err
    assert "Warning" not in found.err
    assert all(unicodedata.category(c) != "Cc" or c == "\n" for c in found.err)


def tree(folder: Path, *, beside: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Everything below `folder` as it is now, but for what is at `beside`: kind, size and last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] not in beside:
            status = path.lstat()
            times = () if path.is_dir() else (status.st_size, status.st_mtime_ns)
            found[str(path)] = (status.st_mode, status.st_ino, *times)
    return found


def number(word: str) -> float:
    """The number that a word is, as Python and TOML read it; NaN if it is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan


def drawn(random: Random, words: list[str], name: str = "") -> str:
    """One of `words` that is no honest work for `name`."""
    most, bound = MOST.get(name, math.inf), math.inf if name in UNBOUNDED else 2**63
    return random.choice([word for word in words if not most < number(word) < bound])


def setting(random: Random) -> str:
    """A word for `--set`."""
    key = random.choice([*config.files.FIELDS, "model", "x.y", ""])
    return f"{key}={drawn(random, [*TOML, *WORDS], key)}" if random.random() < 0.95 else key


def value(random: Random, parameter: click.Parameter) -> str:
    """A value of an option or argument, by its declared type as by its name."""
    name, kind = parameter.opts[0], parameter.type
    if name in USUAL and random.random() < 0.7:
        return USUAL[name]
    if name in ("--out", "--write", "--set"):
        return {"--out": random.choice(OUT), "--write": random.choice(WRITE), "--set": setting(random)}[name]
    if isinstance(kind, click.Choice):
        return random.choice([*kind.choices, *kind.choices, *WORDS])
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        return drawn(random, NUMBERS, name)
    if isinstance(kind, click.Path) or isinstance(parameter, click.Argument) or "FILE" in (parameter.metavar or ""):
        return random.choice(PATHS)
    return random.choice([*WORDS, *NUMBERS, *PATHS])


def command_line(random: Random) -> list[str]:
    """A command with options and arguments, from its own declarations."""
    command = cli.charrnn.commands[random.choice(sorted(cli.charrnn.commands))]
    options = {"train": [*BASE, "--steps=1"], "tune": [*BASE, "--seconds=0.001"]}.get(str(command.name), [])
    arguments: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            count = random.choice([0, 1, 1, 2]) if parameter.nargs < 0 else int(random.random() < 0.95)
            arguments += [value(random, parameter) for _ in range(count)]
        elif random.random() < 0.12:
            flag = getattr(parameter, "is_flag", False)
            options.append(parameter.opts[0] if flag else f"{parameter.opts[0]}={value(random, parameter)}")
    return [str(command.name), *options, *(["--"] if random.random() < 0.5 else []), *arguments]


def bytes_of(random: Random, most: int = 400) -> bytes:
    """Random bytes, of few kinds or of all."""
    kinds = random.choice([bytes(range(256)), b"\0\xff", b"[]{}=.'\"#\n a1", b"a\r\n\xc3\xa9\xe2\x82\xac"])
    return bytes(random.choice(kinds) for _ in range(random.randrange(most)))


def damaged(random: Random, whole: bytes) -> bytes:
    """`whole` cut short, with bytes changed, put in or left out; or something else in its place."""
    kind = random.choice(["cut", "change", "head", "insert", "remove", "other"])
    first = random.randrange(len(whole))
    last = min(len(whole), first + random.choice([1, 8, 1000]))
    if kind == "other":
        return bytes_of(random)
    if kind in ("change", "head"):
        first, last = (first, last) if kind == "change" else (0, random.choice([1, 8]))
        return whole[:first] + random.randbytes(last - first) + whole[last:]
    return {
        "cut": whole[:first],
        "insert": whole[:first] + bytes_of(random) + whole[first:],
        "remove": whole[:first] + whole[last:],
    }[kind]


def toml(random: Random) -> bytes:
    """A configuration: keys of the schema, and others, with values of any kind."""
    lines = []
    for _ in range(random.randrange(6)):
        section, _, key = random.choice([*config.files.FIELDS, "x.y"]).partition(".")
        lines += [f"[{section}]"] * (random.random() < 0.9)
        lines.append(f"{key} = {drawn(random, TOML, f'{section}.{key}')}")
    return "\n".join(lines).encode()
