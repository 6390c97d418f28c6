"""Whole runs on a GPU, of every cell, with and without kernels, against the CPU's. They need a CUDA device."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.namespaces import gpu
from helpers.networks import close
from helpers.runs import run
from helpers.trainers import EVERYTHING, one_layer_config, three_documents, trainer
from recurrences import problem, solved

import charrnn
from charrnn import config
from charrnn.backend.cupy import CupyBackend
from charrnn.backend.kernels import loader
from charrnn.backend.kernels.loader import Recurrence
from charrnn.errors import DeviceError
from charrnn.model.cells import CELLS
from charrnn.tools.report import collect, read

pytestmark = pytest.mark.gpu

TIERS = {"weights on chip": (True,), "weights from L2": (False,), "no kernel": (), "kernels off": ()}
"""What `Recurrence.residence` allows."""
RULES = ("adagrad", "rmsprop", "adam")
SMALL: dict[str, Any] = {
    **{"model.hidden_size": 12, "train.seq_length": 8, "train.batch_size": 3, "train.shards": 1, "train.steps": 6},
    **{"optimizer.learning_rate": 0.01, "log.every": 1, "log.eval_every": 3, "log.sample_length": 20},
}


@pytest.fixture(scope="module")
def device() -> Iterator[CupyBackend]:
    """Return the GPU, and undo what tests set for the whole process."""
    backend = gpu()
    yield backend
    CupyBackend(0, precision="float32").cupy.get_default_memory_pool().set_limit(size=0)


def losses(subject: Any, steps: int) -> list[float]:
    """Make steps, and return their losses."""
    for _ in range(steps):
        subject.step()
    return [measured.loss for measured in subject.drain()]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("everything", [False, True], ids=["plain", "everything"])
def test_twenty_losses_are_the_cpus(device: CupyBackend, text: str, cell: str, tier: str, everything: bool) -> None:
    """Float32 losses agree to 1e-4 over twenty steps on documents, by each rule, with and without all dropouts."""
    rule = RULES[(list(CELLS).index(cell) + list(TIERS).index(tier)) % 3]  # each rule with each cell and each tier
    sizes = {"model": {"hidden_size": 20}, "train": {"batch_size": 5}, "optimizer": {"name": rule}}
    settings = one_layer_config(cell, 9, **config.merged(EVERYTHING if everything else {}, sizes))
    where = CupyBackend(0, kernels="off") if tier == "kernels off" else device
    cpu, subject = (trainer(settings, three_documents(text), backend) for backend in (None, where))
    recurrence = Recurrence(device.cupy, CELLS[cell], device.card, residence=TIERS[tier])
    subject.network.backend.recurrences = {cell: recurrence}
    assert losses(subject, 20) == pytest.approx(losses(cpu, 20), rel=1e-4)
    assert close(device.to_host(subject.vector), cpu.vector, 1e-3)
    used = [kernel is not None for kernel in recurrence.kernels.values()]
    assert used == {"no kernel": [False], "kernels off": []}.get(tier, [True])


def recorded(out: Path) -> list[float]:
    """Return every loss in the metrics of a run."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [value for line in lines for key, value in line.items() if key.endswith("loss")]


def test_a_run_moves_to_the_gpu_and_back(device: CupyBackend, corpus: Path, tmp_path: Path, cell: str) -> None:
    """A run that is resumed on a GPU and then on the CPU has the losses of one that stays on the CPU."""
    tables = {"model": {"cell": cell, "dropout": 0.1}, "train": {"shards": 1, "steps": 12}}
    run(tmp_path / "whole", corpus, tables)
    for resume, name in enumerate(("cpu", device.name, "cpu")):
        there = tables | {"train": tables["train"] | {"device": name}}
        run(
            tmp_path / "moves", corpus, there, resume=bool(resume), stop_after=4 if resume < 2 else None, fallback=False
        )
    assert recorded(tmp_path / "moves") == pytest.approx(recorded(tmp_path / "whole"), rel=1e-4)


def test_a_run_is_read_as_on_the_cpu(device: CupyBackend, text: str, tmp_path: Path, cell: str) -> None:
    """Evaluation agrees to 1e-4, a seed gives the same text, and a fine-tuned network has the same weights."""
    settings = SMALL | {"model.cell": cell, "data.document_separator": ";", "train.device": "cpu"}
    charrnn.train(text, settings=settings, out=tmp_path / "run")
    results = []
    for name in (device.name, "cpu"):
        model = charrnn.load(tmp_path / "run", device=name, fallback=False)
        tuned = charrnn.train(
            text.replace("fox", "é"),
            settings=SMALL | {"model.cell": cell, "train.device": name},
            init_from=tmp_path / "run",
            grow_vocabulary=True,
            fallback=False,
        )
        ways = ({}, {"window": 8}, {"dynamic": True})
        values = [model.evaluate(text[:90], **way).nats_per_char for way in ways]
        vector = {key: np.asarray(tuned.network.backend.to_host(weight)) for key, weight in tuned.params.items()}
        results.append((values, model.sample_many("the ", count=3, length=40, seed=5, top_k=9), vector))
    (ours, texts, weights), (theirs, expected, reference) = results
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert list(texts) == list(expected)
    assert all(close(weights[key], values, 1e-3) for key, values in reference.items())


def test_tf32_rounds_large_products(device: CupyBackend) -> None:
    """With tf32 a product is wrong by about 2^-11; without it, it has float32's precision."""
    if int(device.device.compute_capability) < 80:
        pytest.skip("the card has no TF32")
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((64, 64)).astype("float32") for _ in range(2))
    exact, errors = a.astype("float64") @ b, {}
    for precision in ("tf32", "float32"):
        backend = CupyBackend(0, precision=precision)
        result = backend.matmul(backend.from_host(a), backend.from_host(b), out=backend.empty((64, 64), "float32"))
        errors[precision] = np.max(np.abs(backend.to_host(result) - exact)) / np.max(np.abs(exact))
    assert 1e-5 < errors["tf32"] < 1e-2
    assert errors["float32"] < 1e-6


@pytest.mark.skipif("CHARRNN_RACES" not in os.environ, reason="launches report data races where CHARRNN_RACES is set")
def test_a_broken_barrier_is_reported(
    device: CupyBackend, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A kernel whose barrier orders no memory is no longer accepted."""
    layer, original = problem("lstm", 4, 9, 40, "float32", device), loader.source

    def relaxed(*arguments: Any) -> str:
        code = original(*arguments)
        assert code.count("red.release.gpu") == 1
        return code.replace("red.release.gpu", "red.relaxed.gpu")

    solved(Recurrence(device.cupy, layer.cell, device.card), layer)
    monkeypatch.setattr(loader, "source", relaxed)
    with pytest.raises(Exception, match="LAUNCH_FAILED"):
        solved(Recurrence(device.cupy, layer.cell, device.card), layer)
    assert "race: read of what block" in capfd.readouterr().err


def test_a_memory_limit_holds(device: CupyBackend, text: str) -> None:
    """A run beyond its limit is one line; a smaller one stays within the limit."""
    settings = SMALL | {"train.device": device.name, "train.gpu_memory_limit": "1MB", "model.hidden_size": 64}
    settings |= {"train.steps": 2, "log.eval_every": 0, "log.sample_every": 0}
    pool, kept = device.cupy.get_default_memory_pool(), device.zeros((1000,), "float32")
    if not pool.used_bytes():
        pytest.skip("CuPy allocates without its pool, which has the limit")
    del kept
    pool.free_all_blocks()
    with pytest.raises(DeviceError, match=r"is out of memory \(Out of memory allocating .* are free\): "):
        charrnn.train(text, settings=settings | {"train.batch_size": 40}, fallback=False)
    charrnn.train(text, settings=settings | {"train.batch_size": 2}, fallback=False)
    assert pool.total_bytes() <= 1_000_000


def test_the_report_is_that_of_the_cpu(device: CupyBackend, corpus: Path, tmp_path: Path, cell: str) -> None:
    """Surprises, states and gradients through time are those that the CPU computes."""
    settings = SMALL | {"model.cell": cell, "model.num_layers": 2, "train.device": "cpu"}
    charrnn.train(files=[corpus], settings=settings, out=tmp_path / "r")
    on_cpu, on_gpu = (collect(read(tmp_path / "r", device=name)).values for name in ("cpu", device.name))
    assert on_gpu["surprise"]["nats"] == pytest.approx(on_cpu["surprise"]["nats"], abs=2e-3)
    assert on_gpu["neurons"]["means"] == [pytest.approx(means, abs=2e-3) for means in on_cpu["neurons"]["means"]]
    for key in ("trained", "first"):
        for layer in range(2):
            assert on_gpu["gradient"][key][layer][:20] == pytest.approx(on_cpu["gradient"][key][layer][:20], rel=1e-2)
