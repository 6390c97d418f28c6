"""The training step: it computes the same on every namespace and never waits for the device."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from helpers.namespaces import Case, StrictBackend, strict
from helpers.networks import close
from helpers.trainers import EVERYTHING, TINY, one_document, three_documents, trainer

import charrnn
from charrnn import config
from charrnn.backend import one_thread
from charrnn.training.step import CAPACITY


@pytest.mark.parametrize("everything", [False, True])
def test_steps_are_the_same_on_every_namespace(case: Case, cell: str, text: str, everything: bool) -> None:
    """Steps beyond the end of a sweep give the parameters, losses and states of NumPy in float64."""
    corpus = three_documents(text)
    tested, float64 = (
        config.build(config.merged(TINY, EVERYTHING if everything else {}, {"model": {"dtype": dtype, "cell": cell}}))
        for dtype in (case.dtype, "float64")
    )
    subject, reference = trainer(tested, corpus, case.make()), trainer(float64, corpus)
    for _ in range(reference.streams.chunks + 3):
        subject.step()
        reference.step()
    host = subject.network.backend.to_host
    tolerance = case.tolerance * 50
    assert close(host(subject.vector), reference.vector, tolerance)
    assert close(host(subject.average), reference.average, tolerance)
    for name, state in reference.state().items():
        assert close(host(subject.state()[name]), state, tolerance), name
    losses = [[m.loss for m in t.drain()] for t in (subject, reference)]
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)
    assert everything or losses[1][-1] < losses[1][0] - 0.1
    assert not np.array_equal(reference.average, reference.vector) or not everything


RMSPROP = {"optimizer": {"name": "rmsprop"}}
WAITS = (
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__complex__",
    "__array__",
    "__iter__",
    "to_device",
    "__len__",
)


@pytest.mark.parametrize("more", [EVERYTHING, *(pytest.param(m, marks=pytest.mark.slow) for m in ({}, RMSPROP))])
@pytest.mark.parametrize(("cell", "poison"), [("rnn", True), ("gru", False), ("lstm", False), ("lstm", True)])
def test_a_step_never_waits(
    text: str, monkeypatch: pytest.MonkeyPatch, poison: bool, cell: str, more: config.Table
) -> None:
    """No step, not even a bad one, converts a value to a Python number or transfers one to or from the host."""
    backend = strict("device1")
    settings = config.build(config.merged(TINY, {"model": {"dtype": "float64", "cell": cell}}, more))
    subject = trainer(settings, three_documents(text), backend)
    subject.step()  # the first step makes the workspaces
    if poison:
        subject.params["output.W_hy"][0, 0] = float("nan")

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the step waited for the device")

    with monkeypatch.context() as patch:
        for name in WAITS:
            patch.setattr(type(subject.vector), name, refuse, raising=False)
        patch.setattr(StrictBackend, "to_host", refuse)
        patch.setattr(StrictBackend, "from_host", refuse)
        for _ in range(subject.streams.chunks + 1):
            subject.step()
        with pytest.raises(AssertionError, match="waited"):
            float(subject.vector[0])
    assert np.isnan(subject.drain()[-1].loss) == poison


@pytest.mark.parametrize("more", [{}, EVERYTHING, RMSPROP])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_step_changes_nothing_but_the_position(
    text: str, monkeypatch: pytest.MonkeyPatch, bad: float, more: config.Table
) -> None:
    """A gradient with one element that is not finite changes no parameter, slot or state, and halves the rate."""
    subject = trainer(config.build(config.merged(TINY, {"model": {"cell": "lstm"}}, more)), three_documents(text))
    for _ in range(3):
        subject.step()
    arrays = [subject.vector, subject.average, *subject.slots.values()]
    before = [array.copy() for array in arrays], subject.state()
    original = subject.compute

    def poisoned(part: int, step: int) -> None:
        original(part, step)
        subject.shards[1].grad[7] = bad

    with monkeypatch.context() as patch:
        patch.setattr(subject, "compute", poisoned)
        subject.step()
    assert all(np.array_equal(old, new) for old, new in zip(before[0], arrays, strict=True))
    for name, state in subject.state().items():
        assert np.array_equal(before[1][name], state), name
        assert np.any(state)
    assert (subject.done, float(subject.guard.scale), int(subject.guard.bad)) == (4, 0.5, 1)
    assert [(m.step, m.skipped, m.scale, m.bad) for m in subject.drain()[2:]] == [(3, False, 1.0, 0), (4, True, 0.5, 1)]
    subject.step()
    assert not np.array_equal(before[0][0], subject.vector)
    assert int(subject.guard.bad) == 0


def test_a_step_touches_at_most_twelve_files(text: str) -> None:
    """Somebody who reads what a step calls, with everything switched on, opens at most 12 files."""
    subject = trainer(config.build(config.merged(TINY, EVERYTHING)), three_documents(text))
    subject.step()  # the first step makes the workspaces
    package, touched = str(Path(charrnn.__file__).parent), set()

    def record(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            touched.add(Path(frame.f_code.co_filename).relative_to(package).as_posix())

    sys.setprofile(record)
    try:
        for _ in range(subject.streams.chunks):
            subject.step()
    finally:
        sys.setprofile(None)
    reading_order = {"model/cells/rnn.py", "model/bptt.py", "optim/rules.py", "training/step.py"}
    assert reading_order <= touched
    assert len(touched) <= 12, sorted(touched)


def test_a_thread_that_finds_no_free_workspace_makes_one(text: str) -> None:
    """If another thread uses the last free workspace between the check and the `pop`, a new one is made."""

    class Contested(list):
        """A list that claims to have an element, but is empty when `pop` is called."""

        def __bool__(self) -> bool:
            return True

        def __len__(self) -> int:
            return 1

    one, other = (trainer(config.build(TINY), three_documents(text)) for _ in range(2))
    width = one.shards[0].columns.stop
    one.free = {width: Contested()}
    one.step(), other.step()
    assert np.array_equal(one.vector, other.vector)


def test_losses_are_kept_until_read(text: str) -> None:
    """The device keeps `CAPACITY` losses; reading them all at once or in pieces gives the same values."""
    corpus = one_document(text)
    one, other = (trainer(config.build(TINY), corpus) for _ in range(2))
    pieces = []
    for i in range(CAPACITY):
        one.step()
        other.step()
        pieces += other.drain() if i % 7 == 0 else []
    assert one.full
    assert one.drain() == pieces + other.drain()


@pytest.mark.parametrize("shards", [1, 2])
def test_memory_does_not_grow_with_the_steps(text: str, shards: int) -> None:
    """After every 100 steps, with sweeps and drained losses, Python and NumPy use the same amount of memory."""
    settings = config.build(config.merged(TINY, {"train": {"shards": shards}, "model": {"hidden_size": 32}}))
    subject = trainer(settings, three_documents(text))

    def bytes_after_100_steps() -> int:
        with one_thread:  # as the training loop does
            for _ in range(100):
                subject.step()
        subject.drain()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    bytes_after_100_steps()
    tracemalloc.start()
    try:
        levels = [bytes_after_100_steps() for _ in range(5)]
    finally:
        tracemalloc.stop()
    # A loss, an id or a view that is kept at each step would need at least 2,400 bytes for 100 steps.
    assert min(after - before for before, after in pairwise(levels[1:])) < 1024
