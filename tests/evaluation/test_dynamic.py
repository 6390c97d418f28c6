"""Dynamic evaluation against a plain loop over the textbook's network and complex steps."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import textbook
from helpers.namespaces import Case

import charrnn
from charrnn.backend import ThreadPool
from charrnn.backend.numpy import NumpyBackend
from charrnn.checkpoint import Checkpoint, Meta
from charrnn.config import Config, ModelConfig, OptimizerConfig
from charrnn.evaluation.dynamic import Dynamic, Learner, dynamic_evaluation
from charrnn.evaluation.protocols import carried, chunk_at
from charrnn.model import Workspace, build
from charrnn.text import Part, Vocabulary

V, H, STEP, START = 5, 3, 4, 9
IDS = np.random.default_rng(3).integers(0, V, 14)
RULES = {
    "adagrad": OptimizerConfig(name="adagrad", clip_norm=1.5, clip_value=0.6, eps=1e-3),
    "adam": OptimizerConfig(name="adam", clip_norm=0, beta1=0.7, beta2=0.9, eps=1e-3, weight_decay=0.5),
}


@cache
def start(cell: str, slot: str) -> dict[str, np.ndarray]:
    """Weights, or a non-zero optimiser memory like them."""
    weights = textbook.example(cell, layers=1, V=V, H=H).weights
    rng = np.random.default_rng(len(slot))
    return weights if slot == "parameters" else {n: rng.random(w.shape) + 0.1 for n, w in weights.items()}


def problem(case: Case | None, cell: str, rule: OptimizerConfig, part: Part | None = None) -> SimpleNamespace:
    """A small network after `STEP` steps of a run, on a namespace: everything that a dynamic evaluation takes."""
    backend, dtype = (case.make(), case.dtype) if case else (NumpyBackend(), "float64")
    model = ModelConfig(cell=cell, hidden_size=H, dtype=dtype, start_symbol=False)
    network = build(model, V, backend)
    slots = ("mean", "square") if rule.name == "adam" else ("square_sum",)
    tensors = {f"optimizer/{s}/{n}": w.astype(dtype) for s in slots for n, w in start(cell, s).items()}
    vocabulary = Vocabulary("abcde", (1,) * V)
    meta = Meta(STEP, 0, Config(model=model, optimizer=rule), vocabulary, "", "", 0.0, None, 0)
    flat = np.zeros(network.layout.size)
    for name, view in network.layout.views(flat, xp=np).items():
        view[...] = start(cell, "parameters")[name]
    params = network.views(backend.from_host(flat, dtype))
    part = part or Part(IDS, np.array([START]))
    return SimpleNamespace(network=network, params=params, part=part, saved=Checkpoint(meta, tensors))


def measured(given: SimpleNamespace, how: Dynamic) -> charrnn.evaluation.protocols.Evaluation:
    """The dynamic evaluation of a problem."""
    return dynamic_evaluation(given.network, given.params, given.part, given.saved, how)


@cache
def by_hand(cell: str, name: str, T: int, rate: float) -> float:
    """The mean nats of a plain loop: a chunk's loss, its gradient by complex steps, one update, number by number."""
    said, total, done = RULES[name], 0.0, STEP
    weights = {n: w.copy() for n, w in start(cell, "parameters").items()}
    first, second = ({n: w.copy() for n, w in start(cell, s).items()} for s in ("mean", "square"))
    if name == "adagrad":
        second = {n: w.copy() for n, w in start(cell, "square_sum").items()}
    states = {s: np.zeros((1, 1, H)) for s in (("hidden", "cell_state") if cell == "lstm" else ("hidden",))}
    for begin in range(0, len(IDS) - 1, T):
        rows = np.arange(begin, min(begin + T, len(IDS) - 1))
        host = SimpleNamespace(
            cell=cell,
            layers=1,
            state=states,
            inputs=IDS[rows][:, None],
            targets=IDS[rows + 1][:, None],
            keep=(rows != START)[:, None] * 1.0,
            input_mask=np.zeros((1, V), bool),
            output_masks=np.ones((1, 1, H)),
            recurrent_masks=np.ones((1, H, 1)),
            begins=np.zeros((len(rows), 1), bool),
            shift=np.zeros(V),
        )
        host.weights = weights
        total += textbook.loss(host, weights, 1.0).real
        grads = textbook.gradient(host, 1.0)
        layer = [{s: array[0, 0] for s, array in states.items()}]
        for t in range(len(rows)):
            layer = [{s: host.keep[t, 0] * array for s, array in layer[0].items()}]
            textbook.logits(host, weights, layer, host.inputs[t, 0], 0)
        states = {s: array[None, None] for s, array in layer[0].items()}
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
        done += 1
        for n, g in grads.items():
            if said.clip_norm:
                g = g * min(1.0, said.clip_norm / norm)
            if said.clip_value:
                g = np.clip(g, -said.clip_value, said.clip_value)
            if name == "adagrad":
                second[n] += g**2
                weights[n] = weights[n] - rate * g / np.sqrt(second[n] + said.eps)
            else:
                first[n] = said.beta1 * first[n] + (1 - said.beta1) * g
                second[n] = said.beta2 * second[n] + (1 - said.beta2) * g**2
                root = np.sqrt(second[n] / (1 - said.beta2**done))
                weights[n] = weights[n] - rate * first[n] / (1 - said.beta1**done) / (root + said.eps)
    return total / (len(IDS) - 1)


@pytest.mark.parametrize("name", RULES)
def test_plain_loop(case: Case, cell: str, name: str) -> None:
    """Chunk by chunk: the loss first, then the run's own step with its memory, over a document's end."""
    given = problem(case, cell, RULES[name])
    before = {n: given.network.backend.to_host(w) for n, w in given.params.items()}
    result = measured(given, Dynamic(chunk=6, rate=0.2))
    assert result.nats_per_char == pytest.approx(by_hand(cell, name, 6, 0.2), rel=case.tolerance)
    assert (result.characters, result.protocol) == (13, "dynamic:6@0.2")
    assert abs(result.nats_per_char - measured(given, Dynamic(6, 0.0)).nats_per_char) > 1e-3
    for n, weights in given.params.items():
        assert np.array_equal(given.network.backend.to_host(weights), before[n]), n


@pytest.mark.parametrize(("name", "whole"), [("adagrad", 0.4), ("adam", 2.0)])
def test_own_rate_is_a_share_of_the_runs(name: str, whole: float) -> None:
    """Without a rate it is half of Adagrad's, a tenth of Adam's, whatever its schedule says, and is not named."""
    rule = replace(RULES[name], learning_rate=whole, schedule="cosine")
    result = measured(problem(None, "rnn", rule), Dynamic(chunk=6))
    assert result.nats_per_char == pytest.approx(by_hand("rnn", name, 6, 0.2), rel=1e-10)
    assert result.protocol == "dynamic:6"


@pytest.mark.parametrize("T", [1, 2, 32, 1000])
def test_without_learning_it_is_carried(case: Case, T: int) -> None:
    """At rate 0 the loss is that of `carried`, over documents and over more chunks than are read at once."""
    ids = np.random.default_rng(4).integers(0, V, 130)
    given = problem(case, "rnn", RULES["adagrad"], Part(ids, np.array([7, 64, 65, 129])))
    exact = carried(given.network, given.params, given.part, ThreadPool(1)).nats_per_char
    assert measured(given, Dynamic(T, 0.0)).nats_per_char == pytest.approx(exact, rel=case.tolerance)
    learnt = measured(given, Dynamic(T, 0.1)).nats_per_char
    assert (abs(learnt - exact) < 1e-4) == (T == 1000)


@pytest.mark.parametrize("T", [1, 5, 8])
def test_first_chunk_is_predicted_before_it_is_learnt(cell: str, T: int) -> None:
    """What the first chunk costs does not depend on the rate."""
    given = problem(None, cell, RULES["adam"], Part(IDS[: T + 1]))
    exact = carried(given.network, given.params, given.part, ThreadPool(1)).nats_per_char
    for rate in (0.0, 1.0, 1e30):
        assert measured(given, Dynamic(T, rate)).nats_per_char == pytest.approx(exact, rel=1e-12)


def test_bad_step_is_skipped() -> None:
    """Where the loss is not finite nothing is learnt but the state goes on, at half the rate from then on."""
    given = problem(None, "rnn", RULES["adagrad"], Part(np.array([0, 1, 2, 3, 4, 4, 4, 0, 1, 2])))
    given.params["output.b_y"][4] = -1e308
    learner, work = Learner(given.network, given.params, given.saved, 0.1), Workspace(given.network, 3, 1)

    def read(begin: int) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        chunk = chunk_at(given.network, given.part, np.arange(begin, begin + 3)[:, None])
        nats = float(learner.read(chunk, work))
        return nats, learner.vector.copy(), learner.slots["square_sum"].copy(), learner.state["hidden"].copy()

    first, bad, after = read(0), read(3), read(6)
    assert [math.isfinite(r[0]) for r in (first, bad, after)] == [True, False, True]
    assert all(np.array_equal(first[i], bad[i]) for i in (1, 2))
    assert not np.array_equal(first[3], bad[3])
    expected = bad[1] - 0.05 * learner.grad / np.sqrt(after[2] + 1e-3)
    assert after[1] == pytest.approx(expected, rel=1e-12)
    assert not np.array_equal(after[1], bad[1])


def test_three_bad_steps_end_the_learning() -> None:
    """A step whose gradient overflows is none, though its loss is finite; after three not even a good one is taken."""
    given = problem(None, "rnn", replace(RULES["adagrad"], clip_norm=0.0, clip_value=0.0), Part(np.tile(IDS, 3)))
    given.params["output.W_hy"][...] *= 1e200
    learner, work = Learner(given.network, given.params, given.saved, 0.1), Workspace(given.network, 8, 1)
    vector, memory = learner.vector.copy(), learner.slots["square_sum"].copy()
    for begin in range(0, 40, 8):
        if begin == 24:
            learner.params["output.W_hy"][...] *= 1e-200
            vector = learner.vector.copy()
        chunk = chunk_at(given.network, given.part, np.arange(begin, begin + 8)[:, None])
        assert math.isfinite(learner.read(chunk, work))
        assert np.array_equal(learner.vector, vector)
        assert np.array_equal(learner.slots["square_sum"], memory)
