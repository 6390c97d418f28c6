"""Check the results of a GPU: `python benchmarks/gpu_check.py [--device cuda] [--json FILE]`, on a machine with a GPU.

Each cell runs with its kernels in float32 and float64. Its gradients and twenty losses are compared with the CPU's, a
bad step must be skipped, and a run must move to the CPU and back. The exit status is 1 if a check fails. `--device cpu`
checks this program itself; `--tiny` is for a fake GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import backend, config, seeds, text
from charrnn.backend import Backend, ThreadPool
from charrnn.config import Table
from charrnn.errors import CharrnnError
from charrnn.model import build, gradcheck
from charrnn.model.cells import CELLS
from charrnn.run.request import Request
from charrnn.run.resolve import start
from charrnn.run.session import prepare
from charrnn.training.step import Trainer

AGREE = {"float32": 1e-4, "float64": 1e-8}
"""The relative difference to the CPU that losses and gradients may have."""
FINITE_DIFFERENCES = 1e-6
PLAIN: Table = {"train": {"shards": 1}, "optimizer": {"learning_rate": 0.005}}
"""One shard, as on a GPU, and a moderate learning rate, with which rounding errors do not grow."""


class Extent(NamedTuple):
    """The extent of a check: changed keys, number of steps, and number of checked elements of each gradient."""

    table: Table
    steps: int
    elements: int


FULL = Extent({}, 20, 64)
TINY = Extent(
    {"model": {"hidden_size": 8}, "train": {"batch_size": 3, "seq_length": 4}, "log": {"eval_every": 0}}, 3, 1
)


def trainer(device: Backend, *tables: Table) -> Trainer:
    """Return a trainer of the default network, changed by `tables`, on the embedded corpus at step 0."""
    corpus = text.from_files(())
    settings = config.build(config.merged(PLAIN, *tables))
    network = build(settings.model, len(corpus.vocabulary), device)
    return start(settings, network, corpus.part(0, len(corpus.ids)), ThreadPool(1))


def losses(subject: Trainer, steps: int) -> list[float]:
    """Make `steps` steps and return their losses."""
    for _ in range(steps):
        subject.step()
    return [measured.loss for measured in subject.drain()]


def in_words(subject: Trainer) -> str:
    """Describe how the recurrence of a trainer runs."""
    network, train = subject.network, subject.config.train
    return network.backend.describe_recurrence(network.cell, train.batch_size, network.hidden_size, network.dtype)


def agreement(device: Backend, cpu: Backend, table: Table, dtype: str, steps: int) -> dict[str, Any]:
    """Return the largest relative differences to the CPU: of the first gradient (to float64), and of the losses."""

    def gradient(where: Backend, dtype: str) -> np.ndarray:
        subject = trainer(where, table, {"model": {"dtype": dtype}})
        subject.masks.prepare(0)
        subject.compute(0, 0)
        return where.to_host(subject.shards[0].grad)

    expected = gradient(cpu, "float64")
    difference = np.max(np.abs(gradient(device, dtype) - expected)) / np.max(np.abs(expected))
    subjects = [trainer(where, table, {"model": {"dtype": dtype}}) for where in (device, cpu)]
    ours, theirs = (losses(subject, steps) for subject in subjects)
    worst = max(abs(a - b) / b if np.isfinite(a) else np.inf for a, b in zip(ours, theirs, strict=True))
    return {"runs": in_words(subjects[0]), "gradient": float(difference), "losses": float(worst)}


def guarded(device: Backend, table: Table) -> bool:
    """Return whether a step with a NaN keeps the parameters, and the next step changes them."""
    subject = trainer(device, table)
    losses(subject, 2)
    host = device.to_host
    before = host(subject.vector)
    subject.shards[0].state["hidden"][0, 0, 0] = float("nan")
    losses(subject, 1)
    skipped = np.array_equal(before, host(subject.vector)) and float(host(subject.guard.scale)) == 0.5
    subject.set_state(subject.network.zero_state(subject.config.train.batch_size))
    losses(subject, 1)
    return bool(skipped and not np.array_equal(before, host(subject.vector)))


def moves(name: str, table: Table, steps: int) -> bool:
    """Return whether `resume` moves a run from the device to the CPU and back."""
    with tempfile.TemporaryDirectory() as folder:
        out, step = Path(folder) / "run", 0
        for device in (name, "cpu", name):
            run = {"train": {"steps": 3 * steps, "device": device}, "log": {"every": 1, "sample_every": 0}}
            options = config.merged(table, run)
            request = Request(options=options, out=out, resume=out.exists(), stop_after=steps, fallback=False)
            step = list(prepare(request).events())[-1].at.step
        return step == 3 * steps


def check(device: Backend, cpu: Backend, cell: str, dtype: str, extent: Extent) -> dict[str, Any]:
    """Run all checks of one cell in one dtype. `passed` is true if all of them succeed."""
    table = config.merged(extent.table, {"model": {"cell": cell, "dtype": dtype}})
    result = {"cell": cell, "dtype": dtype} | agreement(device, cpu, table, dtype, extent.steps)
    result |= {"guard": guarded(device, table), "moves": moves(device.name, table, extent.steps)}
    passed = max(result["gradient"], result["losses"]) < AGREE[dtype] and result["guard"] and result["moves"]
    if dtype == "float64":
        model, rng = config.ModelConfig(cell=cell, num_layers=2), seeds.stream(0, "gradcheck")
        errors = gradcheck(model, device, rng, extent.elements)
        result["gradcheck"] = max(errors.values(), key=lambda error: (error != error, error))
        passed = passed and result["gradcheck"] < FINITE_DIFFERENCES
    by_kernel = device.name == "cpu" or result["runs"].startswith("one kernel")
    return result | {"passed": bool(passed and by_kernel)}


def main() -> int:
    """Run the checks, print the results, and write them to the JSON file. Return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small network, few steps")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        device = backend.choose(arguments.device, fallback=False).backend
    except CharrnnError as error:
        sys.exit(str(error))
    print(device.label)
    cpu, extent, results = backend.choose("cpu").backend, TINY if arguments.tiny else FULL, []
    for cell in arguments.cells:
        for dtype in AGREE:
            results.append(check(device, cpu, cell, dtype, extent))
            print(json.dumps(results[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": device.label, "checks": results}, indent=1) + "\n")
    failed = [f"{result['cell']} {result['dtype']}" for result in results if not result["passed"]]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
