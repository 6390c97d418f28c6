"""The launches of a training step, counted on a fake GPU: few, and none after which the host waits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers import cuda_cpu, cupy_arrays
from helpers.namespaces import fake_gpu, gpu
from helpers.networks import close
from helpers.trainers import EVERYTHING, one_document, one_layer_config, three_documents, trainer

from charrnn import config
from charrnn.backend import Backend
from charrnn.model.cells import CELLS
from charrnn.training import masks
from charrnn.training.step import Trainer

DROPOUTS = {"model": {"dropout": 0.2, "input_dropout": 0.1, "recurrent_dropout": 0.3}}
TIED = {"model": {"embedding_size": 4, "tie_weights": True}}
SAMPLED = TIED | {"train": {"seq_length": 3, "sampled_softmax": 4}}
LAUNCHES = {"one layer": (23, 25, 25), "all dropouts": (35, 37, 37), "two layers": (35, 39, 39)}
LAUNCHES |= {"embedding": (28, 30, 30), "tied": (32, 34, 34), "sampled": (41, 43, 43)}
"""Launches, products and copies of a step of the rnn, the gru and the lstm, as traced below the real CuPy."""
MORE = {"one layer": {}, "all dropouts": DROPOUTS, "two layers": {"model": {"num_layers": 2}}}
MORE |= {"embedding": {"model": {"embedding_size": 4}}, "tied": TIED, "sampled": SAMPLED}


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
    """A step has as many launches for any T, at most two more if states are reset inside the chunk, and never waits."""
    counts = [
        launches(trainer(one_layer_config(cell, T, optimizer={"name": name}), three_documents(text), fake_gpu()), 12)[
            1:
        ]
        for T in (3, 17)
    ]
    expected = dict(zip(CELLS, LAUNCHES["one layer"], strict=True))[cell]
    assert [min(count) for count in counts] == [expected, expected]
    assert max(map(max, counts)) <= expected + 2, cupy_arrays.log


@pytest.mark.parametrize("shape", LAUNCHES)
def test_the_launches_of_each_shape(text: str, shape: str) -> None:
    """The fake counts what the real CuPy does, also where that copies an operand first: no step needs such a copy."""
    counts = {}
    for cell in CELLS:
        subject = trainer(one_layer_config(cell, 7, **MORE[shape]), one_document(text), fake_gpu())
        subject.step()
        counts[cell] = launches(subject, 1)[0]
        assert "copy" not in cupy_arrays.log
    assert counts == dict(zip(CELLS, LAUNCHES[shape], strict=True))


def test_the_fake_gpu_counts_copies() -> None:
    """It counts copies of an operand that overlaps the result in another view, and of a slice before a product."""
    device = fake_gpu()
    matrix, ones = device.zeros((4, 6), "float32"), device.zeros((1, 4), "float32")
    cupy_arrays.log.clear()
    np.multiply(matrix, matrix, out=matrix)
    np.multiply(matrix.reshape(24), 2.0, out=matrix.reshape(24))
    device.matmul(ones, matrix, out=device.empty((1, 6), "float32"))
    device.matmul(ones, matrix[:, 2:4], out=device.empty((1, 2), "float32"))
    device.column_sums(matrix[:, 2:4], ones=ones, out=device.empty((2,), "float32"))
    assert cupy_arrays.log == ["multiply", "copy", "multiply", "dot", "copy", "dot", "sum"]


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
        assert cupy_arrays.log.count("upload") == (step == 0)
    assert counts == drawn


def test_the_fake_gpu_refuses_to_wait(text: str) -> None:
    """Every conversion of an array to a Python value raises, so a step that waits fails its test."""
    subject = trainer(one_layer_config("rnn", 3), three_documents(text), fake_gpu())
    for wait in (float, int, bool, lambda array: array.item(), lambda array: array.tolist()):
        with pytest.raises(cupy_arrays.WaitError):
            wait(subject.vector[0])


@pytest.mark.parametrize("make", [fake_gpu, pytest.param(gpu, marks=pytest.mark.gpu)])
@pytest.mark.parametrize(
    "more",
    [{}, EVERYTHING, config.merged(EVERYTHING, TIED), config.merged(EVERYTHING, SAMPLED)],
    ids=["plain", "everything", "tied", "sampled"],
)
def test_twenty_steps_agree_with_the_cpu(text: str, cell: str, more: config.Table, make: Callable[[], Backend]) -> None:
    """Both devices have the same weights, batches and masks: float32 losses agree to 1e-4 over twenty steps."""
    settings = one_layer_config(cell, 9, **more)
    cpu, gpu = trainer(settings, three_documents(text)), trainer(settings, three_documents(text), make())
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
