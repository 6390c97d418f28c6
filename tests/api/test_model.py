"""`charrnn.Model`: sampling and evaluation against a plain loop over characters; saving."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import TEXT, Call
from helpers.models import SMALL, TINY

import charrnn
from charrnn import api, checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run directory."""
    return tmp_path_factory.mktemp("model") / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> api.Model:
    """Return the model of a training that is recorded in `run`."""
    return charrnn.train(text=TEXT, settings=SMALL, out=run)


def scored_in_a_loop(model: api.Model, text: str) -> list[float]:
    """Return the surprise in nats of each character after the first, from a zero state, computed in a plain loop."""
    weights, h, result = {name: np.asarray(w) for name, w in model.params.items()}, np.zeros(8), []
    ids = [model.vocabulary.characters.index(c) for c in text]
    for i, target in itertools.pairwise(ids):
        h = np.tanh(weights["layer0.W_xh"][i] + h @ weights["layer0.W_hh"] + weights["layer0.b_h"])
        logits = (h @ weights["output.W_hy"] + weights["output.b_y"]).tolist()
        result.append(math.log(sum(map(math.exp, logits))) - logits[target])
    return result


@pytest.mark.parametrize("options", [{"prompt": "she "}, {"temperature": 0}, {"stop": "s", "top_k": 3, "top_p": 0.9}])
def test_stream_is_sample(model: api.Model, options: dict[str, Any]) -> None:
    """The pieces of `stream` joined are the text of `sample` with the same seed."""
    parts = list(model.stream(length=40, seed=4, **options))
    assert "".join(parts) == model.sample(length=40, seed=4, **options)
    assert len(parts) > 2
    assert set("".join(parts)) <= set(TEXT) - set(options.get("stop", ""))
    assert len("".join(parts)) == 40 or "stop" in options


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1}, {"temperature": 1e-9}])
def test_options_that_choose_the_most_probable_character(model: api.Model, options: dict[str, float]) -> None:
    """`top_k` 1, a tiny `top_p`, `min_p` 1 and a tiny temperature give the text of temperature 0."""
    assert model.sample("she", length=30, **options) == model.sample("she", length=30, temperature=0)
    assert model.sample("she", length=30, seed=1) != model.sample("she", length=30, temperature=0)


def test_sample_many(model: api.Model) -> None:
    """The texts of one call differ; so do two calls without a seed."""
    made = ["".join(parts) for parts in zip(*model.sample_many("she", count=4, length=30, seed=1), strict=True)]
    assert [len(text) for text in made] == [30] * 4
    assert len(set(made)) == 4
    assert model.sample("she", length=30) != model.sample("she", length=30)


def test_unknown_characters_of_a_prompt(model: api.Model) -> None:
    """A skipped character has no effect; a replaced one has the effect of a space."""
    options: dict[str, Any] = {"length": 20, "seed": 2}
    assert model.sample("sXhYe", unknown="skip", **options) == model.sample("she", **options)
    assert model.sample("sXhYe", unknown="replace", **options) == model.sample("s h e", **options)
    assert model.sample("s h e", **options) != model.sample("she", **options)


def test_score_and_evaluate_agree_with_a_plain_loop(model: api.Model) -> None:
    """`score` agrees with a plain loop for each character, `evaluate` with its mean, in all units."""
    text = TEXT[3:150]
    expected = scored_in_a_loop(model, text)
    assert model.score(text) == pytest.approx(expected, rel=1e-9)
    result, mean = model.evaluate(text), sum(expected) / len(expected)
    assert (result.protocol, result.characters) == ("carried", 146)
    assert result.nats_per_char == pytest.approx(mean, rel=1e-9)
    assert result.bits_per_char == pytest.approx(mean / math.log(2), rel=1e-9)
    assert result.perplexity == pytest.approx(math.exp(mean), rel=1e-9)
    assert [len(model.score(short)) for short in ("", "s", "sh")] == [0, 0, 1]


@pytest.mark.parametrize(("width", "number"), [(1, 146), (10, 14), (146, 1)])
def test_windows_start_from_a_zero_state(model: api.Model, width: int, number: int) -> None:
    """Every whole window is read from a zero state; the rest of the text is not evaluated."""
    text = TEXT[3:150]
    starts = range(0, number * width, width)
    expected = [nats for start in starts for nats in scored_in_a_loop(model, text[start : start + width + 1])]
    result = model.evaluate(text, window=width)
    assert (result.protocol, result.characters) == (f"windows:{width}", number * width)
    assert result.nats_per_char == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_validation_split_is_the_end_of_the_text(model: api.Model, run: Path) -> None:
    """Without a text `evaluate` reads the last tenth of the corpus, for a trained and for a loaded model."""
    tail = TEXT[int(len(TEXT) * 0.9) :]
    expected = scored_in_a_loop(model, tail)
    for each in (model, charrnn.load(run, device="cpu")):
        result = each.evaluate()
        assert (result.protocol, result.characters) == ("carried", len(tail) - 1)
        assert result.nats_per_char == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_weights_from_pytorch_have_no_validation_split() -> None:
    """Their training text is unknown, so `evaluate` needs a text."""
    trained = charrnn.train(TEXT, settings=TINY)
    model = charrnn.from_torch(charrnn.to_torch(trained), trained.vocabulary.characters, device="cpu")
    with pytest.raises(charrnn.CharrnnError, match="weights were trained on is unknown: name a text"):
        model.evaluate()
    assert model.evaluate(TEXT).nats_per_char == trained.evaluate(TEXT).nats_per_char


def test_half_precision_weights() -> None:
    """Weights in float16 are an error that says how to convert them."""
    state = charrnn.to_torch(charrnn.train(TEXT, settings=TINY))
    with pytest.raises(charrnn.CharrnnError, match=r" is float16: convert the module with .float\(\)"):
        charrnn.from_torch({name: array.astype(np.float16) for name, array in state.items()}, "".join(set(TEXT)))


def test_save_weights_from_pytorch(call: Call) -> None:
    """The saved file scores with the same bits, can be sampled on the command line, and can be fine-tuned."""
    trained = charrnn.train(TEXT, settings=TINY | {"model.cell": "gru", "model.num_layers": 2})
    model = charrnn.from_torch(charrnn.to_torch(trained), trained.vocabulary.characters, device="cpu")
    model.save("alone.safetensors")
    again = charrnn.load("alone.safetensors", device="cpu")
    assert np.array_equal(again.score(TEXT), trained.score(TEXT))
    with pytest.raises(charrnn.CharrnnError, match="name a text to evaluate"):
        again.evaluate()
    text, _ = call("sample", "alone.safetensors", "--length=20", "--seed=3", "--prompt=she", "--no-echo")
    assert text == model.sample("she", length=20, seed=3) + "\n"
    more = ("--device=cpu", "--steps=1", "--set=train.batch_size=2")
    out, _ = call("train", "t.txt", "--init-from=alone.safetensors", "--out=r", *more)
    assert "network: gru, 2 x 4" in out


def test_evaluation_on_the_training_text(call: Call) -> None:
    """A notice says that the text is the training text, and how to evaluate the validation split."""
    charrnn.train(files="t.txt", settings=TINY, out="r")
    notices = call("eval", "r", "t.txt")[1]
    assert "t.txt is the text that the run was trained on: leave it out to evaluate the validation split" in notices
    assert "r was trained on t.txt\n" in call("compare", "r", "t.txt", "--window=4")[1]
    Path("other.txt").write_text(TEXT[:-1])
    assert "trained on" not in call("eval", "r", "other.txt")[1]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_save_a_training_without_a_directory(tmp_path: Path, average: float) -> None:
    """The saved file has the same weights, optimizer state and validation split."""
    (tmp_path / "t.txt").write_text(TEXT)
    model = charrnn.train(files=tmp_path / "t.txt", settings=TINY | {"optimizer.average": average})
    model.save(tmp_path / "alone.safetensors")
    again = charrnn.load(tmp_path / "alone.safetensors", device="cpu")
    assert (again.step, again.config) == (3, model.config)
    assert checkpoint.load(tmp_path / "alone.safetensors").tensors["guard/scale"] == 1
    assert again.evaluate() == model.evaluate()
    assert again.evaluate(TEXT, dynamic=True) == model.evaluate(TEXT, dynamic=True)
    again.save(tmp_path / "twice.safetensors")
    twice = charrnn.load(tmp_path / "twice.safetensors", device="cpu")
    assert twice.evaluate(TEXT, dynamic=True) == model.evaluate(TEXT, dynamic=True)
    with pytest.raises(charrnn.CharrnnError, match=r"cannot write .*nowhere"):
        model.save(tmp_path / "nowhere" / "alone.safetensors")
