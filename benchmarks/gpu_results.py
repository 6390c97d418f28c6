"""Check a GPU's results: `python benchmarks/gpu_results.py card|losses|kernels|stress|memory`, on a machine with a GPU.

`card` prints the card and the machine. `losses` compares twenty losses of each cell, with kernels and without, with the
CPU's. `kernels` launches each kernel, with one allocation for each array, so that compute-sanitizer can check it.
`stress` delays blocks before their barriers by random pauses; every run must give the same bits as one without pauses.
`memory` starts a run that no card can hold, which must end with one line about memory.

A result is a line of JSON, printed as it comes. The exit status is 1 if one has not passed. `--tiny` is for a fake GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench import machine
from gpu_speed import MAIN
from recurrences import Problem, problem, solved

from charrnn import backend, config, text
from charrnn.backend import Backend, ThreadPool
from charrnn.backend.cupy import CupyBackend
from charrnn.backend.kernels.loader import Recurrence
from charrnn.config import Table
from charrnn.errors import CharrnnError
from charrnn.model import build
from charrnn.model.cells import CELLS
from charrnn.run.resolve import start
from charrnn.sampling import Settings, generate
from charrnn.training.step import Trainer

ROOT = Path(__file__).resolve().parent.parent
CLOSE = {"float32": 1e-4, "float64": 1e-10}
"""The relative difference to the CPU that a result may have."""
MODERATE: Table = {"train": {"shards": 1}, "optimizer": {"learning_rate": 0.005}}
"""One shard, as on a GPU, and a learning rate with which rounding errors do not grow."""
TINY: Table = {"model": {"hidden_size": 8}, "train": {"batch_size": 3, "seq_length": 4}}
SIZES = (5, 37, 200)
"""T, B, H: no multiples of the sizes of a block, with several tiles of streams."""
TINY_SIZES = (3, 3, 8)
JITTER = {"JITTER": 4000}
"""Pauses are shorter than this many nanoseconds."""
HUGE, SMALL = (32768, 256, 2048), (32, 8, 32)
"""B, T, H. The gates of a huge LSTM alone are 275 GB: B · T · 4 H numbers of 4 bytes."""
FREE = 2**16
"""Bytes of the fake GPU, too few for the small run."""

Result = dict[str, Any]


def gpu(kernels: str = "auto") -> CupyBackend:
    """Return the GPU. Raise an error if there is none."""
    device = backend.choose("cuda", fallback=False, kernels=kernels).backend
    assert isinstance(device, CupyBackend)
    return device


def trainer(device: Backend, *tables: Table) -> Trainer:
    """Return a trainer of the default network, changed by `tables`, on the embedded corpus at step 0."""
    corpus = text.from_files(())
    settings = config.build(config.merged(MODERATE, *tables))
    network = build(settings.model, len(corpus.vocabulary), device)
    return start(settings, network, corpus.part(0, len(corpus.ids)), ThreadPool(1))


def steps(subject: Trainer, count: int) -> list[float]:
    """Make `count` steps and return their losses."""
    for _ in range(count):
        subject.step()
    return [measured.loss for measured in subject.drain()]


def distance(actual: Any, expected: Any) -> float:
    """Return the largest difference relative to the largest element; infinity if a number is not finite."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    worst = float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))
    return worst if np.isfinite(worst) else float("inf")


def card(device: CupyBackend, *, tiny: bool) -> Iterator[Result]:
    """Yield the card's name, its line of nvidia-smi, the machine, and the commit."""
    query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit"
    smi = "" if tiny else output("nvidia-smi", query, "--format=csv,noheader")
    commit = output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    yield {"card": device.label, "nvidia_smi": smi, "commit": commit, "machine": machine()}


def output(*command: str) -> str:
    """Return what a command prints; nothing if it is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def losses(device: CupyBackend, *, tiny: bool) -> Iterator[Result]:
    """Yield how far twenty losses are from the CPU's: each cell by kernels and without, in float32 and float64."""
    cpu = backend.choose("cpu").backend
    for dtype in CLOSE:
        for cell, H, T, B in MAIN:
            sizes: Table = {"model": {"hidden_size": H}, "train": {"batch_size": B, "seq_length": T}}
            changed = config.merged(TINY if tiny else sizes, {"model": {"cell": cell, "dtype": dtype}})
            count = 3 if tiny else 20
            expected = steps(trainer(cpu, changed), count)
            for kernels, where in {"on": device, "off": gpu("off")}.items():
                subject = trainer(where, changed)
                worst = distance(steps(subject, count), expected)
                train, model = subject.config.train, subject.config.model
                runs = where.describe_recurrence(CELLS[cell], train.batch_size, model.hidden_size, dtype)
                facts = {"cell": cell, "dtype": dtype, "kernels": kernels, "runs": runs, "losses": worst}
                yield facts | {"passed": worst <= 1e-4}


def tiers(layer: Problem, device: CupyBackend, definitions: dict[str, int]) -> Iterator[tuple[str, Recurrence]]:
    """Yield the kernels for a problem, with weights on the chip and from L2, as far as they fit the card."""
    for words, resident in (("weights on chip", True), ("weights from L2", False)):
        recurrence = Recurrence(device.cupy, layer.cell, device.card, residence=(resident,), definitions=definitions)
        if recurrence.kernel(layer.tape) is not None:
            yield f"{layer.cell.NAME}, {layer.tape.z.dtype}, {words}", recurrence


def kernels(device: CupyBackend, *, tiny: bool) -> Iterator[Result]:
    """Yield how far each kernel's results are from the CPU's."""
    device.cupy.cuda.set_allocator(None)  # one allocation for each array, so that the sanitizer checks its bounds
    cpu, shape = backend.choose("cpu").backend, TINY_SIZES if tiny else SIZES
    for cell in CELLS:
        for dtype, close in list(CLOSE.items())[: 1 if tiny else None]:
            expected = solved(CELLS[cell], problem(cell, *shape, dtype, cpu))
            layer, fitting = problem(cell, *shape, dtype, device), False
            for name, recurrence in tiers(layer, device, {}):
                actual, fitting = solved(recurrence, layer), True
                worst = max(distance(actual[key], array) for key, array in expected.items())
                yield {"kernel": name, "distance": worst, "passed": worst <= close}
            if not fitting:
                yield {"kernel": f"{cell}, {dtype}: none fits this card", "passed": False}
    for rule in ("adagrad", "rmsprop", "adam"):
        ours, theirs = (steps(trainer(at, TINY, {"optimizer": {"name": rule}}), 2) for at in (device, cpu))
        worst = distance(ours, theirs)
        yield {"kernel": f"loss and {rule}", "distance": worst, "passed": worst <= 1e-4}
    yield {"kernel": "text", "passed": np.array_equal(sampled(device), sampled(cpu))}


def sampled(where: Backend) -> np.ndarray:
    """Return the first characters of some streams."""
    subject, prompts = trainer(where, TINY), np.arange(5)[None, :]
    settings = Settings(temperature=1.0, top_k=20, top_p=0.9)
    stream = generate(subject.network, subject.params, prompts, settings, np.random.default_rng(0))
    return np.concatenate([next(stream) for _ in range(2)])


def stress(device: CupyBackend, *, tiny: bool, definitions: dict[str, int] = JITTER) -> Iterator[Result]:
    """Yield how many runs of each recurrence have other bits with pauses than without."""
    shape, runs = (TINY_SIZES, 2) if tiny else ((48, *SIZES[1:]), 200)
    for cell in CELLS:
        layer = problem(cell, *shape, "float32", device)
        plain, paused = (tiers(layer, device, macros) for macros in ({}, definitions))
        for (name, recurrence), (_, delayed) in zip(plain, paused, strict=True):
            expected = solved(recurrence, layer)
            different = sum(not same(solved(delayed, layer), expected) for _ in range(runs))
            yield {"kernel": name, "runs": runs, "different": different, "passed": not different}


def same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Return whether all bits agree. NaN agrees with nothing."""
    return all(np.array_equal(actual[name], array) for name, array in expected.items())


def memory(device: CupyBackend, *, tiny: bool) -> Iterator[Result]:
    """Yield whether a run that does not fit the card ends with one line about memory."""
    program = [str(Path(__file__).with_name("standin.py")), "--free", str(FREE)] if tiny else ["-m"]
    B, T, H = SMALL if tiny else HUGE
    keys = {"model.cell": "lstm", "model.hidden_size": H, "model.dropout": 0.0, "model.init": "min-char-rnn"}
    keys |= {"train.batch_size": B, "train.seq_length": T, "train.steps": 2, "train.random_offset": False}
    settings = [word for key, value in keys.items() for word in ("--set", f"{key}={str(value).lower()}")]
    words = ["train", "long.txt", "--device", device.name, "--out", "run", *settings]
    with tempfile.TemporaryDirectory() as folder:
        sentence = "she sells sea shells by the sea shore, "
        Path(folder, "long.txt").write_text(sentence * (B * (T + 1) // 30), encoding="utf-8")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": folder}
        command = [sys.executable, *program, "charrnn", *words]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wrong = trouble(ended.returncode, ended.stderr)
    last = (ended.stderr.splitlines() or [""])[-1]
    yield {"command": f"charrnn {' '.join(words)}", "ends_with": last, "wrong": wrong, "passed": wrong is None}


def trouble(status: int, stderr: str) -> str | None:
    """Return what is wrong with the end of a command that had to fail for lack of memory; None if nothing is."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if "Traceback" in stderr:
        return f"a traceback, ending with: {lines[-1]}"
    if status <= 0:
        return f"status {status}"
    errors = [line for line in lines if line.startswith("charrnn: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        return f"{len(errors)} lines of an error instead of one at the end"
    return None if "out of memory" in errors[0] else f"an error that is not of memory: {errors[0]}"


CHECKS = {"card": card, "losses": losses, "kernels": kernels, "stress": stress, "memory": memory}


def main() -> int:
    """Run a check, and print its results as they come. Return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=list(CHECKS))
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes")
    arguments = parser.parse_args()
    try:
        device = gpu()
    except CharrnnError as error:
        sys.exit(str(error))
    passed = True
    for result in CHECKS[arguments.what](device, tiny=arguments.tiny):
        print(json.dumps(result), flush=True)
        passed &= result.get("passed", True)
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
