"""Whatever is said on the command line or stands in a file: one line at most, no traceback, nothing written elsewhere.

`fuzz.py` does the same for longer, in processes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from encodings.aliases import aliases
from pathlib import Path
from random import Random

import pytest
from helpers.crafted import mutated
from helpers.nasty import BASE, Outcome, bytes_of, check, command_line, damaged, in_time, outcome, toml, tree, world
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from charrnn import config, files
from charrnn.errors import ConfigError, TextError
from charrnn.text import blocks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names only there")

RUN = Path("r/checkpoints/step-00000004.safetensors")
OURS = ("out", "runs", "fuzzed")


def fuzz(examples: int) -> settings:
    """So many examples, however long each takes."""
    return settings(deadline=None, max_examples=examples, suppress_health_check=list(HealthCheck))


randoms = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current directory: a run, and files of every kind; without a GPU, and without a wait for pipes."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(files, "WRITER_TIMEOUT", 0)
        patch.setattr("charrnn.backend.cupy.problem", lambda _=None: "no GPU here")
        world(folder)
        yield folder


def tried(words: list[str], here: Path, stdin: bytes = b"") -> Outcome:
    """How a command ends, which keeps its promises and changes nothing but a run of its own."""
    before = tree(here, beside=OURS)
    found = outcome(words, stdin)
    check(found)
    assert tree(here, beside=OURS) == before
    for name in ("out", "runs"):
        shutil.rmtree(here / name, ignore_errors=True)
    return found


@contextmanager
def little_memory() -> Iterator[None]:
    """A gigabyte of address space more than there is now, where that can be said."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    now = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 1 << 33
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@fuzz(300)
@given(randoms)
def test_any_command_line(here: Path, random: Random) -> None:
    """Every command, with any of its options and arguments, each with any value."""
    tried(command_line(random), here, bytes_of(random))


HUGE = [
    *(
        "model.hidden_size=1000000000",
        "model.hidden_size=1048576",
        "model.num_layers=1000000000",
        "model.num_layers=100",
    ),
    *("train.batch_size=1000000000", "train.batch_size=1000000000000", "train.seq_length=1000000000"),
    *("train.seq_length=1000000000000", "optimizer.learning_rate=1e38", "optimizer.eps=1e308", "model.input_std=100"),
    *(f"{key}={2**62}" for key in ("train.shards", "train.seed", "train.patience", "optimizer.decay_patience")),
    *(
        f"log.{key}={2**62}"
        for key in ("every", "eval_every", "sample_every", "checkpoint_every", "keep", "eval_chars")
    ),
]


@pytest.mark.parametrize("words", HUGE)
def test_sizes_beyond_all_measure(here: Path, words: str) -> None:
    """Sizes, rates and counts that nobody can mean are trained with, or refused, in a gigabyte of memory."""
    with little_memory():
        found = tried(["train", "t.txt", *BASE, "--set", words, "--steps=1", "--out=out"], here)
    assert found.status in (0, 3) or re.search(r" must be |: cpu is out of memory \(", found.err)


READERS = ["sample fuzzed", "eval fuzzed t.txt", "compare fuzzed r", "train t.txt --init-from=fuzzed --steps=0"]


@fuzz(60)
@given(randoms, st.sampled_from(READERS))
def test_any_checkpoint(here: Path, random: Random, words: str) -> None:
    """A checkpoint of which some bytes are others, or all, is used or refused; not one of its tensors is ever wrong."""
    whole = RUN.read_bytes()
    content = damaged(random, whole)
    Path("fuzzed").write_bytes(content)
    try:
        status = tried([*words.split(), *(BASE if words[0] == "t" else [])], here).status
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
    """A run with a damaged file goes on, is compared and sampled, from what is whole of it."""
    shutil.copytree(here / "r", here / "fuzzed")
    try:
        path = here / "fuzzed" / place
        path.write_bytes(damaged(random, path.read_bytes() or b"\n"))
        assert tried(words.split(), here).status == 0
    finally:
        shutil.rmtree(here / "fuzzed")


CRAFTED = [
    *("sample fuzzed --length=9", "eval fuzzed", "eval fuzzed t.txt --dynamic", "score fuzzed t.txt", "compare fuzzed"),
    *("compare fuzzed --no-eval", "train --resume --out=fuzzed --steps=5", "train t.txt --init-from=fuzzed --out=out"),
]


@fuzz(200)
@given(randoms, st.sampled_from(CRAFTED))
def test_any_metadata(here: Path, random: Random, words: str) -> None:
    """A run whose checkpoint says anything of itself, with the right digest, is used or refused in one line."""
    shutil.copytree(here / "r", here / "fuzzed")
    try:
        for path in (here / "fuzzed" / "checkpoints").iterdir():
            if path.name != RUN.name:
                path.unlink()
        (here / "fuzzed" / RUN.relative_to("r")).write_bytes(mutated(random, RUN.read_bytes()))
        tried([*words.split(), *(["--device=cpu", "--set=train.steps=0"] if "init" in words else [])], here)
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
    """Whatever stands in a run's metrics where a number belongs, the run is compared."""
    path = here / "r" / "metrics.jsonl"
    before = path.read_bytes()
    try:
        for value in VALUES:
            lines = [*OTHERS, *(METRIC.format(event, key, value) for event in ("train", "eval"))]
            path.write_bytes(before + "\n".join(lines).encode() + b"\n")
            assert tried(["compare", "r", "--no-eval"], here).status == 0
    finally:
        path.write_bytes(before)


@fuzz(200)
@given(randoms, st.booleans())
def test_any_configuration(here: Path, random: Random, keys: bool) -> None:
    """Random bytes, and keys with values of any kind, are a configuration or one line that says what is wrong."""
    Path("fuzzed").write_bytes(toml(random) if keys else bytes_of(random))
    found, error = None, ""
    try:
        with in_time():
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
    """Bytes are text in an encoding, or an error about the file; with every encoding that Python has."""
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(content)
    error = ""
    try:
        with in_time():
            assert all(blocks(str(path), encoding))
    except TextError as refused:
        error = str(refused)
    assert str(path) in error or "there is no text encoding" in error or not error
