"""Floors counted beside training: by a process that leaves nothing, kept by content, and never in training's way."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import TRAIN, Call
from test_training import TINY, last_bytes, run

from charrnn import config, text
from charrnn.floors import Counting, Floors, Split, announcement, ngram, process, result, split_of, store, verdict
from charrnn.training import Counted, Ended, Request, beside, prepare

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n" * 6
PATIENCE = 60.0

needs_scripts = pytest.mark.skipif(os.name != "posix", reason="the stand-in for the interpreter is a script")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, which does not exist yet, and a folder for temporary files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "home" / "charrnn"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A text file."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is called in place of Python to count: a script that a test fills; at first it waits for ever."""
    path = tmp_path / "interpreter"
    path.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    path.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(path))
    return path


def split(content: str = TEXT, fraction: float = 0.2) -> Split:
    """The split of a text."""
    corpus = text.from_text(content)
    found = split_of(corpus, fraction, corpus.split(fraction)[1])
    assert found is not None
    return found


def expected(of: Split) -> Floors:
    """The floors of a split, counted here."""
    return Floors.of(of, list(ngram.losses(of.counted, of.predicted, of.V)))


def descriptors() -> list[str]:
    """What this process has open."""
    return os.listdir("/proc/self/fd") if sys.platform == "linux" else []  # noqa: PTH208 (names alone)


def test_another_process_counts_the_same() -> None:
    """Its answer is what is counted here, document starts included; it has ended then, and its answer is kept."""
    corpus = text.from_text(TEXT)
    parted = replace(corpus, starts=np.array([0, 50, 51, 260, 480, 490]))
    of = split_of(parted, 0.2, parted.split(0.2)[1])
    assert of is not None
    assert expected(of) != expected(split())
    before = descriptors()
    with Counting(of) as counting:
        assert counting.kept() is None
        assert counting.result(PATIENCE) is None  # not begun
        counting.start()
        assert counting.result(PATIENCE) == expected(of)
        assert counting.process is not None
        assert counting.process.returncode == 0
    assert descriptors() == before
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert Counting(of).kept() == expected(of)


@needs_scripts
def test_it_is_ended_with_the_run(interpreter: Path) -> None:
    """A process that is still counting is asked without waiting, then killed and waited for; nothing stays open."""
    before = descriptors()
    with Counting(split()) as counting:
        counting.start()
        first = counting.process
        counting.start()
        assert counting.process is first
        assert counting.result() is None
        assert counting.result(0.01) is None
        assert first is not None
        assert first.poll() is None
        assert os.getpriority(os.PRIO_PROCESS, first.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + process.NICE)
    assert first.returncode == -signal.SIGKILL
    assert descriptors() == before
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert counting.kept() is None


@needs_scripts
def test_its_priority_is_lower(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ten than that of the run, whatever that is, from the start."""
    asked = []
    monkeypatch.setattr(os, "getpriority", lambda *_: 3)
    monkeypatch.setattr(os, "setpriority", lambda *words: asked.append(words))
    with Counting(split()) as counting:
        counting.start()
        assert counting.process is not None
        assert asked == [(os.PRIO_PROCESS, counting.process.pid, 13)]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no way to wait for another's child")
def test_it_ends_by_itself_if_its_parent_is_killed(tmp_path: Path, corpus: Path) -> None:
    """Nobody is there to kill it or to take its answer: it ends, and leaves no file."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from charrnn.floors import Counting, split_of\n"
        "from charrnn.text import from_files\n"
        f"corpus = from_files([{str(corpus)!r}])\n"
        "counting = Counting(split_of(corpus, 0.2, corpus.split(0.2)[1]))\n"
        "counting.start()\n"
        "print(counting.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir(), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert done.returncode == -signal.SIGKILL
    try:
        child = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        pass
    else:
        assert select.select([child], [], [], PATIENCE)[0] == [child]
        os.close(child)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert not (tmp_path / "home").exists()


@needs_scripts
@pytest.mark.parametrize("script", ["exit 1", "echo what", "echo '[1.5, NaN]'", "echo '[-1.0]'", "echo '[]'", "echo 2"])
def test_an_answer_that_is_none_is_no_error(interpreter: Path, home: Path, script: str) -> None:
    """Whatever else the process does or says, there are no floors, now and later, and none are kept."""
    interpreter.write_text(f"#!/bin/sh\n{script}\n")
    with Counting(split()) as counting:
        counting.start()
        assert counting.result(PATIENCE) is None
        assert counting.result(PATIENCE) is None
    assert not home.exists()


def test_a_process_that_cannot_be_started_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No interpreter, or no room for temporary files."""
    for patch in ((process.sys, "executable", None), (tempfile, "tempdir", "/nowhere/at/all")):
        monkeypatch.setattr(*patch)
        with Counting(split()) as counting:
            counting.start()
            assert counting.process is None
            assert counting.result(PATIENCE) is None


def test_what_is_kept_is_found_by_content(home: Path) -> None:
    """The same split again finds it; another text, cut, vocabulary or limit does not, nor does a damaged file."""
    of = split()
    floors = expected(of)
    store.put(of, floors)
    assert store.get(split()) == floors
    others = [
        split(TEXT + "x"),
        split(fraction=0.3),
        replace(of, V=of.V + 1),
        replace(of, counted=text.Part(of.counted.ids[1:])),
        replace(of, predicted=text.Part(of.predicted.ids[:-1])),
    ]
    assert len({other.key for other in (of, *others)}) == 6
    assert [store.get(other) for other in others] == [None] * 5
    (path,) = home.iterdir()
    path.rename(home / f"{others[1].key}.floors.json")
    assert store.get(others[1]) is None
    whole = (home / f"{others[1].key}.floors.json").read_bytes()
    for damaged in (whole[:-9], b"", b"[]", b"\xff", whole.replace(b"[", b"[-"), whole.replace(b"[", b'["", ')):
        path.write_bytes(damaged)
        assert store.get(of) is None
    path.write_bytes(whole)
    assert store.get(of) == floors


def test_another_method_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier method counted is not taken for what this one would."""
    of = split()
    store.put(of, expected(of))
    monkeypatch.setattr(result, "VERSION", result.VERSION + 1)
    assert store.get(of) is None


def test_a_cache_that_cannot_be_written_is_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in the file's place, a file in the cache's, a user without a home: floors are just not kept."""
    of = split()
    (home / f"{of.key}.floors.json").mkdir(parents=True)
    store.put(of, expected(of))
    assert [path.name for path in home.iterdir()] == [f"{of.key}.floors.json"]
    assert store.get(of) is None
    (home / f"{of.key}.floors.json").rmdir()
    home.rmdir()
    home.write_text("no directory")
    store.put(of, expected(of))
    assert store.get(of) is None
    assert home.read_text() == "no directory"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: exec("raise RuntimeError"))
    store.put(of, expected(of))
    assert store.get(of) is None


def test_files_are_few(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit those written longest ago go."""
    monkeypatch.setattr(store, "KEPT", 2)
    splits = [split(TEXT + "x" * n) for n in range(4)]
    for n, of in enumerate(splits):
        store.put(of, expected(of))
        os.utime(home / f"{of.key}.floors.json", (n, n))
    assert {path.name for path in home.iterdir()} == {f"{of.key}.floors.json" for of in splits[2:]}


def test_a_part_of_a_large_text_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last characters before the split and the first after it; document starts are those of the part."""
    corpus = replace(text.from_text(TEXT), starts=np.array([0, 100, 390, 410, 430, 450]))
    cut = len(corpus.split(0.2)[0].ids)
    assert cut == 412
    monkeypatch.setattr(result, "COUNTED", 30)
    monkeypatch.setattr(result, "PREDICTED", 20)
    of = split_of(corpus, 0.2, corpus.split(0.2)[1])
    assert of is not None
    assert np.array_equal(of.counted.ids, corpus.ids[382:412])
    assert np.array_equal(of.predicted.ids, corpus.ids[412:432])
    assert (of.counted.starts.tolist(), of.predicted.starts.tolist()) == ([8, 28], [18])
    floors = expected(of)
    assert (floors.counted, floors.training, floors.predicted, floors.evaluated) == (30, 412, 19, 103)
    assert split_of(corpus, 0.0, None) is None


def test_a_run_is_told_its_floors(tmp_path: Path, corpus: Path) -> None:
    """Once, before the end at the latest, and from the start where they are kept; `floors.json` says them in full."""
    of = split(fraction=0.1)
    floors = expected(of)
    first, second = run(tmp_path / "a", corpus), run(tmp_path / "b", corpus)
    for events in (first, second):
        assert [event.floors for event in events if isinstance(event, Counted)] == [floors]
        assert isinstance(events[-1], Ended)
    assert first.index(next(e for e in first if isinstance(e, Counted))) > 0
    assert isinstance(second[0], Counted)
    assert second[0].at.step == 0
    assert (tmp_path / "a" / "floors.json").read_bytes() == (tmp_path / "b" / "floors.json").read_bytes()
    assert json.loads((tmp_path / "a" / "floors.json").read_text()) == {
        "method": "witten-bell",
        "protocol": "carried",
        "nats_per_char": dict(zip("123456", floors.losses, strict=True)),
        "best": {"order": 1 + floors.losses.index(min(floors.losses)), "nats_per_char": min(floors.losses)},
        "counted": 464,
        "training": 464,
        "predicted": 51,
        "evaluated": 51,
    }


def test_floors_change_nothing_else(tmp_path: Path, corpus: Path) -> None:
    """Checkpoints and samples of runs with floors counted, kept, and missing are the same bytes; resumed ones too."""
    run(tmp_path / "counted", corpus)
    run(tmp_path / "kept", corpus)
    run(tmp_path / "resumed", corpus, stop_after=9)
    run(tmp_path / "resumed", corpus, resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "split_of", lambda *_: None)
        run(tmp_path / "missing", corpus)
    assert not (tmp_path / "missing" / "floors.json").exists()
    for name in ("kept", "resumed", "missing"):
        assert last_bytes(tmp_path / name) == last_bytes(tmp_path / "counted")
        assert (tmp_path / name / "samples.txt").read_bytes() == (tmp_path / "counted" / "samples.txt").read_bytes()
    assert (tmp_path / "resumed" / "floors.json").read_bytes() == (tmp_path / "kept" / "floors.json").read_bytes()


def test_nothing_is_begun_before_the_first_step(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is started once, when a step has been made, also in a run that is resumed; no step, no process."""
    started = []

    def start(counting: Counting) -> None:
        started.append(session.loop.trainer.done)

    monkeypatch.setattr(Counting, "start", start)
    for steps, resume in ((0, False), (9, False), (20, True)):
        options = config.merged(TINY, {"train": {"steps": steps}})
        session = prepare(
            Request(files=(str(corpus),), options=options, out=tmp_path / "a", resume=resume, overwrite=not resume)
        )
        assert list(session.events())[-1].at.step == steps
    assert started
    assert min(started[: started.index(12)]) == 4
    assert min(started[started.index(12) :]) == 12


@needs_scripts
def test_a_run_waits_only_at_its_end(
    tmp_path: Path, corpus: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way it asks; done, it waits its patience out; stopped, it does not wait; the process is gone then."""
    asked, ask, made = [], Counting.result, []
    popen = subprocess.Popen

    def asking(counting: Counting, patience: float = 0.0) -> Floors | None:
        asked.append(patience)
        return ask(counting, patience)

    def making(*words: object, **options: object) -> object:
        made.append(popen(*words, **options))
        return made[-1]

    monkeypatch.setattr(beside, "PATIENCE", 0.01)
    monkeypatch.setattr(Counting, "result", asking)
    monkeypatch.setattr(process.subprocess, "Popen", making)
    for options, last in (({"stop_after": 9}, 0.0), ({"resume": True}, 0.01)):
        asked.clear()
        events = run(tmp_path / "a", corpus, **options)
        assert not any(isinstance(event, Counted) for event in events)
        assert (asked[-1], set(asked[:-1])) == (last, {0.0})
        assert made[-1].returncode == -signal.SIGKILL
    session = prepare(Request(files=(str(corpus),), options=TINY, out=tmp_path / "b"))
    on_the_way = session.events()
    while next(on_the_way).at.step < 12:
        pass
    assert made[-1].returncode is None
    on_the_way.close()
    assert [each.returncode for each in made] == [-signal.SIGKILL] * 3
    assert not (tmp_path / "a" / "floors.json").exists()


def test_without_a_directory_nothing_is_counted(corpus: Path, home: Path) -> None:
    """A run that writes nothing has no floors and leaves the cache alone."""
    assert not any(isinstance(event, Counted) for event in run(None, corpus))
    assert not home.exists()


def test_an_old_answer_does_not_stay(tmp_path: Path, corpus: Path) -> None:
    """A run that replaces another removes its floors, also where it has none of its own."""
    run(tmp_path / "a", corpus)
    assert (tmp_path / "a" / "floors.json").exists()
    events = run(tmp_path / "a", corpus, {"data": {"val_fraction": 0.0}}, overwrite=True)
    assert not any(isinstance(event, Counted) for event in events)
    assert not (tmp_path / "a" / "floors.json").exists()


def test_train_says_what_must_be_beaten_and_where_it_stands(call: Call, tmp_path: Path) -> None:
    """The floors as soon as they are known, at the start where they are kept, and the verdict after the last line."""
    outs = [call(*TRAIN, f"--out={name}")[0].splitlines() for name in "ab"]
    corpus = text.from_files([str(tmp_path / "t.txt")])
    of = split_of(corpus, 0.1, corpus.split(0.1)[1])
    assert of is not None
    for lines in outs:
        assert lines.count(announcement(expected(of))) == 1
        (done,) = [n for n, line in enumerate(lines) if line.startswith("done at step 10 ")]
        best = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[-1])["val_loss"]
        assert lines[done + 1] == verdict(best, expected(of))
        assert lines[done + 2] in ("run: a", "run: b")
    assert outs[1].index(announcement(expected(of))) == 2


def test_the_cache_lists_and_clears_them(call: Call, home: Path) -> None:
    """Their number stands in the total, and --clear removes them with what a killed process left."""
    call(*TRAIN, "--out=r")
    (home / ".half.floors.tmp").write_text("{")
    assert call("cache")[0].splitlines()[1:] == ["total: 0 texts, 0.0 MB, and the floors of 1 split"]
    assert call("cache", "--clear")[0].splitlines()[1:] == ["removed: 0 texts, 0.0 MB, and the floors of 1 split"]
    assert list(home.iterdir()) == []
    assert call("cache")[0].splitlines()[1:] == ["total: 0 texts, 0.0 MB"]
