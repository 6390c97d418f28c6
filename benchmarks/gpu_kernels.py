"""Run single kernels on a GPU: `python benchmarks/gpu_kernels.py tour|stress [--runs 200] [--tiny]`.

`tour` launches each kernel of each cell, with weights on the chip and from L2, the loss, and the update with each rule,
and writes a text. It compares the results with the CPU. It is short, so that compute-sanitizer can check it.
`stress` delays blocks before their barriers by random pauses, many times. Every run must give the same bits as a run
without pauses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from gpu_check import TINY, losses, trainer
from recurrences import Problem, problem, solved

from charrnn import backend
from charrnn.backend import Backend
from charrnn.backend.cupy import CupyBackend
from charrnn.backend.kernels.loader import Recurrence
from charrnn.model.cells import CELLS
from charrnn.sampling import Settings, generate

RULES = ("adagrad", "rmsprop", "adam")
JITTER = {"JITTER": 4000}
"""Pauses are shorter than this many nanoseconds."""
SHAPES = {"tour": (5, 37, 200), "stress": (48, 37, 200)}
"""T, B, H: sizes that are no multiples of those of a block, with several tiles of streams."""
SMALL = (3, 3, 8)
CLOSE = {"float32": 1e-4, "float64": 1e-10}


def gpu() -> CupyBackend:
    """Return the GPU. Raise an error if there is none."""
    device = backend.choose("cuda", fallback=False).backend
    assert isinstance(device, CupyBackend)
    return device


def tiers(layer: Problem, device: CupyBackend, definitions: dict[str, int]) -> Iterator[tuple[str, Recurrence]]:
    """Yield the kernels for a problem, with weights on the chip and from L2. Exit if neither fits the card."""
    fitting = 0
    for words, resident in (("weights on chip", True), ("weights from L2", False)):
        options: dict[str, Any] = {"residence": (resident,), "definitions": definitions}
        recurrence = Recurrence(device.cupy, layer.cell, device.card, **options)
        name = f"{layer.cell.NAME}, {layer.tape.z.dtype}, {words}"
        if recurrence.kernel(layer.tape) is None:
            print(f"{name}: does not fit this card", flush=True)
        else:
            fitting += 1
            yield name, recurrence
    if not fitting:
        sys.exit(f"{layer.cell.NAME}: no kernel fits this card")


def tour(device: CupyBackend, cpu: Backend, shape: tuple[int, int, int], dtypes: tuple[str, ...]) -> list[str]:
    """Run each kernel once, and return the names of those that differ from the CPU by more than rounding."""
    wrong = []
    for cell in CELLS:
        for dtype in dtypes:
            expected = solved(CELLS[cell], problem(cell, *shape, dtype, cpu))
            layer = problem(cell, *shape, dtype, device)
            for name, recurrence in tiers(layer, device, {}):
                actual = solved(recurrence, layer)
                worst = max(np.max(np.abs(actual[k] - v)) / np.max(np.abs(v)) for k, v in expected.items())
                print(f"{name}: within {worst:.1e} of the CPU", flush=True)
                wrong += [] if worst <= CLOSE[dtype] else [name]
    for rule in RULES:
        subjects = [trainer(where, TINY.table, {"optimizer": {"name": rule}}) for where in (device, cpu)]
        ours, theirs = (losses(subject, 2) for subject in subjects)
        agreed = np.allclose(ours, theirs, rtol=1e-4)
        print(f"loss and {rule}: {'as' if agreed else 'not as'} the CPU", flush=True)
        wrong += [] if agreed else [rule]
    agreed = np.array_equal(sampled(device), sampled(cpu))
    print(f"text: {'as' if agreed else 'not as'} the CPU", flush=True)
    return wrong + ([] if agreed else ["text"])


def sampled(where: Backend) -> np.ndarray:
    """Return the first characters of some streams."""
    subject, prompts = trainer(where, TINY.table), np.arange(5)[None, :]
    settings = Settings(temperature=1.0, top_k=20, top_p=0.9)
    stream = generate(subject.network, subject.params, prompts, settings, np.random.default_rng(0))
    return np.concatenate([next(stream) for _ in range(2)])


def stress(device: CupyBackend, shape: tuple[int, int, int], runs: int, definitions: dict[str, int]) -> list[str]:
    """Run each recurrence many times with pauses, and return the names of those with other bits than without."""
    wrong = []
    for cell in CELLS:
        layer = problem(cell, *shape, "float32", device)
        plain, paused = (tiers(layer, device, macros) for macros in ({}, definitions))
        for (name, recurrence), (_, delayed) in zip(plain, paused, strict=True):
            expected = solved(recurrence, layer)
            different = sum(not same(solved(delayed, layer), expected) for _ in range(runs))
            print(f"{name}: {different} of {runs} runs differ", flush=True)
            wrong += [name] if different else []
    return wrong


def same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Return whether all bits agree. NaN agrees with nothing."""
    return all(np.array_equal(actual[name], array) for name, array in expected.items())


def main() -> int:
    """Run the kernels, and print the names of those that are wrong. Return the exit status: 1 if one is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=list(SHAPES))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, in float32")
    arguments = parser.parse_args()
    device, cpu = gpu(), backend.choose("cpu").backend
    print(device.label)
    shape = SMALL if arguments.tiny else SHAPES[arguments.what]
    if arguments.what == "tour":
        device.cupy.cuda.set_allocator(None)  # one allocation for each array, so that the sanitizer checks its bounds
        wrong = tour(device, cpu, shape, ("float32",) if arguments.tiny else tuple(CLOSE))
    else:
        wrong = stress(device, shape, arguments.runs, JITTER)
    print(f"wrong: {'; '.join(wrong)}" if wrong else "all agree")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
