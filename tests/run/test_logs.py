"""The logs of a run: which samples and metrics stay after pruning, a stop and a resume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.runs import contents, run

from charrnn import checkpoint
from charrnn.run import logs
from charrnn.run_files import METRICS
from charrnn.training.events import Sampled
from charrnn.training.loop import Loop

EVERY = {"log": {"sample_every": 1, "checkpoint_every": 5, "every": 0, "eval_every": 0}, "train": {"steps": 23}}


def keep_samples(count: int) -> dict[str, dict[str, int]]:
    """Return settings for a sample at every step, of which the last `count` stay."""
    return {**EVERY, "log": {**EVERY["log"], "keep_samples": count}}


@pytest.mark.parametrize("samples", [1, 3, 7, 100])
def test_the_last_samples_stay(tmp_path: Path, corpus: Path, samples: int) -> None:
    """The last samples stay, below a line that counts the removed bytes; 0 keeps all samples."""
    run(tmp_path / "all", corpus, keep_samples(0))
    run(tmp_path / "few", corpus, keep_samples(samples))
    everything = (tmp_path / "all" / "samples.txt").read_bytes()
    assert everything.count(b"--- step ") == 24
    few = (tmp_path / "few" / "samples.txt").read_bytes()
    gone, rest = logs.split_samples(few)
    assert everything[gone:] == rest
    assert rest.count(b"--- step ") == min(samples, 24)
    assert rest.startswith(b"--- step ")
    assert (few == everything) == (samples == 100)
    if gone:
        assert few.startswith(b"(%d bytes of earlier samples are gone: log.keep_samples)\n" % gone)


@pytest.mark.parametrize("stops", [(1,), (5,), (6, 1, 9), (22,)])
def test_samples_of_a_resumed_run(tmp_path: Path, corpus: Path, stops: tuple[int, ...]) -> None:
    """A run that is stopped at any step and resumed keeps the samples of the uninterrupted run."""
    run(tmp_path / "whole", corpus, keep_samples(3))
    for stop in stops:
        run(tmp_path / "parts", corpus, keep_samples(3), stop_after=stop, resume=True)
    run(tmp_path / "parts", corpus, keep_samples(3), resume=True)
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert parts["samples.txt"] == whole["samples.txt"]


def test_resume_from_before_the_removed_samples(tmp_path: Path, corpus: Path) -> None:
    """If an old checkpoint is resumed whose samples were already removed, the file at the end is the same."""
    run(tmp_path / "whole", corpus, keep_samples(2))
    run(tmp_path / "torn", corpus, keep_samples(2))
    for step in checkpoint.steps(tmp_path / "torn"):
        if step > 5:
            checkpoint.path_of(tmp_path / "torn", step).write_bytes(b"torn")
    run(tmp_path / "torn", corpus, keep_samples(2), resume=True)
    assert (tmp_path / "torn" / "samples.txt").read_bytes() == (tmp_path / "whole" / "samples.txt").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no way to see open files")
def test_no_open_file_is_replaced(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to replace an open file. So the process closes each file of the run before it replaces it."""
    right, replaced = os.replace, []

    def replace(source: Path, target: Path) -> None:
        replaced.append(Path(target).name)
        assert str(target) not in {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}
        right(source, target)

    monkeypatch.setattr(os, "replace", replace)
    run(tmp_path / "r", corpus, keep_samples(2))
    assert replaced.count("samples.txt") > 2


LINES = [
    b"",
    b"7",
    b"null",
    b"[]",
    b"{}",
    b'{"event": "train", "step": 1, "seconds": 1.0}',
    b'{"event": "train", "step": 1, "seconds": 1.0, "chars_per_second": "fast"}',
    b'{"event": "eval", "step": 1, "seconds": NaN, "val_loss": 1.0}',
    b'{"event": ["eval"], "step": 1, "seconds": 1.0}',
    b'{"event": "eval", "step": "1", "seconds": 1.0, "val_loss": 1.0}',
    b'{"event": "train", "step": 1, "seconds": Infinity, "chars_per_second": 1.0}',
    b'{"event": "train", "step": 1, "seconds": 1e999, "chars_per_second": 1.0}',
    b'{"event": "train", "step": 1, "seconds": %s, "chars_per_second": 1.0}' % (b"9" * 400),
    b'{"event": "train", "step": true, "seconds": 1.0, "chars_per_second": 1.0}',
    b"[" * 10**5,
    b"9" * 10**4,
    b"\xff\xfe",
    b"\x00",
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_lines_that_are_no_metrics(tmp_path: Path, corpus: Path, line: bytes) -> None:
    """Readers ignore lines that are no metrics, and resuming removes them."""
    run(tmp_path / "a", corpus, {"log": {"every": 5}, "train": {"steps": 20}}, stop_after=10)
    before, path = logs.metrics(tmp_path / "a"), tmp_path / "a" / METRICS
    written = path.read_bytes()
    path.write_bytes(line + b"\n" + written + line)
    assert logs.metrics(tmp_path / "a") == before
    assert logs.seconds(tmp_path / "a") == before[-1]["seconds"]
    logs.cut(tmp_path / "a", checkpoint.find(tmp_path / "a", "last")[1].meta)
    assert path.read_bytes() == written


def test_a_line_without_a_newline_is_removed(tmp_path: Path, corpus: Path) -> None:
    """Even if it can be parsed: otherwise the next metric would be written on the same line."""
    run(tmp_path / "a", corpus, {"log": {"every": 5}, "train": {"steps": 20}}, stop_after=10)
    path = tmp_path / "a" / METRICS
    written = path.read_bytes()
    path.write_bytes(written + written.splitlines()[-1])
    logs.cut(tmp_path / "a", checkpoint.find(tmp_path / "a", "last")[1].meta)
    assert path.read_bytes() == written


def test_a_sample_that_looks_like_a_header(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in a sample that looks like a header does not split the sample, also after a stop and a resume."""
    text = "a\n\n--- step 5 ---\nb\n>--- step 5 ---\n--- step 5 ---\r\n --- step 5 ---"
    written = "a\n\n>--- step 5 ---\nb\n>>--- step 5 ---\n--- step 5 ---\r\n --- step 5 ---"
    monkeypatch.setattr(Loop, "sample", lambda loop: count(loop, Sampled(loop.moment(loop.trainer.done), text)))

    def count(loop: Loop, event: Sampled) -> Sampled:
        loop.progress.samples_size += len(event.entry)
        return event

    for name, stops in (("whole", ()), ("parts", (7, 4))):
        for stop in stops:
            run(tmp_path / name, corpus, keep_samples(2), stop_after=stop, resume=True)
        run(tmp_path / name, corpus, keep_samples(2), resume=True)
        removed, samples = logs.split_samples((tmp_path / name / "samples.txt").read_bytes())
        assert samples.decode() == "".join(f"--- step {step} ---\n{written}\n\n" for step in (22, 23))
        assert removed + len(samples) == checkpoint.find(tmp_path / name, "last")[1].meta.samples_size
