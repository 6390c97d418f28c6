"""Locked dropout: gradients against the textbook network; masks depend on seed, step and layer alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import textbook
from helpers.namespaces import Case, StrictBackend, strict
from helpers.networks import close, problem
from helpers.trainers import TINY, three_documents, trainer

from charrnn import config
from charrnn.config import Config
from charrnn.model import Workspace, loss_and_grad
from charrnn.model.dropout import drop_inputs
from charrnn.training import masks, step
from charrnn.training.masks import Masks

ON = {"model": {"dropout": 0.4, "input_dropout": 0.2, "recurrent_dropout": 0.3}}


def dropped(case: Case, cell: str) -> SimpleNamespace:
    """Return the textbook's example with dropout, on a namespace."""
    net = problem(case, cell, dropout=True)
    backend, host = net.backend, net.host
    outputs, recurrent = (backend.from_host(mask, case.dtype) for mask in (host.output_masks, host.recurrent_masks))
    masks = {"input_mask": backend.from_host(host.input_mask), "output_masks": outputs, "recurrent_masks": recurrent}
    net.chunk = net.chunk._replace(**masks)
    net.work = Workspace(net.network, net.T, net.B, dropout=True)
    return net


def test_loss_and_gradients_with_dropout_are_the_textbooks(case: Case, cell: str) -> None:
    """With all three kinds of dropout in two layers, the loss and every gradient equal the textbook's."""
    net = dropped(case, cell)
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=0.25)
    expected = textbook.loss(net.host, net.host.weights, 1.0)
    assert float(net.backend.to_host(loss)) == pytest.approx(expected.real, rel=net.case.tolerance)
    for name, gradient in textbook.example_gradient(cell, 0.25, dropout=True).items():
        assert close(net.backend.to_host(net.grads[name]), gradient, net.case.tolerance), name


def test_dropped_characters_become_v(case: Case) -> None:
    """In each stream exactly the ids of its dropped characters become V, the id of "no character"."""
    backend, host = case.make(), textbook.example("rnn", dropout=True)
    inputs = backend.indices(backend.from_host(host.inputs.reshape(-1)))
    ids = drop_inputs(inputs, backend.from_host(host.input_mask), backend=backend)
    expected = [[7 if host.input_mask[b, n] else n for b, n in enumerate(row)] for row in host.inputs.tolist()]
    assert backend.to_host(ids).reshape(host.inputs.shape).tolist() == expected
    assert any(7 in row for row in expected)


def run(settings: dict[str, Any]) -> Config:
    """Return the configuration of a tiny run with dropout."""
    return config.build(config.merged(TINY, ON, settings))


def copied(subject: Masks, step: int, columns: slice) -> list[np.ndarray]:
    """Return copies of the masks of inputs, outputs and recurrent weights."""
    subject.prepare(step)
    masks = subject.of(step, columns)
    return [masks[name].copy() for name in ("input_mask", "output_masks", "recurrent_masks")]


def masks_of(text: str, settings: dict[str, Any]) -> Masks:
    """Return the masks of a tiny run on a text."""
    return trainer(run(settings), three_documents(text)).masks


def test_masks_depend_on_seed_step_and_layer_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's masks are the same in any order, block size and slice; those of another step or seed differ."""
    first = masks_of(text, {})
    steps = [0, 1, 7, 250, 251, 3]
    found = {number: copied(first, number, slice(0, 4)) for number in steps}
    monkeypatch.setattr(masks, "ELEMENTS", 1)
    second, other = masks_of(text, {}), masks_of(text, {"train": {"seed": 4}})
    assert (first.count, second.count) == (100, 1)
    for number in reversed(steps):
        for whole, left, right in zip(
            found[number], copied(second, number, slice(0, 1)), copied(second, number, slice(1, 4)), strict=True
        ):
            parts = np.concatenate([left, right], axis=whole.ndim - 2) if left.shape != right.shape else left
            assert np.array_equal(whole, parts)
        assert not any(
            np.array_equal(a, b) for a, b in zip(found[number], copied(other, number, slice(0, 4)), strict=True)
        )
    for kind in (1, 2):
        drawn = [found[number][kind] for number in steps]
        assert len({mask.tobytes() for mask in drawn}) == len(steps)
        assert all(not np.array_equal(mask[0], mask[1]) for mask in drawn), "the layers share a mask"
        assert not np.array_equal(found[0][1].ravel()[:40] > 0, found[0][2].ravel()[:40] > 0), "the kinds share a mask"


def test_masks_drop_their_share_and_keep_the_mean(text: str) -> None:
    """0.2 of the characters, 0.4 of the outputs and 0.3 of the weights are dropped; the rest is scaled to the mean."""
    subject = masks_of(text, {"model": {"hidden_size": 200}, "train": {"batch_size": 16}})
    found = [copied(subject, number, slice(0, 16)) for number in range(10)]
    hidden, outputs, weights = (np.stack([masks[i] for masks in found]) for i in range(3))
    assert hidden.mean() == pytest.approx(0.2, abs=0.03)
    assert outputs.mean() == pytest.approx(1.0, abs=0.02)
    assert sorted(set(outputs.ravel().tolist())) == pytest.approx([0, 1 / 0.6], rel=1e-4)
    assert (outputs == 0).mean() == pytest.approx(0.4, abs=0.02)
    assert sorted(set(weights.ravel().tolist())) == pytest.approx([0, 1 / 0.7], rel=1e-4)
    assert (weights == 0).mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("threads", "shards"), [(3, 3), (2, 3)])
def test_dropout_is_the_same_for_any_number_of_workers(text: str, threads: int, shards: int, cell: str) -> None:
    """The bits of training with dropout do not depend on the number of workers."""
    settings = run({"train": {"shards": shards, "batch_size": 8}, "model": {"cell": cell}})
    one, many = (trainer(settings, three_documents(text), threads=n) for n in (1, threads))
    for _ in range(130):  # more than one block of masks
        one.step(), many.step()
        if one.full:
            assert one.drain() == many.drain()
    many.close()
    assert np.array_equal(one.vector, many.vector)


def test_shards_see_one_batch_of_masks(text: str) -> None:
    """Other shards drop the same characters, outputs and weights of each stream: only the rounding differs."""
    vectors = []
    for shards in (1, 3):
        subject = trainer(run({"train": {"shards": shards}, "model": {"dtype": "float64"}}), three_documents(text))
        for _ in range(10):
            subject.step()
        vectors.append(subject.vector.copy())
    assert close(vectors[1], vectors[0], 1e-10)


def test_masks_are_uploaded_between_steps(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device gets the masks of many steps at a time: only every `count`-th step uploads."""
    uploads = []
    subject = trainer(run({"model": {"dtype": "float64"}}), three_documents(text), strict("device1"))
    original = StrictBackend.from_host
    for _ in range(2):
        subject.step()
    monkeypatch.setattr(
        StrictBackend, "from_host", lambda self, *a, **o: uploads.append(subject.done) or original(self, *a, **o)
    )
    while subject.done < subject.masks.count + 2:
        subject.drain()
        subject.step()
    assert subject.masks.count == step.CAPACITY
    assert set(uploads) == {subject.masks.count}


def test_nothing_is_dropped_without_dropout(text: str) -> None:
    """Without dropout there are no masks but those of resets, and no workspace for dropout."""
    subject = trainer(config.build(TINY), three_documents(text))
    subject.step()
    assert set(subject.masks.arrays) == {"keep"}
    assert set(subject.masks.of(0, slice(0, 4))) == {"keep"}
    assert all(work.dtable is None for spare in subject.free.values() for work in spare)
