"""Texts that a GPU writes: those of the CPU, by few launches a character."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from helpers import cupy_arrays, cupy_cards
from helpers.commands import TINY, Call
from helpers.namespaces import fake_gpu, gpu

import charrnn
from charrnn.backend import Backend
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import Network, Views, build
from charrnn.model.cells import CELLS
from charrnn.sampling import Settings, generate
from charrnn.sampling.generate import Writer

GPUS = [pytest.param(fake_gpu, id="fake"), pytest.param(gpu, id="real", marks=pytest.mark.gpu)]


def network(backend: Backend, cell: str, *, V: int = 9, layers: int = 1) -> tuple[Network, Views]:
    """Return a random network and its weights, the same on every backend."""
    made = build(ModelConfig(hidden_size=8, num_layers=layers, cell=cell, dtype="float64", dropout=0.0), V, backend)
    return made, made.views(backend.from_host(np.random.default_rng(4).standard_normal(made.layout.size), "float64"))


def written(backend: Backend, cell: str, options: Settings) -> np.ndarray:
    """Return 40 characters (40, 3) that continue prompts."""
    prompts = np.random.default_rng(5).integers(0, 9, (6, 3))
    stream = generate(*network(backend, cell, layers=2), prompts, options, np.random.default_rng(6))
    return np.concatenate([next(stream) for _ in range(6)])[:40]


@pytest.mark.parametrize("make", GPUS)
@pytest.mark.parametrize("options", [Settings(0.0), Settings(), Settings(1.3, 4, 0.8)], ids=["greedy", "all", "cut"])
def test_texts_equal_the_cpus(make: Callable[[], Backend], cell: str, options: Settings) -> None:
    """The same seed gives the same text on both devices."""
    cpu, gpu = written(NumpyBackend(), cell, options), written(make(), cell, options)
    assert len(np.unique(cpu)) > 2
    assert cpu.tolist() == gpu.tolist()


def block(cell: str, *, N: int, B: int = 2, V: int = 9, options: Settings) -> list[str]:
    """Return the log of what a fake GPU does for a block of N characters of B streams."""
    writer = Writer(*network(fake_gpu(), cell, V=V), np.zeros((2, B), int))
    cupy_arrays.log.clear()
    assert writer.write(np.random.default_rng(1).random((N, B)), options).shape == (N, B)
    return list(cupy_arrays.log)


def test_a_character_is_one_download_one_upload_and_few_launches(cell: str) -> None:
    """The host chooses, so the logits come down and the ids go up; nothing more waits, for any streams and settings."""
    logs = [
        block(cell, N=1, options=Settings()),
        block(cell, N=6, options=Settings()),
        block(cell, N=11, B=5, options=Settings(1.0)),
        block(cell, N=16, V=90, options=Settings(0.7, 8, 0.9)),
        block(cell, N=21, options=Settings(0.0)),
    ]
    for log in logs:
        assert log.count("download") == log.count("upload") == len(log) / len(logs[0])
    (each,) = {(len(longer) - len(shorter)) / 5 for shorter, longer in pairwise(logs)}
    assert each == len(logs[0]) == 7 + len(CELLS[cell].STATES), logs[0]


def test_auto_samples_few_texts_of_a_small_network_on_the_cpu(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line says so; more texts, a larger network, other commands and `--device cuda` use the GPU. The text is one."""
    call("train", "t.txt", *TINY, "--steps=2", "--out=run")
    size = charrnn.load("run", device="cpu").network.layout.size
    monkeypatch.setattr("charrnn.cli.inputs.SMALL", 2 * size)
    words = ["sample", "run", "--length=20", "--seed=1"]
    with cupy_cards.with_free_memory(2**30), cupy_cards.readable_values():
        outputs = {count: call(*words, f"--count={count}") for count in (1, 2, 3)}
        on_gpu, notices = call(*words, "--device=cuda")
        _, evaluated = call("eval", "run")
    assert [outputs[count][1].count("device: cpu, faster than a GPU") for count in outputs] == [1, 1, 0]
    assert [outputs[count][1].splitlines()[-1].split()[-1] for count in outputs] == ["cpu", "cpu", "cuda:0"]
    assert notices.splitlines()[-1].endswith("on cuda:0")
    assert evaluated.splitlines()[-1].endswith("on cuda:0")
    assert on_gpu == outputs[1][0]
