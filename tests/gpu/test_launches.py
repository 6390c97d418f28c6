"""The launches of a training step, counted on a fake GPU: few, and none after which the host waits."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import cuda_cpu, cupy_arrays
from helpers.namespaces import fake_gpu
from helpers.networks import close
from helpers.trainers import EVERYTHING, one_document, one_layer_config, three_documents, trainer

from charrnn import config
from charrnn.training import masks
from charrnn.training.step import Trainer

MOST = 40


def launches(subject: Trainer, steps: int) -> list[int]:
    """Return the number of launches of each step."""
    counts = []
    for _ in range(steps):
        cupy_arrays.log.clear()
        subject.step()
        counts.append(len(cupy_arrays.log))
    return counts


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_a_step_is_few_launches_however_long_the_chunk(text: str, cell: str, name: str) -> None:
    """A step has at most 40 launches for any T, with and without resets inside the chunk, and never waits."""
    counts = [
        launches(trainer(one_layer_config(cell, T, optimizer={"name": name}), three_documents(text), fake_gpu()), 12)[
            1:
        ]
        for T in (3, 17)
    ]
    assert max(map(max, counts)) <= MOST, cupy_arrays.log
    assert min(counts[0]) == min(counts[1])


@pytest.mark.parametrize(("most", "drawn"), [(masks.ELEMENTS, [3, 0, 0]), (1, [3, 3, 3])])
def test_masks_are_drawn_by_one_launch_of_each_kind(
    text: str, monkeypatch: pytest.MonkeyPatch, most: int, drawn: list[int]
) -> None:
    """Small masks are drawn for many steps at a time, others at every step. Of all masks only resets are uploaded."""
    monkeypatch.setattr(masks, "ELEMENTS", most)
    subject, counts = trainer(one_layer_config("lstm", 3, **EVERYTHING), one_document(text), fake_gpu()).masks, []
    for step in range(3):
        cupy_arrays.log.clear()
        subject.prepare(step)
        counts.append(cupy_arrays.log.count("kernel"))
        assert cupy_arrays.log.count("upload") == len(masks.RESETS) * (step == 0)
    assert counts == drawn


def test_the_fake_gpu_refuses_to_wait(text: str) -> None:
    """Every conversion of an array to a Python value raises, so a step that waits fails its test."""
    subject = trainer(one_layer_config("rnn", 3), three_documents(text), fake_gpu())
    for wait in (float, int, bool, lambda array: array.item(), lambda array: array.tolist()):
        with pytest.raises(cupy_arrays.WaitError):
            wait(subject.vector[0])


@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_twenty_steps_agree_with_the_cpu(text: str, cell: str, more: config.Table) -> None:
    """Both devices have the same weights, batches and masks: float32 losses agree to 1e-4 over twenty steps."""
    settings = one_layer_config(cell, 9, **more)
    cpu, gpu = trainer(settings, three_documents(text)), trainer(settings, three_documents(text), fake_gpu())
    host = gpu.network.backend.to_host
    assert np.array_equal(cpu.vector, host(gpu.vector))
    for _ in range(20):
        cpu.step()
        gpu.step()
    losses = [[measured.loss for measured in t.drain()] for t in (cpu, gpu)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert close(host(gpu.vector), cpu.vector, 1e-3)


def test_the_guard_skips_bad_steps(text: str) -> None:
    """A gradient that is not finite changes no parameter and halves the rate; three in a row stop all updates."""
    subject = trainer(one_layer_config("rnn", 3), three_documents(text), fake_gpu())
    host = subject.network.backend.to_host
    subject.step()
    before, weight = host(subject.vector), subject.params["output.W_hy"]
    kept = host(weight)
    weight[0, 0] = float("nan")
    seen = []
    for _ in range(3):
        subject.step()
        seen.append((float(host(subject.guard.scale)), float(host(subject.guard.bad))))
    assert seen == [(0.5, 1.0), (0.25, 2.0), (0.125, 3.0)]
    weight[...] = subject.network.backend.from_host(kept)
    subject.step()
    assert np.array_equal(host(subject.vector), before)
    assert float(host(subject.guard.bad)) == 3.0


def test_a_kernel_that_does_not_fit_is_replaced_by_the_loop(
    text: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If not all blocks of a launch fit on the card at once, the cell's loop runs: more launches, the same weights."""
    expected, subject = (trainer(one_layer_config(cell, 3), three_documents(text), fake_gpu()) for _ in range(2))
    few = launches(expected, 2)
    monkeypatch.setattr(cuda_cpu.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *_: 0)
    many = launches(subject, 2)
    assert many[1] > few[1] + 3 * 3
    host = subject.network.backend.to_host
    assert close(host(subject.vector), host(expected.vector), 1e-4)
