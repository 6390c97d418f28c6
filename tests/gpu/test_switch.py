"""`train.kernels`: without kernels a GPU runs the array operations that NumPy runs."""

from __future__ import annotations

import pytest
from helpers import cupy_arrays, cupy_cards
from helpers.commands import Call
from helpers.namespaces import fake_gpu
from helpers.trainers import EVERYTHING, one_layer_config, three_documents, trainer

from charrnn.backend import cupy
from charrnn.model.cells import CELLS


def test_without_kernels_the_array_code_runs(text: str, cell: str) -> None:
    """No launch of a step is a kernel of this package, and the losses are those of the kernels and of the CPU."""
    settings = one_layer_config(cell, 7, **EVERYTHING)
    on, off = fake_gpu(), fake_gpu(kernels="off")
    losses = []
    for backend in (None, on, off):
        subject = trainer(settings, three_documents(text), backend)
        cupy_arrays.log.clear()
        for _ in range(3):
            subject.step()
        kernels = cupy_arrays.log.count("kernel")
        assert (kernels > 0) == (backend is on)
        losses.append([measured.loss for measured in subject.drain()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)
    assert off.recurrence(CELLS[cell]) is CELLS[cell]
    assert off.describe_recurrence(CELLS[cell], 4, 8, "float32") == "one operation after another: train.kernels is off"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the `kernels` of each backend of a GPU that is made."""
    original, made = cupy.CupyBackend.__init__, []

    def record(self: cupy.CupyBackend, *arguments: object, kernels: str = "auto", **options: object) -> None:
        made.append(kernels)
        original(self, *arguments, kernels="off", **options)  # the fake GPU's kernels are slow

    monkeypatch.setattr(cupy.CupyBackend, "__init__", record)
    return made


def test_every_command_has_the_switch(call: Call, made: list[str]) -> None:
    """A command uses --kernels, else the setting of its run or configuration, else auto."""
    train = ["train", "t.txt", "--device=cuda", "--steps=2", "--set=model.hidden_size=4", "--set=train.seq_length=8"]
    run, cuda, off = "off", "--device=cuda", "--kernels=off"
    with cupy_cards.with_free_memory(2**30), cupy_cards.readable_values():
        expected = [
            ([*train, "--out=auto"], "auto"),
            ([*train, "--out=off", off], "off"),
            (["sample", run, cuda, "--length=3"], "off"),
            (["sample", run, cuda, "--length=3", "--kernels=auto"], "auto"),
            (["sample", "auto", cuda, "--length=3", off], "off"),
            (["eval", run, cuda], "off"),
            (["eval", "auto", cuda, off], "off"),
            (["score", "auto", "t.txt", cuda, off], "off"),
            (["compare", "auto", cuda, off], "off"),
            (["gradcheck", cuda], "auto"),
            (["gradcheck", cuda, off], "off"),
            (["tune", "t.txt", cuda, off, "--seconds=0.01", "--set=model.hidden_size=4"], "off"),
        ]
        for words, kernels in expected:
            made.clear()
            call(*words)
            assert set(made) == {kernels}, words
