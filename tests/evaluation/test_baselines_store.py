"""Of what baselines are counted, and how they are kept: by content, few, and never an error."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXT
from helpers.splits import expected, split

from charrnn import text
from charrnn.evaluation import baselines, store
from charrnn.evaluation.baselines import split_of

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_what_is_kept_is_found_by_content(fresh_cache: Path) -> None:
    """The same split again finds it; another text, cut, vocabulary or limit does not, nor does a damaged file."""
    of = split()
    found = expected(of)
    store.put(of, found)
    assert store.get(split()) == found
    others = [
        split(TEXT + "x"),
        split(fraction=0.3),
        replace(of, V=of.V + 1),
        replace(of, counted=text.Part(of.counted.ids[1:])),
        replace(of, predicted=text.Part(of.predicted.ids[:-1])),
    ]
    assert len({other.key for other in (of, *others)}) == 6
    assert [store.get(other) for other in others] == [None] * 5
    (path,) = fresh_cache.iterdir()
    path.rename(fresh_cache / f"{others[1].key}.baselines.json")
    assert store.get(others[1]) is None
    whole = (fresh_cache / f"{others[1].key}.baselines.json").read_bytes()
    for damaged in (whole[:-9], b"", b"[]", b"\xff", whole.replace(b"[", b"[-"), whole.replace(b"[", b'["", ')):
        path.write_bytes(damaged)
        assert store.get(of) is None
    path.write_bytes(whole)
    assert store.get(of) == found


def test_another_method_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier method counted is not taken for what this one would."""
    of = split()
    store.put(of, expected(of))
    monkeypatch.setattr(baselines, "VERSION", baselines.VERSION + 1)
    assert store.get(of) is None


def test_a_cache_that_cannot_be_written_is_no_error(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in the file's place, a file in the cache's, a user without a home: baselines are just not kept."""
    of = split()
    (fresh_cache / f"{of.key}.baselines.json").mkdir(parents=True)
    store.put(of, expected(of))
    assert [path.name for path in fresh_cache.iterdir()] == [f"{of.key}.baselines.json"]
    assert store.get(of) is None
    (fresh_cache / f"{of.key}.baselines.json").rmdir()
    fresh_cache.rmdir()
    fresh_cache.write_text("no directory")
    store.put(of, expected(of))
    assert store.get(of) is None
    assert fresh_cache.read_text() == "no directory"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: exec("raise RuntimeError"))
    store.put(of, expected(of))
    assert store.get(of) is None


def test_files_are_few(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit those written longest ago go."""
    monkeypatch.setattr(store, "KEPT", 2)
    splits = [split(TEXT + "x" * n) for n in range(4)]
    for n, of in enumerate(splits):
        store.put(of, expected(of))
        os.utime(fresh_cache / f"{of.key}.baselines.json", (n, n))
    assert {path.name for path in fresh_cache.iterdir()} == {f"{of.key}.baselines.json" for of in splits[2:]}


def test_what_is_left_is_removed_and_what_is_not_ours_stays(fresh_cache: Path) -> None:
    """Clearing removes files of baselines, and what a killed process left of one; nothing else."""
    of = split()
    store.put(of, expected(of))
    kept = {
        fresh_cache / name
        for name in ("notes.baselines.json", f".{of.key}.baselines.json.tmp", f".{of.key}.0123abcd.tmp")
    }
    for path in (*kept, fresh_cache / f".{of.key}.baselines.json.0123abcd.tmp"):
        path.touch()
    assert [path.name for path in store.clear()] == [f"{of.key}.baselines.json"]
    assert set(fresh_cache.iterdir()) == kept


def test_a_part_of_a_large_text_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last characters before the split and the first after it; document starts are those of the part."""
    corpus = replace(text.from_text(TEXT), starts=np.array([0, 100, 390, 410, 430, 450]))
    cut = len(corpus.split(0.2)[0].ids)
    assert cut == 412
    monkeypatch.setattr(baselines, "COUNTED", 30)
    monkeypatch.setattr(baselines, "PREDICTED", 20)
    of = split_of(corpus, 0.2, corpus.split(0.2)[1])
    assert of is not None
    assert np.array_equal(of.counted.ids, corpus.ids[382:412])
    assert np.array_equal(of.predicted.ids, corpus.ids[412:432])
    assert (of.counted.starts.tolist(), of.predicted.starts.tolist()) == ([8, 28], [18])
    found = expected(of)
    assert (found.counted, found.training, found.predicted, found.evaluated) == (30, 412, 19, 103)
    assert split_of(corpus, 0.0, None) is None
