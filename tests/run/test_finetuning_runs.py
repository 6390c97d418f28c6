"""Fine-tuned runs are resumed, repeated from their configuration, recorded, cached and measured."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import FINETUNE, FRENCH, Call

import charrnn
from charrnn import checkpoint
from charrnn.text import cache, sources


def content(run: Path, step: int) -> tuple[object, ...]:
    """Return the content of a checkpoint, without the name of the text."""
    saved = checkpoint.load(checkpoint.path_of(run, step))
    return checkpoint.digest_of(saved.tensors), replace(saved.meta, corpus="")


def test_resume_needs_no_source(call: Call, source: Path) -> None:
    """A run that is resumed after its source is gone, or repeated from its configuration, gives equal checkpoints."""
    words = ["train", "new.txt", *FINETUNE, "--init-from=old", "--grow-vocabulary"]
    call(*words, "--out=whole")
    call(*words, "--out=parts", "--stop-after=3")
    call("train", "--config=whole/config.toml", "--out=again")
    recorded = tomllib.loads((source / "whole" / "config.toml").read_text())
    assert recorded["train"]["init_from"] == str(source / "old")
    assert recorded["train"]["grow_vocabulary"] is True
    (source / "old").rename(source / "gone")
    call("train", "--resume", "--out=parts", "--stop-after=3")
    assert "is ignored" not in call(*words, "--out=parts", "--resume")[1]
    assert "resuming parts at step 10" in call(*words, "--out=parts", "--resume")[0]
    for run in ("parts", "again"):
        assert (source / run / "config.toml").read_bytes() == (source / "whole" / "config.toml").read_bytes()
        for step in (0, 5, 10):
            assert content(source / run, step) == content(source / "whole", step)
    tail = charrnn.load("whole", device="cpu").evaluate(FRENCH[int(len(FRENCH) * 0.9) :])
    assert json.loads(call("eval", "parts", "--json")[0])["nats_per_char"] == tail.nats_per_char


def test_resume_ignores_another_source(call: Call, source: Path) -> None:
    """A notice says so. An error about another text compares only characters that occur in the texts."""
    call("train", "old.txt", *FINETUNE, "--init-from=old", "--out=new", "--stop-after=5")
    _, err = call("train", "--resume", "--out=new", "--init-from=t.txt")
    assert "--init-from t.txt is ignored: the run continues from its own checkpoint" in err.splitlines()
    (source / "other.txt").write_text("he tells bells\n" * 30)
    _, err = call("train", "other.txt", "--resume", "--out=new", status=2)
    assert "old.txt had 450 characters, other.txt has 450; new: 't'" in err
    assert "missing" not in err


def test_resume_before_the_first_checkpoint_reads_the_source(call: Call, source: Path) -> None:
    """The source can be named again, or only be recorded in config.toml."""
    words = ["train", "old.txt", *FINETUNE, "--init-from=old"]
    call(*words, "--out=whole")
    for run, command in (("a", [*words, "--resume"]), ("b", ["train", "--resume"])):
        (source / run).mkdir()
        shutil.copy(source / "whole" / "config.toml", source / run)
        assert "weights: from " in call(*command, f"--out={run}")[1]
        assert content(source / run, 10) == content(source / "whole", 10)


def test_a_configuration_records_the_hash_of_its_source(call: Call, source: Path) -> None:
    """If the source has changed, the configuration is refused, unless --init-from names the source again."""
    call("train", "old.txt", *FINETUNE, "--init-from=old", "--out=new")
    call("train", "--resume", "--out=old", "--steps=45")
    best = charrnn.load("old", device="cpu")
    assert best.step == 45
    _, err = call("train", "--config=new/config.toml", "--out=again", status=2)
    assert "is not the checkpoint that this configuration began from (train.init_sha256)" in err
    _, err = call("train", "--config=new/config.toml", "--out=again", "--init-from=old")
    assert "weights: from old at step 45; " in err
    recorded = tomllib.loads((source / "again" / "config.toml").read_text())["train"]["init_sha256"]
    assert recorded == checkpoint.digest_of(checkpoint.load(checkpoint.path_of(source / "old", 45)).tensors)


def test_large_texts_are_mapped_in_the_union(call: Call, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on a text in the cache equals the run on the same text in memory, after a resume and in `eval`, too."""
    words = ["train", "new.txt", *FINETUNE, "--init-from=old", "--grow-vocabulary", "--document-separator", r"\n"]
    call(*words, "--out=memory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(source / "home"))
    monkeypatch.setattr(cache, "SMALL", 100)
    monkeypatch.setattr(sources, "BLOCK", 64)
    call(*words, "--out=mapped", "--stop-after=4")
    call("train", "--resume", "--out=mapped")
    assert len(cache.entries()) == 2
    last = Path("checkpoints", "step-00000010.safetensors")
    assert (source / "mapped" / last).read_bytes() == (source / "memory" / last).read_bytes()
    assert call("eval", "mapped")[0].partition("checkpoint")[0] == call("eval", "memory")[0].partition("checkpoint")[0]


def test_tune_measures_the_shape_of_the_source(call: Call, source: Path) -> None:
    """`tune` measures the network that `train` would make."""
    out, _ = call("tune", "old.txt", *FINETUNE[:3], "--set=train.init_from=old", "--seconds=0.01")
    assert "through gru, 2 x 8, float32" in out
