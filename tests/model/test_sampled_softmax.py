"""The sampled softmax: its gradients, its candidates, and trainings with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import textbook
from helpers.commands import Call
from helpers.namespaces import Case
from helpers.networks import close, problem
from helpers.trainers import one_document, one_layer_config, trainer

import charrnn
from charrnn.model import Workspace, loss_and_grad
from charrnn.model.sampled_softmax import Candidates, draw_candidates, number_of_candidates

EXAMPLE = {"layers": 1, "T": 4, "V": 20, "E": 4, "tied": True, "sampled": True}
TEXT = " ".join("".join(chr(0x4E00 + i * j % 101) for i in range(1, 100)) for j in range(1, 12))
"""Of 101 distinct characters."""
TRAINED = {
    "model.hidden_size": 6,
    "model.embedding_size": 4,
    "model.tie_weights": True,
    "train.sampled_softmax": 10,
    "train.batch_size": 4,
    "train.seq_length": 5,
    "train.device": "cpu",
    "train.steps": 20,
    "optimizer.schedule": "constant",
    "optimizer.warmup": 0.0,
}


def sampled(net: SimpleNamespace) -> tuple[Candidates, int]:
    """Return the candidates of the textbook's example in another order than drawn ones have, and their number."""
    ids = np.flatnonzero(np.isfinite(net.host.shift))[::-1]
    positions = [list(ids).index(target) for target in net.host.targets.reshape(-1)]
    backend, dtype = net.backend, net.case.dtype
    shift = backend.from_host(net.host.shift[ids], dtype)
    return Candidates(backend.host_indices(ids), shift, backend.host_indices(np.array(positions))), len(ids)


@pytest.mark.parametrize("E", [4, 5], ids=["projection", "no projection"])
@pytest.mark.parametrize("logits", [2**22, 1], ids=["whole", "blocks"])
def test_loss_and_gradients_agree_with_the_textbook(
    case: Case, cell: str, E: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients equal those of a softmax in which the other characters have no share; none is all zero."""
    monkeypatch.setattr("charrnn.model.network.MOST_LOGITS", logits)
    net = problem(case, cell, **EXAMPLE | {"E": E})
    candidates, K = sampled(net)
    chunk, work = net.chunk._replace(candidates=candidates), Workspace(net.network, net.T, net.B, candidates=K)
    for _ in range(2):  # the second pass finds the arrays as the first one left them
        loss = loss_and_grad(net.network, net.params, net.grads, chunk, net.state, work, scale=0.25)
        expected = textbook.loss(net.host, net.host.weights, 1.0)
        assert float(net.backend.to_host(loss)) == pytest.approx(expected, rel=case.tolerance)
        for name, gradient in textbook.example_gradient(cell, 0.25, **EXAMPLE | {"E": E}).items():
            assert close(net.backend.to_host(net.grads[name]), gradient, case.tolerance), name
            assert np.max(np.abs(gradient)) > 1e-3, name


def test_candidates() -> None:
    """The targets come first, each once; the others differ from them and from each other, and stand for all."""
    targets = np.array([[7, 3], [3, 9], [7, 7]])
    ids, shift, positions = draw_candidates(np.random.default_rng(0), targets, 40, 13)
    assert ids[:3].tolist() == [3, 7, 9]
    assert len(set(ids.tolist())) == len(ids) == 13
    assert np.array_equal(ids[positions], targets)
    assert shift[:3].tolist() == [0, 0, 0]
    assert shift[3:] == pytest.approx(np.log(37 / 10))


def test_the_sum_of_exponentials_is_right_on_average() -> None:
    """Over many draws the mean of the sampled sum is the sum over all characters."""
    rng, targets = np.random.default_rng(1), np.array([0, 5, 5, 11])
    exps, total = rng.exponential(size=60), 0.0
    for _ in range(4000):
        ids, shift, _ = draw_candidates(rng, targets, 60, 12)
        total += float(np.sum(exps[ids] * np.exp(shift))) / 4000
    assert total == pytest.approx(float(np.sum(exps)), rel=0.01)


@pytest.mark.parametrize(("others", "V", "expected"), [(0, 90, 0), (10, 90, 30), (69, 90, 89), (70, 90, 0), (5, 20, 0)])
def test_how_many_characters(others: int, V: int, expected: int) -> None:
    """A step of 20 characters needs up to 20 and the others; if these are all characters, nothing is sampled."""
    assert number_of_candidates(others, 20, V) == expected


def weights(model: charrnn.Model) -> bytes:
    """Return the bytes of all weights."""
    return b"".join(array.tobytes() for array in model.host_weights().values())


def test_every_step_and_seed_draws_other_characters(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step has the same ones whether they are drawn for one step or for many at a time."""

    def drawn(seed: int) -> list[list[int]]:
        model, train = {"embedding_size": 4, "tie_weights": True}, {"sampled_softmax": 4, "seed": seed}
        masks = trainer(one_layer_config("rnn", 3, model=model, train=train), one_document(text)).masks
        ids = []
        for step in range(6):
            masks.prepare(step)
            candidates = masks.of(step, slice(0, 4))["candidates"]
            ids.append(candidates.ids[candidates.targets.max() + 1 :].tolist())
        return ids

    first = drawn(1)
    monkeypatch.setattr("charrnn.training.masks.ELEMENTS", 1)
    assert drawn(1) == first
    assert all(a[:4] != b[:4] for a, b in zip(first, drawn(2), strict=True))
    assert len({tuple(others[:4]) for others in first}) == 6


def test_workers_and_resumed_runs(tmp_path: Path) -> None:
    """The weights are the same on one and two workers, and in a resumed run."""
    keys = TRAINED | {"train.shards": 2}
    first = weights(charrnn.train([TEXT], settings=keys, threads=1))
    assert weights(charrnn.train([TEXT], settings=keys, threads=2)) == first
    charrnn.train([TEXT], settings=keys | {"train.steps": 9}, out=tmp_path / "run")
    resumed = charrnn.train([TEXT], settings={"train.steps": 20}, out=tmp_path / "run", resume=True)
    assert weights(resumed) == first
    assert weights(charrnn.train([TEXT], settings=keys | {"train.sampled_softmax": 0}, threads=1)) != first


def test_shards_share_the_characters_of_a_step() -> None:
    """So another number of shards changes the weights by rounding alone."""
    one, four = (
        charrnn.train([TEXT], settings=TRAINED | {"train.shards": shards, "model.dtype": "float64"}).host_weights()
        for shards in (1, 4)
    )
    for name, array in one.items():
        assert np.allclose(array, four[name], rtol=0, atol=1e-10), name


def test_a_text_with_few_characters_is_not_sampled(call: Call, tmp_path: Path) -> None:
    """The weights are those of a softmax over all characters, and a line says why."""
    (tmp_path / "text.txt").write_text(TEXT)
    settings = [f"--set={key}={str(value).lower()}" for key, value in TRAINED.items()]
    for others in (81, 0):  # and 20 characters of a step
        _, err = call("train", "text.txt", *settings, f"--set=train.sampled_softmax={others}", f"--out={others}")
        line = "train.sampled_softmax does nothing: a step has 20 characters and 81 others, and the text 101 distinct"
        assert (line in err) == (others == 81)
    networks = [charrnn.load(tmp_path / name, device="cpu") for name in ("81", "0")]
    assert weights(networks[0]) == weights(networks[1])


def test_it_needs_tied_weights(call: Call) -> None:
    """Without them it is an error that says what to set."""
    _, err = call("train", "--set=train.sampled_softmax=9", "--out=run", status=2)
    assert "train.sampled_softmax needs tied weights: set model.embedding_size and model.tie_weights" in err
