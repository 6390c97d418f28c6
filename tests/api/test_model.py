"""What a trained `Model` writes and measures, against a plain loop over characters."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import TEXT
from helpers.models import SMALL

import charrnn
from charrnn import api


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is recorded."""
    return tmp_path_factory.mktemp("model") / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> api.Model:
    """A trained network, recorded in `run`."""
    return charrnn.train(text=TEXT, settings=SMALL, out=run)


def plain(model: api.Model, text: str) -> list[float]:
    """The surprise in nats of each character of `text` after the first, one character at a time from a cold state."""
    weights, h, result = {name: np.asarray(w) for name, w in model.params.items()}, np.zeros(8), []
    ids = [model.vocabulary.characters.index(c) for c in text]
    for i, target in itertools.pairwise(ids):
        h = np.tanh(weights["layer0.W_xh"][i] + h @ weights["layer0.W_hh"] + weights["layer0.b_h"])
        logits = (h @ weights["output.W_hy"] + weights["output.b_y"]).tolist()
        result.append(math.log(sum(map(math.exp, logits))) - logits[target])
    return result


@pytest.mark.parametrize("options", [{"prompt": "she "}, {"temperature": 0}, {"stop": "s", "top_k": 3, "top_p": 0.9}])
def test_stream_is_sample(model: api.Model, options: dict[str, Any]) -> None:
    """The pieces of a stream make up the sample of the same seed, of the network's own characters."""
    parts = list(model.stream(length=40, seed=4, **options))
    assert "".join(parts) == model.sample(length=40, seed=4, **options)
    assert len(parts) > 2
    assert set("".join(parts)) <= set(TEXT) - set(options.get("stop", ""))
    assert len("".join(parts)) == 40 or "stop" in options


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-9}])
def test_every_way_to_the_likeliest(model: api.Model, options: dict[str, float]) -> None:
    """One candidate, a tiny probability and a tiny temperature all give the text of temperature 0."""
    assert model.sample("she", length=30, **options) == model.sample("she", length=30, temperature=0)
    assert model.sample("she", length=30, seed=1) != model.sample("she", length=30, temperature=0)


def test_samples_side_by_side(model: api.Model) -> None:
    """Several texts come piece by piece side by side and differ; without a seed so do two calls."""
    made = ["".join(parts) for parts in zip(*model.sample_many("she", count=4, length=30, seed=1), strict=True)]
    assert [len(text) for text in made] == [30] * 4
    assert len(set(made)) == 4
    assert model.sample("she", length=30) != model.sample("she", length=30)


def test_unknown_characters_of_a_prompt(model: api.Model) -> None:
    """Skipped characters leave the text as if they were not there; replaced ones as if they were spaces."""
    options: dict[str, Any] = {"length": 20, "seed": 2}
    assert model.sample("sXhYe", unknown="skip", **options) == model.sample("she", **options)
    assert model.sample("sXhYe", unknown="replace", **options) == model.sample("s h e", **options)
    assert model.sample("s h e", **options) != model.sample("she", **options)


def test_score_and_evaluate_agree_with_a_plain_loop(model: api.Model) -> None:
    """Each character's score is that of a plain loop; their mean is what `evaluate` says, in all its units."""
    text = TEXT[3:150]
    expected = plain(model, text)
    assert model.score(text) == pytest.approx(expected, rel=1e-9)
    result, mean = model.evaluate(text), sum(expected) / len(expected)
    assert (result.protocol, result.characters) == ("carried", 146)
    assert result.nats_per_char == pytest.approx(mean, rel=1e-9)
    assert result.bits_per_char == pytest.approx(mean / math.log(2), rel=1e-9)
    assert result.perplexity == pytest.approx(math.exp(mean), rel=1e-9)
    assert [len(model.score(short)) for short in ("", "s", "sh")] == [0, 0, 1]


@pytest.mark.parametrize(("width", "number"), [(1, 146), (10, 14), (146, 1)])
def test_windows_start_cold(model: api.Model, width: int, number: int) -> None:
    """With a window every whole window is read from a cold state, and the rest of the text is left out."""
    text = TEXT[3:150]
    starts = range(0, number * width, width)
    expected = [nats for start in starts for nats in plain(model, text[start : start + width + 1])]
    result = model.evaluate(text, window=width)
    assert (result.protocol, result.characters) == (f"windows:{width}", number * width)
    assert result.nats_per_char == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_validation_split_is_the_end_of_the_text(model: api.Model, run: Path) -> None:
    """Without a text the last tenth of the corpus is evaluated, by a trained and by a loaded model alike."""
    tail = TEXT[int(len(TEXT) * 0.9) :]
    expected = plain(model, tail)
    for each in (model, charrnn.load(run, device="cpu")):
        result = each.evaluate()
        assert (result.protocol, result.characters) == ("carried", len(tail) - 1)
        assert result.nats_per_char == pytest.approx(sum(expected) / len(expected), rel=1e-9)
