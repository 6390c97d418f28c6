"""The masks of dropout: they depend on seed, step and layer only, and any number of workers uses the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.namespaces import StrictBackend, strict
from helpers.networks import close
from helpers.trainers import TINY, three_documents, trainer

from charrnn import config
from charrnn.config import Config
from charrnn.training import masks, step
from charrnn.training.masks import Masks

ON = {"model": {"dropout": 0.4, "input_dropout": 0.2, "recurrent_dropout": 0.3}}


def with_dropout(settings: dict[str, Any]) -> Config:
    """Return the configuration of a tiny run with dropout."""
    return config.build(config.merged(TINY, ON, settings))


def copied(subject: Masks, step: int, columns: slice) -> list[np.ndarray]:
    """Return copies of the masks of inputs, outputs and recurrent weights."""
    subject.prepare(step)
    masks = subject.of(step, columns)
    return [masks[name].copy() for name in ("input_mask", "output_masks", "recurrent_masks")]


def masks_of(text: str, settings: dict[str, Any]) -> Masks:
    """Return the masks of a tiny run with dropout on a text."""
    return trainer(with_dropout(settings), three_documents(text)).masks


def test_masks_depend_on_seed_step_and_layer_alone(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step has the same masks in any order, block size and slice; those of another step or seed differ."""
    first = masks_of(text, {})
    steps = [0, 1, 7, 250, 251, 3]
    all_masks = {number: copied(first, number, slice(0, 4)) for number in steps}
    monkeypatch.setattr(masks, "ELEMENTS", 1)
    second, other = masks_of(text, {}), masks_of(text, {"train": {"seed": 4}})
    assert (first.count, second.count) == (100, 1)
    for number in reversed(steps):
        for whole, left, right in zip(
            all_masks[number], copied(second, number, slice(0, 1)), copied(second, number, slice(1, 4)), strict=True
        ):
            parts = np.concatenate([left, right], axis=whole.ndim - 2) if left.shape != right.shape else left
            assert np.array_equal(whole, parts)
        assert not any(
            np.array_equal(a, b) for a, b in zip(all_masks[number], copied(other, number, slice(0, 4)), strict=True)
        )
    for kind in (1, 2):
        drawn = [all_masks[number][kind] for number in steps]
        assert len({mask.tobytes() for mask in drawn}) == len(steps)
        assert all(not np.array_equal(mask[0], mask[1]) for mask in drawn), "the layers share a mask"
        assert not np.array_equal(all_masks[0][1].ravel()[:40] > 0, all_masks[0][2].ravel()[:40] > 0), (
            "the kinds share a mask"
        )


def test_masks_drop_their_share_and_keep_the_mean(text: str) -> None:
    """0.2 of the characters, 0.4 of the outputs and 0.3 of the weights are dropped, and the rest keep the mean."""
    subject = masks_of(text, {"model": {"hidden_size": 200}, "train": {"batch_size": 16}})
    all_masks = [copied(subject, number, slice(0, 16)) for number in range(10)]
    hidden, outputs, weights = (np.stack([masks[i] for masks in all_masks]) for i in range(3))
    assert hidden.mean() == pytest.approx(0.2, abs=0.03)
    assert outputs.mean() == pytest.approx(1.0, abs=0.02)
    assert sorted(set(outputs.ravel().tolist())) == pytest.approx([0, 1 / 0.6], rel=1e-4)
    assert (outputs == 0).mean() == pytest.approx(0.4, abs=0.02)
    assert sorted(set(weights.ravel().tolist())) == pytest.approx([0, 1 / 0.7], rel=1e-4)
    assert (weights == 0).mean() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("threads", "shards"), [(3, 3), (2, 3)])
def test_dropout_is_the_same_for_any_number_of_workers(text: str, threads: int, shards: int, cell: str) -> None:
    """Any number of workers gives the same bits in training with dropout."""
    settings = with_dropout({"train": {"shards": shards, "batch_size": 8}, "model": {"cell": cell}})
    one, many = (trainer(settings, three_documents(text), threads=n) for n in (1, threads))
    for _ in range(130):  # more than one block of masks
        one.step(), many.step()
        if one.full:
            assert one.drain() == many.drain()
    many.close()
    assert np.array_equal(one.vector, many.vector)


def test_shards_share_the_masks_of_a_batch(text: str) -> None:
    """Any number of shards drops the same characters, outputs and weights of a stream, so only rounding differs."""
    vectors = []
    for shards in (1, 3):
        subject = trainer(
            with_dropout({"train": {"shards": shards}, "model": {"dtype": "float64"}}), three_documents(text)
        )
        for _ in range(10):
            subject.step()
        vectors.append(subject.vector.copy())
    assert close(vectors[1], vectors[0], 1e-10)


def test_masks_are_uploaded_between_steps(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device receives the masks of many steps at a time: only every `count`-th step uploads."""
    uploads = []
    subject = trainer(with_dropout({"model": {"dtype": "float64"}}), three_documents(text), strict("device1"))
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


def test_there_are_no_masks_without_dropout(text: str) -> None:
    """Without dropout the only masks are those of resets, and no workspace has memory for dropout."""
    settings = config.merged(TINY, {"model": {"start_symbol": False}})
    subject = trainer(config.build(settings), three_documents(text))
    subject.step()
    assert set(subject.masks.arrays) == {"keep"}
    assert set(subject.masks.of(0, slice(0, 4))) == {"keep"}
    assert all(work.dtable is None for spare in subject.free.values() for work in spare)
