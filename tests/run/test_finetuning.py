"""Fine-tuning copies the weights of another run, character by character, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import FINETUNE, FRENCH, TEXT, TINY, TRAIN, Call

import charrnn
from charrnn import checkpoint, seeds
from charrnn.backend.numpy import NumpyBackend
from charrnn.checkpoint import Checkpoint
from charrnn.model import build, initial_weights

STRANGE = sorted(set(FRENCH) - set(TEXT), key=lambda c: (-FRENCH.count(c), c))


def tensors(run: Path, step: int) -> dict[str, np.ndarray]:
    """Return the parameters in a checkpoint."""
    saved = checkpoint.load(checkpoint.path_of(run, step)).tensors
    return {name.partition("/")[2]: array for name, array in saved.items() if name.startswith("parameters/")}


def test_at_step_0_the_network_is_that_of_the_source(call: Call, source: Path) -> None:
    """Without new characters, all weights equal those of the source's best checkpoint, and so does the evaluation."""
    out, err = call("train", "old.txt", *FINETUNE, "--init-from=old", "--out=new")
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
    """Rows of new characters are the seed's initial weights. Other weights, and their log-odds, are the source's."""
    _, err = call("train", "new.txt", *FINETUNE, "--init-from=old", "--grow-vocabulary", "--seed=5", "--out=new")
    shown = " ".join(map(repr, STRANGE))
    assert f", {len(set(TEXT) - set(FRENCH))} of them not in this text, {len(STRANGE)} new ({shown})" in err
    before, after = charrnn.load("old", device="cpu"), charrnn.load("new", checkpoint=0, device="cpu")
    union = sorted({*TEXT, *FRENCH})
    assert after.vocabulary.characters == "".join(union)
    assert after.vocabulary.counts == tuple(map(FRENCH.count, union))
    old = [n for n, c in enumerate(union) if c in TEXT]
    new = [n for n, c in enumerate(union) if c not in TEXT]
    network = build(after.config.model, len(union), NumpyBackend())
    fresh = initial_weights(network, after.config.model, seeds.stream(5, "weights"))
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


@pytest.mark.parametrize("tied", [False, True])
def test_new_characters_get_new_rows_of_an_embedding(source: Path, tied: bool) -> None:
    """Old rows of the table are the source's, new ones the seed's; the other weights are copied as they are."""
    keys = {"model.hidden_size": 8, "model.embedding_size": 4, "model.tie_weights": tied, "train.steps": 3}
    keys |= {"train.batch_size": 2, "train.seq_length": 8, "train.device": "cpu", "log.checkpoint_every": 0}
    charrnn.train(TEXT, settings=keys, out=source / "embedded")
    keys = {key: value for key, value in keys.items() if key.startswith(("train", "log"))}
    charrnn.train(FRENCH, settings=keys, init_from=source / "embedded", grow_vocabulary=True, out=source / "grown")
    model = charrnn.load(source / "grown", checkpoint=0, device="cpu")
    assert (model.config.model.embedding_size, model.config.model.tie_weights) == (4, tied)
    fresh = initial_weights(model.network, model.config.model, seeds.stream(0, "weights"))
    theirs, ours = tensors(source / "embedded", charrnn.load(source / "embedded").step), tensors(source / "grown", 0)
    is_old = np.array([c in TEXT for c in model.vocabulary.characters])
    for name, axis in {"embedding.table": 0, "output.b_y": 0, **({} if tied else {"output.W_hy": 1})}.items():
        made, new = np.moveaxis(ours.pop(name), axis, 0), np.moveaxis(fresh[name], axis, 0).astype("float32")
        assert np.array_equal(made[is_old], np.moveaxis(theirs[name], axis, 0)), name
        assert np.array_equal(made[~is_old], new[~is_old]), name
    assert set(ours) == {"layer0.W_xh", "layer0.W_hh", "layer0.b_h", *(["output.W_he"] if tied else [])}
    for name, array in ours.items():
        assert np.array_equal(array, theirs[name]), name


def test_new_characters_need_permission(call: Call, source: Path) -> None:
    """Without --grow-vocabulary, the error lists at most ten new characters with counts; nothing is written."""
    _, err = call("train", "new.txt", *FINETUNE, "--init-from=old", "--out=new", status=2)
    shown = ", ".join(f"{c!r} ({FRENCH.count(c)})" for c in STRANGE)
    assert err == (
        f"charrnn: new.txt has characters that the network of old never saw: {shown}; "
        "add --grow-vocabulary to teach it these, or leave them out of the text"
    )
    (source / "many.txt").write_text("ABCDEFGHIJKL" * 9 + "LLL")
    _, err = call("train", "many.txt", *FINETUNE, "--init-from=old", "--out=new", status=2)
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
        "set the same value, or none",
    ),
    (["--init-from=old", "--set=model.embedding_size=4"], "model.embedding_size is 0 there, not 4; set the same value"),
    (["--init-from=old", "--config=quickstart"], "model.num_layers is 2 there, not 1; set the same value, or none"),
    (["--init-from=old", "--set=train.init_sha256=00"], "is not the checkpoint that this configuration began from"),
]


def altered_copy(run: Path, change: Callable[[np.ndarray], np.ndarray], **keys: str) -> None:
    """Copy the run `old` to `run`, and change all weights in its last checkpoint."""
    shutil.copytree(run.parent / "old", run)
    path = checkpoint.path_of(run, 40)
    saved = checkpoint.load(path)
    config = saved.meta.config
    meta = replace(saved.meta, config=replace(config, model=replace(config.model, **keys)))
    dtype = meta.config.model.dtype
    tensors = {k: change(v) if "param" in k else v.astype(dtype) for k, v in saved.tensors.items()}
    checkpoint.save(path, Checkpoint(meta, tensors))


def test_a_source_that_does_not_fit_is_an_error(call: Call, source: Path) -> None:
    """The error is one line. The source stays unchanged."""
    altered_copy(source / "nan", lambda array: array * np.float32("nan"))
    altered_copy(source / "huge", lambda array: array.astype("float64") * 1e300, dtype="float64")
    shutil.copytree(source / "old", source / "torn")
    for path in (source / "torn" / "checkpoints").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    for words, message in ERRORS:
        out = [] if any("--out" in word for word in words) else ["--out=x"]
        assert message in call("train", "old.txt", *FINETUNE, *words, *out, status=2)[1]
    assert {p: p.read_bytes() for p in source.rglob("*") if p.is_file()} == before


def test_weights_of_another_dtype(call: Call, source: Path) -> None:
    """Weights are converted to the dtype of the run, and a notice says so."""
    _, err = call("train", "old.txt", *FINETUNE, "--init-from=old", "--out=double", "--set=model.dtype=float64")
    assert "weights: from old at step 40, as float64; " in err
    _, err = call(
        "train", "old.txt", *FINETUNE, "--init-from=double/checkpoints/step-00000000.safetensors", "--out=single"
    )
    assert "at step 0, rounded from float64 to float32; " in err
    old, double, single = tensors(source / "old", 40), tensors(source / "double", 0), tensors(source / "single", 0)
    for name, array in old.items():
        assert double[name].dtype == np.float64
        assert np.array_equal(double[name], array)
        assert np.array_equal(single[name], array)


def test_the_weights_of_the_source_can_be_the_best(call: Call, source: Path) -> None:
    """If training makes the source's weights worse, step 0 is the best; without a source, step 0 never is."""
    call(*TRAIN[:2], *FINETUNE, "--init-from=old", "--out=worse", "--set=optimizer.learning_rate=9")
    assert charrnn.load("worse", device="cpu").step == 0
    call(*TRAIN[:2], *FINETUNE, *TINY, "--out=scratch", "--set=optimizer.learning_rate=1e-30")
    assert charrnn.load("scratch", device="cpu").step > 0


def test_a_sample_begins_with_a_character_of_the_new_text(source: Path) -> None:
    """This holds without a prompt. A prompt can contain characters that only the source knows."""
    keys = {"train.batch_size": 2, "train.seq_length": 8, "train.device": "cpu", "train.steps": 1}
    model = charrnn.train("eels\n" * 20, settings=keys, init_from=source / "old")
    assert model.vocabulary.characters == "".join(sorted(set(TEXT)))
    pieces = list(model.sample_many(count=64, length=1, seed=1))
    assert {c for piece in pieces for c in piece if c} == set("els\n")
    assert model.sample("sure, by the shore.", length=4, seed=1)
    with pytest.raises(charrnn.CharrnnError, match="never saw: 'X' \\(20\\)"):
        charrnn.train("eelsX\n" * 20, settings=keys, init_from=source / "old")
    model = charrnn.train("eelsX\n" * 20, settings=keys, init_from=source / "old", grow_vocabulary=True)
    assert "X" in model.vocabulary.characters
