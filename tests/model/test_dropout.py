"""Locked dropout: gradients against the textbook, masks as functions of (seed, step, layer), none in evaluation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import close, problem
from helpers import textbook
from helpers.namespaces import Case, StrictBackend, strict
from helpers.trainers import TINY, text_corpus, trainer

from charrnn import config
from charrnn.config import Config
from charrnn.model import Chunk, Workspace, drop_inputs, loss_and_grad
from charrnn.training import masks, step
from charrnn.training.masks import Masks

ON = {"model": {"dropout": 0.4, "input_dropout": 0.2, "recurrent_dropout": 0.3}}


def dropped(case: Case, cell: str) -> SimpleNamespace:
    """The textbook's example with dropout, on a namespace."""
    net = problem(case, cell, dropout=True)
    backend, host = net.backend, net.host
    ids = backend.indices(backend.from_host(host.inputs))
    inputs = drop_inputs(ids, backend.from_host(host.hidden), backend=backend)
    drop, connections = (backend.from_host(mask, case.dtype) for mask in (host.drop, host.connections))
    net.chunk = Chunk(backend.xp.reshape(inputs, (-1,)), net.chunk.targets, net.chunk.keep, drop, connections)
    net.work = Workspace(net.network, net.T, net.B, dropout=True)
    return net


def test_loss_and_gradients_with_dropout_are_the_textbooks(case: Case, cell: str) -> None:
    """Hidden characters and dropped outputs in two layers: loss and every gradient equal the textbook's."""
    net = dropped(case, cell)
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=0.25)
    expected = textbook.loss(net.host, net.host.weights, 1.0)
    assert float(net.backend.to_host(loss)) == pytest.approx(expected.real, rel=net.case.tolerance)
    for name, gradient in textbook.example_gradient(cell, 0.25, dropout=True).items():
        assert close(net.backend.to_host(net.grads[name]), gradient, net.case.tolerance), name


def test_hidden_characters_read_as_none(case: Case) -> None:
    """In each stream exactly the ids of its hidden characters become V."""
    backend, host = case.make(), textbook.example("rnn", dropout=True)
    ids = drop_inputs(backend.indices(backend.from_host(host.inputs)), backend.from_host(host.hidden), backend=backend)
    expected = [[7 if host.hidden[b, n] else n for b, n in enumerate(row)] for row in host.inputs.tolist()]
    assert backend.to_host(ids).tolist() == expected
    assert any(7 in row for row in expected)


def run(settings: dict[str, Any]) -> Config:
    """A tiny run with dropout."""
    return config.build(config.merged(TINY, ON, settings))


def seen(subject: Masks, step: int, columns: slice) -> list[np.ndarray]:
    """Copies of the masks of characters and outputs, which belong to streams, and of recurrent weights."""
    subject.reach(step)
    mask = subject.of(step, columns)
    return [mask.characters.copy(), mask.outputs.copy(), mask.connections.copy()]


def masks_of(text: str, settings: dict[str, Any]) -> Masks:
    """The masks of a tiny run on a text."""
    return trainer(run(settings), text_corpus(text)).masks


def test_masks_depend_on_seed_step_and_layer_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order, in blocks of any size, whole or sliced, a step's masks are the same; another's, or seed's, not."""
    first = masks_of(text, {})
    steps = [0, 1, 7, 250, 251, 3]
    found = {number: seen(first, number, slice(0, 4)) for number in steps}
    monkeypatch.setattr(masks, "AHEAD", 1)
    second, other = masks_of(text, {}), masks_of(text, {"train": {"seed": 4}})
    assert (first.ahead, second.ahead) == (100, 1)
    for number in reversed(steps):
        for whole, left, right in zip(
            found[number], seen(second, number, slice(0, 1)), seen(second, number, slice(1, 4)), strict=True
        ):
            parts = np.concatenate([left, right], axis=whole.ndim - 2) if left.shape != right.shape else left
            assert np.array_equal(whole, parts)
        assert not any(
            np.array_equal(a, b) for a, b in zip(found[number], seen(other, number, slice(0, 4)), strict=True)
        )
    for kind in (1, 2):
        drawn = [found[number][kind] for number in steps]
        assert len({mask.tobytes() for mask in drawn}) == len(steps)
        assert all(not np.array_equal(mask[0], mask[1]) for mask in drawn), "the layers share a mask"
        assert not np.array_equal(found[0][1].ravel()[:40] > 0, found[0][2].ravel()[:40] > 0), "the kinds share a mask"


def test_masks_drop_their_share_and_keep_the_mean(text: str) -> None:
    """A fifth of the characters, 0.4 of the outputs and 0.3 of the weights go; what is kept is scaled to the mean."""
    subject = masks_of(text, {"model": {"hidden_size": 200}, "train": {"batch_size": 16}})
    found = [seen(subject, number, slice(0, 16)) for number in range(10)]
    hidden, outputs, weights = (np.stack([masks[i] for masks in found]) for i in range(3))
    assert hidden.mean() == pytest.approx(0.2, abs=0.03)
    assert outputs.mean() == pytest.approx(1.0, abs=0.02)
    assert sorted(set(outputs.ravel().tolist())) == pytest.approx([0, 1 / 0.6], rel=1e-4)
    assert (outputs == 0).mean() == pytest.approx(0.4, abs=0.02)
    assert sorted(set(weights.ravel().tolist())) == pytest.approx([0, 1 / 0.7], rel=1e-4)
    assert (weights == 0).mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("threads", "shards"), [(3, 3), (2, 3)])
def test_dropout_is_the_same_for_any_number_of_workers(text: str, threads: int, shards: int, cell: str) -> None:
    """The bits of training with dropout do not depend on the number of workers, helper processes included."""
    settings = run({"train": {"shards": shards, "batch_size": 8}, "model": {"cell": cell}})
    one, many = (trainer(settings, text_corpus(text), threads=n) for n in (1, threads))
    for _ in range(130):  # more than one block of masks
        one.step(), many.step()
        if one.full:
            assert one.drain() == many.drain()
    many.close()
    assert np.array_equal(one.vector, many.vector)


def test_shards_see_one_batch_of_masks(text: str) -> None:
    """With other shards the same streams lose the same characters, outputs and weights: only the rounding differs."""
    vectors = []
    for shards in (1, 3):
        subject = trainer(run({"train": {"shards": shards}, "model": {"dtype": "float64"}}), text_corpus(text))
        for _ in range(10):
            subject.step()
        vectors.append(subject.vector.copy())
    assert close(vectors[1], vectors[0], 1e-10)


def test_masks_are_uploaded_between_steps(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device gets the masks of many steps at once: nothing is uploaded but at every `ahead`-th step."""
    uploads = []
    subject = trainer(run({"model": {"dtype": "float64"}}), text_corpus(text), strict("device1"))
    original = StrictBackend.from_host
    for _ in range(2):
        subject.step()
    monkeypatch.setattr(
        StrictBackend, "from_host", lambda self, *a, **o: uploads.append(subject.done) or original(self, *a, **o)
    )
    while subject.done < subject.masks.ahead + 2:
        subject.drain()
        subject.step()
    assert subject.masks.ahead == step.CAPACITY
    assert set(uploads) == {subject.masks.ahead}


def test_nothing_is_dropped_without_dropout(text: str) -> None:
    """Without dropout there are no masks but those of dropped states, and no memory for any."""
    subject = trainer(config.build(TINY), text_corpus(text))
    subject.step()
    assert set(subject.masks.arrays) == {"keep"}
    mask = subject.masks.of(0, slice(0, 4))
    assert mask.characters is None
    assert mask.outputs is None
    assert mask.connections is None
    assert mask.keep is not None
    assert all(work.dtable is None for spare in subject.free.values() for work in spare)
