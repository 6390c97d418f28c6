"""Dynamic evaluation by a model and by the command: what it leaves as it was, whose memory it has, its errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TEXT, Call

import charrnn
from charrnn import api
from charrnn.checkpoint import path_of
from charrnn.errors import CheckpointError, ConfigError, TextError
from charrnn.evaluation.dynamic import Dynamic, dynamic_evaluation

KEYS = {"model.hidden_size": 8, "model.dtype": "float64", "train.seq_length": 8, "train.batch_size": 2}
SMALL = KEYS | {"train.steps": 30, "train.device": "cpu", "optimizer.name": "adam", "optimizer.average": 0.9}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with averaged weights."""
    out = tmp_path_factory.mktemp("dynamic") / "run"
    charrnn.train(TEXT, settings=SMALL, out=out)
    return out


def test_model_stays_as_it_was(run: Path) -> None:
    """Learning from a text helps on it; the model, its file and what comes next are as if nothing had happened."""
    model = charrnn.load(run, checkpoint="last", device="cpu")
    file, weights = path_of(run, 30).read_bytes(), {n: w.copy() for n, w in model.params.items()}
    before, first, again, after = (model.evaluate(TEXT, dynamic=d).nats_per_char for d in (False, True, True, False))
    assert first == again < before == after
    assert path_of(run, 30).read_bytes() == file
    assert all(np.array_equal(weights[n], w) for n, w in model.params.items())


def test_averaged_weights_learn(run: Path) -> None:
    """Where a run has averaged weights, it is they that learn, with the memory of the run's optimiser."""
    model = charrnn.load(run, checkpoint="last", device="cpu")
    saved = charrnn.checkpoint.load(path_of(run, 30))
    layout, part = model.network.layout, model.encode(TEXT, "error")
    average = layout.views(saved.vector("average", layout), xp=np)
    expected = dynamic_evaluation(model.network, average, part, saved, Dynamic()).nats_per_char
    assert model.evaluate(TEXT, dynamic=True).nats_per_char == expected
    other = replace(saved, tensors={n: np.abs(t) + 0.1 for n, t in saved.tensors.items()})
    assert dynamic_evaluation(model.network, average, part, other, Dynamic()).nats_per_char != expected


def test_trained_and_loaded_alike(run: Path) -> None:
    """A model that comes from training, with a directory or without, has the same memory as one from its file."""
    expected = charrnn.load(run, checkpoint="last", device="cpu").evaluate(dynamic=True)
    assert expected.characters == len(TEXT) - int(len(TEXT) * 0.9) - 1
    assert charrnn.train(TEXT, settings=SMALL).evaluate(dynamic=True) == expected
    assert charrnn.train(TEXT, settings=SMALL, out=run, resume=True).evaluate(dynamic=True) == expected


def test_command_says_what_the_api_says(run: Path, call: Call) -> None:
    """`--dynamic`, its chunk and rate, on a file or the validation split, in JSON and in words."""
    model = charrnn.load(run, device="cpu")
    for words, text, how, protocol in (
        ([], None, Dynamic(), "dynamic:32"),
        (["t.txt", "--dynamic-chunk=7"], TEXT, Dynamic(7), "dynamic:7"),
        (["t.txt", "--dynamic-rate=0.03"], TEXT, Dynamic(rate=0.03), "dynamic:32@0.03"),
        (["t.txt", "--dynamic-chunk=7", "--dynamic-rate=0.03"], TEXT, Dynamic(7, 0.03), "dynamic:7@0.03"),
    ):
        values = json.loads(call("eval", run, *words, "--dynamic", "--json")[0])
        expected = model.evaluate(text, dynamic=how)
        assert (values["protocol"], expected.protocol) == (protocol, protocol)
        assert values["nats_per_char"] == expected.nats_per_char
        assert f"protocol       {protocol}\n" in call("eval", run, *words, "--dynamic")[0]
    for words, message in (
        (["--dynamic", "--window=5"], "use --dynamic or --window, not both"),
        (["--dynamic-chunk=5"], "--dynamic-chunk and --dynamic-rate need --dynamic"),
        (["--dynamic-rate=0"], "--dynamic-chunk and --dynamic-rate need --dynamic"),
        (["--dynamic", "--dynamic-chunk=0"], "--dynamic-chunk must be at least 1, not 0"),
        (["--dynamic", "--dynamic-rate=-1"], "--dynamic-rate must be at least 0 and at most 1e38, not -1.0"),
        (["--dynamic", "--dynamic-rate=nan"], "--dynamic-rate must be at least 0 and at most 1e38, not nan"),
    ):
        assert call("eval", run, *words, status=2)[1] == f"charrnn: {message}"


def test_errors(run: Path) -> None:
    """What cannot be done says what to do instead."""
    model: api.Model = charrnn.load(run, device="cpu")
    with pytest.raises(TextError, match="1 characters; at least 2"):
        model.evaluate("s", dynamic=True)
    single = charrnn.train(TEXT, settings=SMALL | {"model.dtype": "float32", "train.steps": 1})
    with pytest.raises(CheckpointError, match="lower --dynamic-rate, or use an earlier checkpoint"):
        single.evaluate(TEXT, dynamic=Dynamic(rate=1e38))
    strange = charrnn.from_torch(charrnn.to_torch(model), model.vocabulary.characters, device="cpu")
    assert strange.evaluate(TEXT).nats_per_char == pytest.approx(model.evaluate(TEXT).nats_per_char)
    with pytest.raises(ConfigError, match=r"no optimizer state.*: evaluate without --dynamic"):
        strange.evaluate(TEXT, dynamic=True)
