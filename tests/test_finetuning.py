"""Fine-tuning: the weights of another run, character by character, and nothing else of it."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from commands import TEXT, TINY, TRAIN, Call
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import caching, expected, files

import charrnn
from charrnn import checkpoint, seeds
from charrnn.backend.numpy_backend import NumpyBackend
from charrnn.checkpoint import Checkpoint
from charrnn.model import build, initial
from charrnn.text import cache, from_files, from_text, sources, widened

NEW = ["--device=cpu", "--set=train.seq_length=8", "--set=train.batch_size=2", "--set=log.sample_every=0"]
TUNE = [*NEW, "--set=log.eval_every=5", "--set=log.checkpoint_every=5", "--steps=10"]
FRENCH = "sèche, l'été, les halles; hé! les elles\n" * 9
STRANGE = sorted(set(FRENCH) - set(TEXT), key=lambda c: (-FRENCH.count(c), c))


@pytest.fixture
def source(call: Call, tmp_path: Path) -> Path:
    """A directory with the run `old` on t.txt, and the texts old.txt (known characters only) and new.txt."""
    (tmp_path / "old.txt").write_text("he sells bells\n" * 30)
    (tmp_path / "new.txt").write_text(FRENCH)
    call(*TRAIN, "--steps=40", "--out=old", "--set=model.num_layers=2", "--set=model.cell=gru")
    return tmp_path


def tensors(run: Path, step: int) -> dict[str, np.ndarray]:
    """The parameters in a checkpoint."""
    saved = checkpoint.load(checkpoint.path_of(run, step)).tensors
    return {name.partition("/")[2]: array for name, array in saved.items() if name.startswith("parameters/")}


def content(run: Path, step: int) -> tuple[object, ...]:
    """All that is in a checkpoint, but for the name that the text was read by."""
    saved = checkpoint.load(checkpoint.path_of(run, step))
    return checkpoint.content(saved.tensors), replace(saved.meta, corpus="")


@settings(deadline=None, max_examples=80)
@given(st.text("ab\né日😀", min_size=2, max_size=40), st.text("a\0cé日\U0010ffff", max_size=6), st.integers(1, 9))
@example("ab", "".join(chr(n) for n in range(300, 600)), 3)
def test_a_corpus_in_a_wider_vocabulary(text: str, more: str, block: int) -> None:
    """In memory and in the cache: the union, sorted; ids by it; 0 for characters that the text lacks; the same hash."""
    union = sorted({*text, *more})
    with files(text.encode()) as names:
        for small in (10**6, 1):
            with caching(small=small, block=block), mock.patch("charrnn.text.widening.BLOCK", block):
                corpora = [widened(from_files(names), more)]
                if small == 1:
                    with mock.patch.object(cache, "put", side_effect=AssertionError("made again")):
                        corpora.append(widened(from_files(names), more))
                    assert from_files(names).vocabulary.characters == "".join(sorted(set(text)))
                    other = widened(from_files(names), more + "\1")
                    assert other.vocabulary.characters == "".join(sorted({*union, "\1"}))
                    assert other.vocabulary.decode(other.ids) == text
                for corpus in corpora:
                    assert corpus.vocabulary.characters == "".join(union)
                    assert corpus.vocabulary.counts == tuple(map(text.count, union))
                    assert corpus.ids.tolist() == [union.index(c) for c in text]
                    assert corpus.ids.dtype == corpus.vocabulary.dtype
                    assert (corpus.sha256, corpus.starts.tolist()) == (expected(text).sha256, [0])
                    assert corpus.vocabulary.used == from_text(text).vocabulary


def test_at_step_0_it_is_the_old_network(call: Call, source: Path) -> None:
    """With known characters only, the weights are the source's best bits, and predict its validation text as it did."""
    out, err = call("train", "old.txt", *TUNE, "--init-from=old", "--out=new")
    best = charrnn.load("old", device="cpu")
    known, absent = len(set(TEXT)), len(set(TEXT) - set("he sells bells\n"))
    words = f"weights: from old at step {best.step}; vocabulary: {known} known, {absent} of them not in this text"
    assert words in err.splitlines()
    assert f"corpus: old.txt, 450 characters, {len(set('he sells bells') | {chr(10)})} distinct" in out
    model = charrnn.load("new", checkpoint=0, device="cpu")
    assert model.vocabulary.characters == best.vocabulary.characters
    assert (model.step, model.config.model.cell, model.config.model.num_layers) == (0, "gru", 2)
    tail = TEXT[int(len(TEXT) * 0.9) :]
    assert model.evaluate(tail).nats_per_char == best.evaluate().nats_per_char
    saved = checkpoint.load(checkpoint.path_of(source / "new", 0))
    memory = [array for name, array in saved.tensors.items() if name.startswith(("optimizer/", "state/"))]
    assert memory
    assert not any(array.any() for array in memory)
    assert saved.meta.smooth_loss == checkpoint.load(checkpoint.path_of(source / "old", best.step)).meta.smooth_loss


def test_new_characters_get_new_rows(call: Call, source: Path) -> None:
    """What is new is the seed's own initial weights; all else is the source's, and its log-odds are what they were."""
    _, err = call("train", "new.txt", *TUNE, "--init-from=old", "--grow-vocabulary", "--seed=5", "--out=new")
    shown = " ".join(map(repr, STRANGE))
    assert f", {len(set(TEXT) - set(FRENCH))} of them not in this text, {len(STRANGE)} new ({shown})" in err
    before, after = charrnn.load("old", device="cpu"), charrnn.load("new", checkpoint=0, device="cpu")
    union = sorted({*TEXT, *FRENCH})
    assert after.vocabulary.characters == "".join(union)
    assert after.vocabulary.counts == tuple(map(FRENCH.count, union))
    old = [n for n, c in enumerate(union) if c in TEXT]
    new = [n for n, c in enumerate(union) if c not in TEXT]
    network = build(after.config.model, len(union), NumpyBackend())
    fresh = initial(network, after.config.model, seeds.stream(5, "weights"))
    theirs, ours = tensors(source / "old", before.step), tensors(source / "new", 0)
    assert set(theirs) == set(ours)
    for name, array in ours.items():
        if name == "layer0.W_xh":
            assert np.array_equal(array[old], theirs[name])
            assert np.array_equal(array[new], fresh[name][new].astype("float32"))
        elif name.startswith("output."):
            assert np.array_equal(array[..., old], theirs[name])
            assert np.array_equal(array[..., new], fresh[name][..., new].astype("float32"))
        else:
            assert np.array_equal(array, theirs[name])
    odds = [
        [m.score("she sell" + c)[-1] - m.score("she sella")[-1] for c in sorted(set(TEXT))] for m in (before, after)
    ]
    assert odds[1] == pytest.approx(odds[0], abs=2e-6)
    assert np.abs(odds[0]).max() > 0.1


def test_characters_that_nobody_knows_are_an_error(call: Call, source: Path) -> None:
    """They are shown, the commonest first, at most ten, with their counts; nothing is written."""
    _, err = call("train", "new.txt", *TUNE, "--init-from=old", "--out=new", status=2)
    shown = ", ".join(f"{c!r} ({FRENCH.count(c)})" for c in STRANGE)
    assert err == (
        f"charrnn: new.txt has characters that the network of old never saw: {shown}; "
        "add --grow-vocabulary to teach it these, or leave them out of the text"
    )
    (source / "many.txt").write_text("ABCDEFGHIJKL" * 9 + "LLL")
    _, err = call("train", "many.txt", *TUNE, "--init-from=old", "--out=new", status=2)
    assert "never saw: 'L' (12), 'A' (9), " in err
    assert "'I' (9), the 10 commonest of 12; add" in err
    assert not (source / "new").exists()


ERRORS: list[tuple[list[str], str]] = [
    (["--init-from=old", "--out=old"], "--out and --init-from are the same run, old: name another --out"),
    (["--init-from=old", "--out=old", "--overwrite"], "are the same run, old: name another --out"),
    (["--init-from=./old/checkpoints/step-00000040.safetensors", "--out=old", "--overwrite"], "are the same run"),
    (["--init-from=nowhere"], "there is no run directory or checkpoint nowhere"),
    (["--init-from="], ". has no checkpoint: it is not a run directory"),
    (["--init-from=t.txt"], "t.txt is damaged or not a charrnn checkpoint"),
    (["--init-from=torn"], "torn/checkpoints/step-00000040.safetensors: its tensors are damaged"),
    (["--init-from=nan/checkpoints/step-00000040.safetensors"], "holds numbers that are not finite"),
    (["--init-from=huge/checkpoints/step-00000040.safetensors"], "too large for float32: set model.dtype=float64"),
    (["--grow-vocabulary"], "--grow-vocabulary needs the run that the weights come from: add --init-from RUN"),
    (
        ["--init-from=old", "--set=model.hidden_size=9", "--set=model.cell=rnn"],
        "the weights of old do not fit: model.cell is 'gru' there, not 'rnn', model.hidden_size is 8 there, not 9; "
        "leave it out",
    ),
    (["--init-from=old", "--config=quickstart"], "model.num_layers is 2 there, not 1; leave it out"),
    (["--init-from=old", "--set=train.init_sha256=00"], "is not the checkpoint that this configuration began from"),
]


def changed(run: Path, change: Callable[[np.ndarray], np.ndarray], **keys: str) -> None:
    """Copy the run `old` to `run`, with all its weights changed in the last checkpoint."""
    shutil.copytree(run.parent / "old", run)
    path = checkpoint.path_of(run, 40)
    saved = checkpoint.load(path)
    config = saved.meta.config
    meta = replace(saved.meta, config=replace(config, model=replace(config.model, **keys)))
    dtype = meta.config.model.dtype
    tensors = {k: change(v) if "param" in k else v.astype(dtype) for k, v in saved.tensors.items()}
    checkpoint.save(path, Checkpoint(meta, tensors))


def test_what_does_not_fit_is_one_line(call: Call, source: Path) -> None:
    """Every source that is none, or does not fit, is an error that says so; the source is left as it was."""
    changed(source / "nan", lambda array: array * np.float32("nan"))
    changed(source / "huge", lambda array: array.astype("float64") * 1e300, dtype="float64")
    shutil.copytree(source / "old", source / "torn")
    for path in (source / "torn" / "checkpoints").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    for words, message in ERRORS:
        out = [] if any("--out" in word for word in words) else ["--out=x"]
        assert message in call("train", "old.txt", *TUNE, *words, *out, status=2)[1]
    assert {p: p.read_bytes() for p in source.rglob("*") if p.is_file()} == before


def test_resumed_without_its_source(call: Call, source: Path) -> None:
    """Stopped and resumed, the source gone, it is the uninterrupted run to the bit; and so by its configuration."""
    words = ["train", "new.txt", *TUNE, "--init-from=old", "--grow-vocabulary"]
    call(*words, "--out=whole")
    call(*words, "--out=parts", "--stop-after=3")
    call("train", "--config=whole/config.toml", "--out=again")
    recorded = tomllib.loads((source / "whole" / "config.toml").read_text())
    assert recorded["train"]["init_from"] == str(source / "old")
    assert recorded["train"]["grow_vocabulary"] is True
    (source / "old").rename(source / "gone")
    call("train", "--resume", "--out=parts", "--stop-after=3")
    assert "passed over" not in call(*words, "--out=parts", "--resume")[1]
    assert "resuming parts at step 10" in call(*words, "--out=parts", "--resume")[0]
    for run in ("parts", "again"):
        assert (source / run / "config.toml").read_bytes() == (source / "whole" / "config.toml").read_bytes()
        for step in (0, 5, 10):
            assert content(source / run, step) == content(source / "whole", step)
    tail = charrnn.load("whole", device="cpu").evaluate(FRENCH[int(len(FRENCH) * 0.9) :])
    assert json.loads(call("eval", "parts", "--json")[0])["nats_per_char"] == tail.nats_per_char


def test_resume_looks_at_no_source(call: Call, source: Path) -> None:
    """Another source, beside a checkpoint, is passed over with a line; texts are compared by their own characters."""
    call("train", "old.txt", *TUNE, "--init-from=old", "--out=new", "--stop-after=5")
    _, err = call("train", "--resume", "--out=new", "--init-from=t.txt")
    assert "--init-from t.txt is passed over: the run goes on from its own checkpoint" in err.splitlines()
    (source / "other.txt").write_text("he tells bells\n" * 30)
    _, err = call("train", "other.txt", "--resume", "--out=new", status=2)
    assert "old.txt had 450 characters, other.txt has 450; new: 't'" in err
    assert "missing" not in err


def test_a_start_cut_short_begins_from_its_source(call: Call, source: Path) -> None:
    """Before the first checkpoint, --resume starts from the source, whether it is named again or only recorded."""
    words = ["train", "old.txt", *TUNE, "--init-from=old"]
    call(*words, "--out=whole")
    for run, command in (("a", [*words, "--resume"]), ("b", ["train", "--resume"])):
        (source / run).mkdir()
        shutil.copy(source / "whole" / "config.toml", source / run)
        assert "weights: from " in call(*command, f"--out={run}")[1]
        assert content(source / run, 10) == content(source / "whole", 10)


def test_a_configuration_knows_its_source(call: Call, source: Path) -> None:
    """Once the source has other weights, its configuration is refused; naming the source again takes it as it is."""
    call("train", "old.txt", *TUNE, "--init-from=old", "--out=new")
    call("train", "--resume", "--out=old", "--steps=45")
    best = charrnn.load("old", device="cpu")
    assert best.step == 45
    _, err = call("train", "--config=new/config.toml", "--out=again", status=2)
    assert "is not the checkpoint that this configuration began from (train.init_sha256)" in err
    _, err = call("train", "--config=new/config.toml", "--out=again", "--init-from=old")
    assert "weights: from old at step 45; " in err
    recorded = tomllib.loads((source / "again" / "config.toml").read_text())["train"]["init_sha256"]
    assert recorded == checkpoint.content(checkpoint.load(checkpoint.path_of(source / "old", 45)).tensors)


def test_another_type_is_said(call: Call, source: Path) -> None:
    """Weights are taken over in the run's own type, and the note says that they were rounded."""
    _, err = call("train", "old.txt", *TUNE, "--init-from=old", "--out=double", "--set=model.dtype=float64")
    assert "weights: from old at step 40, as float64; " in err
    _, err = call("train", "old.txt", *TUNE, "--init-from=double/checkpoints/step-00000000.safetensors", "--out=single")
    assert "at step 0, rounded from float64 to float32; " in err
    old, double, single = tensors(source / "old", 40), tensors(source / "double", 0), tensors(source / "single", 0)
    for name, array in old.items():
        assert double[name].dtype == np.float64
        assert np.array_equal(double[name], array)
        assert np.array_equal(single[name], array)


def test_a_source_that_nothing_improves_on_is_the_best(call: Call, source: Path) -> None:
    """Unlike an untrained network, the weights that a run begins with may be its best."""
    call(*TRAIN[:2], *TUNE, "--init-from=old", "--out=worse", "--set=optimizer.learning_rate=9")
    assert charrnn.load("worse", device="cpu").step == 0
    call(*TRAIN[:2], *TUNE, *TINY, "--out=scratch", "--set=optimizer.learning_rate=1e-30")
    assert charrnn.load("scratch", device="cpu").step > 0


def test_characters_that_the_text_lacks_begin_no_sample(source: Path) -> None:
    """A sample without a prompt begins with a character of the new text; a prompt may have the old ones."""
    keys = {"train.batch_size": 2, "train.seq_length": 8, "train.device": "cpu", "train.steps": 1}
    model = charrnn.train("eels\n" * 20, settings=keys, init_from=source / "old")
    assert model.vocabulary.characters == "".join(sorted(set(TEXT)))
    pieces = list(model.side_by_side(count=64, length=1, seed=1))
    assert {c for piece in pieces for c in piece if c} == set("els\n")
    assert model.sample("sure, by the shore.", length=4, seed=1)
    with pytest.raises(charrnn.CharrnnError, match="never saw: 'X' \\(20\\)"):
        charrnn.train("eelsX\n" * 20, settings=keys, init_from=source / "old")
    model = charrnn.train("eelsX\n" * 20, settings=keys, init_from=source / "old", grow_vocabulary=True)
    assert "X" in model.vocabulary.characters


def test_large_texts_are_mapped_in_the_union(call: Call, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text from the cache gives the run that the same text in memory gives, resumed and evaluated too."""
    words = ["train", "new.txt", *TUNE, "--init-from=old", "--grow-vocabulary", "--document-separator", r"\n"]
    call(*words, "--out=memory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(source / "home"))
    monkeypatch.setattr(cache, "SMALL", 100)
    monkeypatch.setattr(sources, "BLOCK", 64)
    call(*words, "--out=mapped", "--stop-after=4")
    call("train", "--resume", "--out=mapped")
    assert len(list((source / "home" / "charrnn").glob("*.ids"))) == 2
    last = Path("checkpoints", "step-00000010.safetensors")
    assert (source / "mapped" / last).read_bytes() == (source / "memory" / last).read_bytes()
    assert call("eval", "mapped")[0].partition("checkpoint")[0] == call("eval", "memory")[0].partition("checkpoint")[0]


def test_tune_measures_the_shape_of_the_source(call: Call, source: Path) -> None:
    """The network that `tune` measures is the one that `train` would make."""
    out, _ = call("tune", "old.txt", *TUNE[:3], "--set=train.init_from=old", "--seconds=0.01")
    assert "through gru, 2 x 8, float32" in out
