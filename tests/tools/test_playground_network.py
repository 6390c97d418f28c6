"""`network.js` of the playground, run by Node: its numbers and its texts are those of charrnn."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from helpers.exported import logits_and_state, random_model

from charrnn.api import Model
from charrnn.errors import ConfigError
from charrnn.sampling import with_start_symbols
from charrnn.sampling.distribution import Settings, truncated
from charrnn.tools.export.playground import SCRIPTS, network_data

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is not installed")
PROMPTS = ("", "ca", "ab\n\n", "de\u0301", "\nab", "\n", "a\n\n\nb", "a\n\n\n")
LOGITS = [{"start_symbol": False}, {"separator": "\n\n"}, {"embedding": 4, "separator": "\n"}]
LOGITS += [{"embedding": 5, "tied": True}, {"embedding": 7, "tied": True}]
TEXT = "\n\ncab\nbad\n\ndé🙂a日b\n\n\na"


def node(model: Model, body: str, *, half: bool = False, **values: Any) -> Any:
    """Return what a function of JavaScript returns. It has `Network`, the network `net`, and `values` by name."""
    names = ", ".join(values)
    script = f"""
        const Network = require({json.dumps(str(SCRIPTS[0]))});
        const [data, {{{names}}}] = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const net = Network.load(data);
        console.log(JSON.stringify((() => {{ {body} }})()));
    """
    ended = subprocess.run(
        [str(NODE), "-e", script],
        input=json.dumps([network_data(model, half=half), values]),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def expected_logits(model: Model, text: str) -> np.ndarray[Any, Any]:
    """Return the logits (N, V) after each of N characters, by charrnn. Each document is read by itself."""
    V, ids, rows = len(model.vocabulary), model.vocabulary.encode(text).astype(np.int64), []
    if model.network.start_symbol:
        ids = with_start_symbols(model.vocabulary, ids, model.config.data.document_separator)
    for document in np.split(ids, np.flatnonzero(ids == V)):
        if len(document):
            state = {name: np.zeros((model.network.num_layers, 1, 7), "float32") for name in model.network.cell.STATES}
            rows += list(logits_and_state(model, document[:, None], state)[0][:, 0])
    return np.array(rows[int(model.network.start_symbol) :])


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("options", LOGITS, ids=str)
def test_logits(cell: str, layers: int, options: dict[str, Any]) -> None:
    """The logits after each character agree to 1e-5, across the ends of documents; the surprises follow from them."""
    model = random_model(cell, layers, **options)
    body = """
        const text = new Network.Document(net);
        text.set(Network.encode(net, words));
        return [text.ids.map((_, i) => Array.from(text.at(i + 1).logits)), text.nats];
    """
    logits, nats = node(model, body, words=TEXT)
    assert np.abs(np.array(logits) - expected_logits(model, TEXT)).max() < 1e-5
    scores = model.score(TEXT)
    assert np.abs(np.array(nats[-len(scores) :]) - scores).max() < 1e-5
    assert (nats[0] is None) == (not model.network.start_symbol)


def test_half() -> None:
    """Float16 weights are read exactly, also the smallest; a weight that does not fit is an error."""
    model, values = random_model("rnn"), np.array([6e-8, -1e-6, 3e-5, -6.2e-5, 0, 65504, 1 / 3], "float32")
    model.params["layer0.b_h"][...] = values
    result = node(model, "return Array.from(net.tensors['recurrent.bias_ih_l0'])", half=True)
    assert result == values.astype(np.float16).tolist()
    model.params["output.b_y"][0] = 1e5
    with pytest.raises(ConfigError, match="too large for float16: leave out --half"):
        network_data(model, half=True)


@pytest.mark.parametrize("options", [{}, {"separator": "\n"}, {"separator": "\n\n"}], ids=str)
def test_greedy_text(cell: str, options: dict[str, Any]) -> None:
    """The text of temperature 0 is that of `Model.sample`; without a prompt it ends where a document does."""
    model = random_model(cell, 3, scale=2.0, **options)
    body = """
        const settings = { ...Network.PLAIN, temperature: 0, seed: 1, length: 150 };
        return cases.map(([prompt, stops]) => Network.sample(net, prompt, { ...settings, stops }));
    """
    text = model.sample("ca", temperature=0, length=150, stop="")
    last = max(text.index(c) for c in set(text))  # where the last of its characters is there for the first time
    stops = ([], ["\n"], [text[last], text[last - 1 : last + 1]], ["never"])
    cases = [(prompt, some) for prompt in PROMPTS for some in stops]
    texts = [model.sample(prompt, temperature=0, length=150, stop=some or None) for prompt, some in cases]
    assert node(model, body, cases=cases) == texts


@pytest.mark.parametrize("separator", ["\n", "\n\n", "aba"])
def test_where_documents_begin(separator: str) -> None:
    """The places of start symbols in a text are those of charrnn; unknown characters count as if they were left out."""
    model, rng = random_model("rnn", characters="\nab", separator=separator), np.random.default_rng(1)
    texts = [[*rng.integers(0, 3, n).tolist()] for n in rng.integers(0, 12, 300)]
    body = """
        const unknown = all.map((ids) => Network.inputsOf(net, ids.flatMap((id) => [-1, id])));
        return [all.map((ids) => Network.inputsOf(net, ids)), unknown.map((ids) => ids.filter((_, i) => i % 2))];
    """
    expected = [with_start_symbols(model.vocabulary, np.array(ids, int), separator)[1:].tolist() for ids in texts]
    assert node(model, body, all=texts) == [expected, expected]


def test_weights_after_truncation() -> None:
    """Temperature, top-k and top-p give the weights that charrnn samples with; min-p drops what is below its share."""
    model, logits = random_model("rnn"), np.random.default_rng(1).standard_normal(40).round(1) * 3
    body = "return all.map((settings) => Array.from(Network.weights(logits, settings)))"
    logits[3:7] = 9.0
    cases = [
        (0.0, 0, 1.0),
        (0.001, 0, 0.5),
        (0.7, 0, 1.0),
        (1.0, 5, 1.0),
        (1.3, 0, 0.8),
        (0.9, 7, 0.5),
        (1e-3, 60, 0.99),
    ]
    settings = [{"temperature": t, "topK": k, "topP": p, "minP": 0} for t, k, p in cases]
    settings.append({"temperature": 1.0, "topK": 0, "topP": 1.0, "minP": 0.1})
    *results, min_p = np.array(node(model, body, logits=logits.tolist(), all=settings))
    for (t, k, p), result in zip(cases, results, strict=True):
        assert np.allclose(result, truncated(logits[None], logits.max()[None], Settings(t, k, p))[0], atol=1e-14)
    plain = np.exp(logits - logits.max())
    assert np.allclose(min_p, np.where(plain < 0.1, 0, plain), atol=1e-14)


def test_marks_do_not_begin_a_text() -> None:
    """A combining mark is not the first character of a text, and comes later."""
    model = random_model("gru", characters="abc\u0301")
    model.params["output.b_y"][3] = 9.0
    body = "return Network.sample(net, '', { ...Network.PLAIN, temperature: 0, seed: 1, length: 5 })"
    text = node(model, body)
    assert text == model.sample(temperature=0, length=5)
    assert text[0] != "\u0301" == text[1]


def test_seeds() -> None:
    """A seed gives one text, another seed another; the uniform numbers fill [0, 1) and choose by the weights."""
    model = random_model("gru", scale=0.3)
    body = """
        const settings = { ...Network.PLAIN, length: 60, stops: [] };
        const texts = [1, 1, 2, 2 ** 40 + 1].map((seed) => Network.sample(net, "a", { ...settings, seed }));
        const uniform = Network.random(7), counts = [0, 0, 0, 0];
        for (let i = 0; i < 40000; i++) counts[Network.choose([1, 0, 0.5, 0.5], uniform())]++;
        return [texts, counts, Network.choose([1, 0, 1, 0], 1 - 2 ** -53)];
    """
    (first, again, *others), counts, last = node(model, body)
    assert first == again
    assert len({first, *others}) == 3
    assert counts[1] == 0
    assert np.allclose(np.array(counts) / 40000, [0.5, 0, 0.25, 0.25], atol=0.01)
    assert last == 2


def test_a_text_that_changes() -> None:
    """After any edit, surprises and logits equal those of a first pass over the whole text, or over its start."""
    model = random_model("lstm", 2, separator="\n")
    body = """
        const state = (text) => [text.nats, Array.from(text.logits), text.state];
        const fresh = (ids) => { const text = new Network.Document(net); text.set(ids); return state(text); };
        const text = new Network.Document(net), random = Network.random(3), different = [];
        let ids = [];
        for (let edit = 0; edit < 60; edit++) {
          const from = Math.floor(random() * (ids.length + 1)), count = Math.floor(random() * 90);
          const added = Array.from({ length: count }, () => Math.floor(random() * (net.V + 1)) - 1);
          ids = [...ids.slice(0, from), ...added, ...ids.slice(from + Math.floor(random() * 40))];
          text.set(ids);
          if (JSON.stringify(state(text)) !== JSON.stringify(fresh(ids))) different.push(edit);
          const n = Math.floor(random() * (ids.length + 1)), before = state(text.at(n));
          if (JSON.stringify(before) !== JSON.stringify(fresh(ids.slice(0, n)))) different.push(-edit);
        }
        return [different, ids.length];
    """
    different, length = node(model, body)
    assert different == []
    assert length > 200


def test_text_that_may_be_a_stop_string_is_held_back() -> None:
    """`certain` never counts a character that the end of the text removes, and at the end it counts all."""
    model = random_model("gru", scale=1.0)
    body = """
        return [1, 2, 3, 4, 5].map((seed) => {
          const settings = { ...Network.PLAIN, seed, length: 400, stops: ["ab", "c d"] }, shown = [];
          const text = new Network.Document(net), writer = new Network.Writer(text, settings);
          do shown.push(writer.certain); while (writer.next());
          return [shown, text.length, writer.certain, writer.reason, writer.written];
        });
    """
    reasons = set()
    for shown, length, certain, reason, written in node(model, body):
        assert shown == sorted(shown)
        assert shown[-1] <= length == certain == len(written)
        assert not any(stop in written for stop in ("ab", "c d"))
        reasons.add(reason)
    assert "stop" in reasons
