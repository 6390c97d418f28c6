"""Draw hostile command lines and files, run commands on them, and check what every command promises.

Everything is drawn from a `Random`: the suite passes one that Hypothesis drives, `tests/fuzz.py` one with a seed.
"""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
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
    *("garbage.gz", "folder", "loop", "pipe", "pipe.gz", ".", "folder/..", "-", "", "missing", "a\nb\x1b.txt"),
    *("\udcff", "[", "**", "/dev/null", "/dev/zero", "folder/**/*.txt", "x" * 300, "t.txt/x"),
]
OUT = ["out/r", "out/a\nb\x1b", "t.txt", "t.txt/r", ".", "", "\udcff", "/dev/null", "x" * 300]
WRITE = ["out/w.toml", "w.toml", ".", "", "missing/w.toml", "\udcff"]
TOML = [
    *("nan", "-inf", "-1", "0", "1", "0.5", "1e308", "1e999", str(2**63), str(10**30), "0x10", "true", "''", "'rnn'"),
    *("'cuda:9'", '"\\u0000\\n"', "'''\n'''", "[]", "['t.txt']", "[1]", "[[]]", "{}", "{a.b = 1}", "1979-05-27", "a"),
]
SMALL = ["train.shards=1", "log.eval_every=0", "model.hidden_size=4", "train.seq_length=8", "train.batch_size=2"]
BASE = [*(f"--set={word}" for word in SMALL), "--device=cpu"]

MOST = {"--length": 1000, "--count": 100, "--steps": 20, "--layers": 4, "--seconds": 0, "--minutes": 0}
MOST |= {"model.hidden_size": 64, "model.num_layers": 4, "train.steps": 20, "log.sample_length": 100}
"""Larger numbers than these would be honest, long work. They are not drawn, unless they are out of all bounds."""
UNBOUNDED = ("--length",)
USUAL = {
    "run": "r",
    "runs": "r",
    "words": "r",
    "file": "t.txt",
    "files": "t.txt",
    "--file": "t.txt",
    "--prompt-file": "empty",
}
USUAL |= {"--checkpoint": "last", "--device": "cpu", "--encoding": "latin-1", "--prompt": "she", "--init-from": "r"}
"""Valid values, which are drawn most often, so that commands get past them to the other options."""

WRITING = ("--out", "--write", "--output")
"""The options that name what a command writes."""
DEFAULT_OUT = ("runs", "report.html")
"""Where `charrnn train` writes without `--out`, and `charrnn report` without `--output`."""

CPU_SECONDS, WALL_SECONDS = 5.0, 120.0
"""A command hangs if it uses more processor time than the first, or takes longer than the second."""


class HungError(BaseException):
    """A command does not end. It is no `Exception`, so no code under test handles it."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise `HungError` in a block that takes longer than a command may. Only the main thread can have a limit."""
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return

    def end(number: int, _: object) -> NoReturn:
        what = f"{CPU_SECONDS} s of processor time" if number == signal.SIGPROF else f"{WALL_SECONDS} s"
        raise HungError(f"over {what}")

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, CPU_SECONDS), signal.ITIMER_REAL: (signal.SIGALRM, WALL_SECONDS)}
    before = {number: signal.signal(number, end) for number, _ in timers.values()}
    try:
        for timer, (_, seconds) in timers.items():
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: bytes
    err: str


def make_world(folder: Path) -> None:
    """Make a run and everything else that `PATHS` names in `folder`, which must be the current directory."""
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
    """Run `charrnn WORDS...` in this process and return how it ended.

    Raises `HungError` if it does not end, and every exception of the command but `SystemExit`.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    standard_input = io.TextIOWrapper(io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin)
    status = None
    with time_limit(), mock.patch.multiple(sys, argv=["charrnn", *words], stdin=standard_input, stdout=out, stderr=err):
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        for stream in {sys.stdout, sys.stderr} - {out, err}:  # replacements of a stream that failed
            stream.close()
    standard_input.detach()
    assert isinstance(status, int)
    return Outcome(status, out.buffer.getvalue(), err.buffer.getvalue().decode())


def check(ended: Outcome) -> None:
    """Check what every command promises: a documented status; an error is one line, the last, without control codes."""
    assert ended.status in (0, 1, 2, 3)
    lines = ended.err.splitlines()
    errors = [line for line in lines if line.startswith("charrnn: ")]
    assert errors == (lines[-1:] if ended.status in (2, 3) else [])
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err
    assert all(unicodedata.category(c) != "Cc" or c == "\n" for c in ended.err)


# -- files ---

Tree = dict[str, tuple[int, ...]]


def tree(folder: Path, *, ignore: tuple[str, ...] = ()) -> Tree:
    """Return mode, inode, size and time of change by path of everything below `folder`, without the names `ignore`."""
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] not in ignore:
            status = path.lstat()
            times = () if path.is_dir() else (status.st_size, status.st_mtime_ns)
            entries[str(path)] = (status.st_mode, status.st_ino, *times)
    return entries


def strays(folder: Path, words: list[str], before: Tree, after: Tree) -> list[str]:
    """Return the paths that `charrnn WORDS...`, run in `folder`, should not have made, changed or removed.

    A command may make what its options name for writing, and the folders of that; nothing that was there may change.
    """
    options = words[: words.index("--")] if "--" in words else words
    named = [value for option, _, value in (word.partition("=") for word in options) if option in WRITING]
    targets = [os.path.normpath(folder / name) for name in (*named, *DEFAULT_OUT) if name]

    def allowed(path: str) -> bool:
        above = path + os.sep
        return any(path == target or path.startswith(target + os.sep) or target.startswith(above) for target in targets)

    changed = [path for path in before | after if before.get(path) != after.get(path)]
    return [path for path in changed if path in before or not allowed(path)]


# -- drawing ---


def number(word: str) -> float:
    """Return the number that Python and TOML read in a word, or NaN."""
    try:
        return float(word)
    except ValueError:
        return math.nan


def draw_word(random: Random, words: list[str], name: str = "") -> str:
    """Return one of `words` that does not cause long work as the value of the option or key `name`."""
    most, bound = MOST.get(name, math.inf), math.inf if name in UNBOUNDED else 2**63
    return random.choice([word for word in words if not most < number(word) < bound])


def draw_setting(random: Random) -> str:
    """Return a word for `--set`."""
    key = random.choice([*config.files.FIELDS, "model", "x.y", ""])
    return f"{key}={draw_word(random, [*TOML, *WORDS], key)}" if random.random() < 0.95 else key


def draw_value(random: Random, parameter: click.Parameter) -> str:
    """Return a value of an option or argument, chosen by its type and its name."""
    name, kind = parameter.opts[0], parameter.type
    if name in USUAL and random.random() < 0.7:
        return USUAL[name]
    if name in (*WRITING, "--set"):
        return draw_setting(random) if name == "--set" else random.choice(OUT if name == "--out" else WRITE)
    if isinstance(kind, click.Choice):
        return random.choice([*kind.choices, *kind.choices, *WORDS])
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        return draw_word(random, NUMBERS, name)
    if isinstance(kind, click.Path) or isinstance(parameter, click.Argument) or "FILE" in (parameter.metavar or ""):
        return random.choice(PATHS)
    return random.choice([*WORDS, *NUMBERS, *PATHS])


def draw_command_line(random: Random) -> list[str]:
    """Return a command with some of the options and arguments that it declares."""
    command = cli.charrnn.commands[random.choice(sorted(cli.charrnn.commands))]
    options = {"train": [*BASE, "--steps=1"], "tune": [*BASE, "--seconds=0.001"]}.get(str(command.name), [])
    arguments: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            count = random.choice([0, 1, 1, 2]) if parameter.nargs < 0 else int(random.random() < 0.95)
            arguments += [draw_value(random, parameter) for _ in range(count)]
        elif random.random() < 0.12:
            flag = getattr(parameter, "is_flag", False)
            options.append(parameter.opts[0] if flag else f"{parameter.opts[0]}={draw_value(random, parameter)}")
    return [str(command.name), *options, *(["--"] if random.random() < 0.5 else []), *arguments]


def draw_bytes(random: Random, most: int = 400) -> bytes:
    """Return fewer than `most` random bytes, of all values or of few."""
    kinds = random.choice([bytes(range(256)), b"\0\xff", b"[]{}=.'\"#\n a1", b"a\r\n\xc3\xa9\xe2\x82\xac"])
    return bytes(random.choice(kinds) for _ in range(random.randrange(most)))


def damaged(random: Random, whole: bytes) -> bytes:
    """Return `whole` cut short, with bytes changed, inserted or removed; or other bytes."""
    kind = random.choice(["cut", "change", "head", "insert", "remove", "other"])
    first = random.randrange(len(whole))
    last = min(len(whole), first + random.choice([1, 8, 1000]))
    if kind == "other":
        return draw_bytes(random)
    if kind in ("change", "head"):
        first, last = (first, last) if kind == "change" else (0, random.choice([1, 8]))
        return whole[:first] + random.randbytes(last - first) + whole[last:]
    return {
        "cut": whole[:first],
        "insert": whole[:first] + draw_bytes(random) + whole[first:],
        "remove": whole[:first] + whole[last:],
    }[kind]


def draw_toml(random: Random) -> bytes:
    """Return a configuration: keys of the schema and others, with values of any kind."""
    lines = []
    for _ in range(random.randrange(6)):
        section, _, key = random.choice([*config.files.FIELDS, "x.y"]).partition(".")
        lines += [f"[{section}]"] * (random.random() < 0.9)
        lines.append(f"{key} = {draw_word(random, TOML, f'{section}.{key}')}")
    return "\n".join(lines).encode()
