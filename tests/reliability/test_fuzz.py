"""Random command lines and files cause no traceback, no hang, no long error and no stray file.

The cases are the same at every run. `--hypothesis-profile=explore` draws others; `tests/fuzz.py` goes on for longer, in
processes.
"""

from __future__ import annotations

import os
import re
import shutil
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from encodings.aliases import aliases
from pathlib import Path
from random import Random

import pytest
from helpers.crafted_checkpoints import randomly_changed
from helpers.hostile_inputs import (
    BASE,
    WRITING,
    Outcome,
    check,
    damaged,
    draw_bytes,
    draw_command_line,
    draw_toml,
    make_world,
    outcome,
    strays,
    time_limit,
    tree,
)
from helpers.properties import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charrnn import cli, config, files
from charrnn.errors import ConfigError, TextError
from charrnn.text import blocks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names only there")

RUN = Path("r/checkpoints/step-00000004.safetensors")


def fuzz(count: int) -> settings:
    """Return settings with `count` examples, each of which may take long."""
    return settings(examples(count), suppress_health_check=list(HealthCheck))


randoms = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the current directory: a run, and files of every kind; without a GPU, and without a wait for pipes."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(files, "WRITER_TIMEOUT", 0)
        patch.setattr(webbrowser, "open", lambda _: False)
        patch.setattr("charrnn.backend.cupy.problem", lambda _=None: "no GPU here")
        make_world(folder)
        yield folder


def try_command(words: list[str], here: Path, stdin: bytes = b"") -> Outcome:
    """Run a command, check its promises, remove what it made, and return how it ended.

    It may change nothing but `fuzzed`, and make nothing but what its words name.
    """
    before = tree(here, ignore=("fuzzed",))
    ended = outcome(words, stdin)
    after = tree(here, ignore=("fuzzed",))
    for path in map(Path, sorted(after.keys() - before.keys(), reverse=True)):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    check(ended)
    assert strays(here, words, before, after) == []
    return ended


@contextmanager
def one_gigabyte() -> Iterator[None]:
    """Limit this process to a gigabyte of address space more than it has now, where the system can."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    now = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 1 << 33
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_options_that_write_are_known() -> None:
    """Some command has each option that `strays` allows to write."""
    options = {name for command in cli.charrnn.commands.values() for option in command.params for name in option.opts}
    assert set(WRITING) <= options


def test_strays_are_noticed(tmp_path: Path) -> None:
    """A new file that no option names, and a file that was there and is another now, are strays."""
    (tmp_path / "old").write_text("old")
    before = tree(tmp_path)
    for name in ("old", "new", "written", "run/below/file", "runs/t/file", "argument"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("other")
    words = ["tune", "--out=run/below", "--write=written", "--write=old", "--", "--out=argument"]
    names = [os.path.relpath(path, tmp_path) for path in strays(tmp_path, words, before, tree(tmp_path))]
    assert sorted(names) == ["argument", "new", "old"]


@fuzz(300)
@given(randoms)
def test_any_command_line(here: Path, random: Random) -> None:
    """Every command keeps its promises with any of its options and arguments, and any values of these."""
    try_command(draw_command_line(random), here, draw_bytes(random))


@pytest.mark.parametrize("name", ["w.toml", "\udcff", "out/w.toml"])
def test_a_command_may_write_what_it_is_told_to(here: Path, name: str) -> None:
    """`tune --write NAME` makes a file, which is no stray."""
    try_command(["tune", "t.txt", *BASE, "--seconds=0.001", f"--write={name}"], here)


HUGE = [
    *(f"model.{key}" for key in ("hidden_size=1000000000", "hidden_size=1048576", "num_layers=1000000000")),
    "model.num_layers=100",
    *("train.batch_size=1000000000", "train.batch_size=1000000000000", "train.seq_length=1000000000"),
    *("train.seq_length=1000000000000", "optimizer.learning_rate=1e38", "optimizer.eps=1e308", "model.input_std=100"),
    *(f"{key}={2**62}" for key in ("train.shards", "train.seed", "train.patience", "optimizer.decay_patience")),
    *(f"log.{key}={2**62}" for key in ("every", "eval_every", "sample_every", "checkpoint_every")),
    *(f"log.{key}={2**62}" for key in ("keep", "eval_chars")),
]


@pytest.mark.parametrize("words", HUGE)
def test_sizes_beyond_all_measure(here: Path, words: str) -> None:
    """Absurd sizes, rates and counts are refused, or the run trains in a gigabyte of memory."""
    with one_gigabyte():
        found = try_command(["train", "t.txt", *BASE, "--set", words, "--steps=1", "--out=out"], here)
    assert found.status in (0, 3) or re.search(r" must be |: cpu is out of memory \(", found.err)


READERS = ["sample fuzzed", "eval fuzzed t.txt", "compare fuzzed r", "train t.txt --init-from=fuzzed --steps=0"]


@fuzz(60)
@given(randoms, st.sampled_from(READERS))
def test_any_checkpoint(here: Path, random: Random, words: str) -> None:
    """A damaged checkpoint is used or refused; a checkpoint with a damaged tensor is always refused."""
    whole = RUN.read_bytes()
    content = damaged(random, whole)
    Path("fuzzed").write_bytes(content)
    try:
        status = try_command([*words.split(), *(BASE if words[0] == "t" else [])], here).status
    finally:
        Path("fuzzed").unlink()
    tensors = 8 + int.from_bytes(whole[:8], "little")
    intact = content[tensors:] == whole[tensors:]
    assert status == 0 if content == whole or words[0] == "c" else status in ((0, 2) if intact else (2,))


@fuzz(60)
@given(
    randoms,
    st.sampled_from(["checkpoints/step-00000004.safetensors", "metrics.jsonl", "config.toml", "samples.txt"]),
    st.sampled_from(["train --resume --out=fuzzed --steps=5", "compare fuzzed --no-eval", "sample fuzzed"]),
)
def test_any_run_directory(here: Path, random: Random, place: str, words: str) -> None:
    """A run with one damaged file can be resumed, compared and sampled from its other files."""
    shutil.copytree(here / "r", here / "fuzzed")
    try:
        path = here / "fuzzed" / place
        path.write_bytes(damaged(random, path.read_bytes() or b"\n"))
        assert try_command(words.split(), here).status == 0
    finally:
        shutil.rmtree(here / "fuzzed")


CRAFTED = [
    *("sample fuzzed --length=9", "eval fuzzed", "eval fuzzed t.txt --dynamic", "score fuzzed t.txt", "compare fuzzed"),
    *("compare fuzzed --no-eval", "train --resume --out=fuzzed --steps=5", "train t.txt --init-from=fuzzed --out=out"),
]


@fuzz(200)
@given(randoms, st.sampled_from(CRAFTED))
def test_any_metadata(here: Path, random: Random, words: str) -> None:
    """A run whose checkpoint has any metadata, with the right digest, is used or refused in one line."""
    shutil.copytree(here / "r", here / "fuzzed")
    try:
        for path in (here / "fuzzed" / "checkpoints").iterdir():
            if path.name != RUN.name:
                path.unlink()
        (here / "fuzzed" / RUN.relative_to("r")).write_bytes(randomly_changed(random, RUN.read_bytes()))
        try_command([*words.split(), *(["--device=cpu", "--set=train.steps=0"] if "init" in words else [])], here)
    finally:
        shutil.rmtree(here / "fuzzed")


METRIC = '{{"event": "{}", "step": 1, "seconds": 1.0, "chars_per_second": 1.0, "val_loss": 1.0, "{}": {}}}'
OTHERS = [
    '{"event": "train", "step": 1, "seconds": 1}',
    '{"event": "eval", "step": 1',
    "[" * 9999,
    "{}",
    "[]",
    "\ufeff",
    "",
]
VALUES = ["NaN", "-Infinity", "1e999", "-1", "true", "null", '"x"', "[]", "{}", "9" * 400, "9" * 5000, '"\\ud800"']


@pytest.mark.parametrize("key", ["event", "step", "seconds", "chars_per_second", "val_loss", "device"])
def test_any_metrics(here: Path, key: str) -> None:
    """A run is compared whatever its metrics have in the place of a number."""
    path = here / "r" / "metrics.jsonl"
    before = path.read_bytes()
    try:
        for value in VALUES:
            lines = [*OTHERS, *(METRIC.format(event, key, value) for event in ("train", "eval"))]
            path.write_bytes(before + "\n".join(lines).encode() + b"\n")
            assert try_command(["compare", "r", "--no-eval"], here).status == 0
    finally:
        path.write_bytes(before)


@fuzz(200)
@given(randoms, st.booleans())
def test_any_configuration(here: Path, random: Random, keys: bool) -> None:
    """Random bytes, and keys with values of any kind, are a configuration or an error of one line."""
    Path("fuzzed").write_bytes(draw_toml(random) if keys else draw_bytes(random))
    found, error = None, ""
    try:
        with time_limit():
            found = config.build(config.read("./fuzzed"))
    except ConfigError as refused:
        error = str(refused)
    if found is not None:
        assert config.build(config.parse(config.dump(found).encode(), "dumped")) == found
    else:
        assert "fuzzed" in error
        assert len(error) < 500


@fuzz(200)
@given(st.binary(max_size=60), st.sampled_from(sorted({*aliases.values(), "undefined", "idna", "punycode"})))
@example(b"\xff\xfea", "utf_16")
@example(b"+AAA", "utf_7")
def test_any_bytes_in_any_encoding(tmp_path_factory: pytest.TempPathFactory, content: bytes, encoding: str) -> None:
    """With every encoding of Python, random bytes are text or an error that names the file."""
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    error = ""
    try:
        with time_limit():
            assert all(blocks(str(path), encoding))
    except TextError as refused:
        error = str(refused)
    assert str(path) in error or "there is no text encoding" in error or not error
