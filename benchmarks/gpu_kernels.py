"""Kernels by themselves, on a GPU: `python benchmarks/gpu_kernels.py tour|stress [--runs 200] [--tiny]`.

`tour` launches each kernel of each cell, with weights on chip and from L2, loss, update under each rule, and the choice
of characters, and compares with the CPU: a short program to be watched by compute-sanitizer. `stress` lets blocks come
late to their meetings, by pauses of arbitrary length, again and again: every run must leave the same bits as one
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
"""Nanoseconds that a pause stays below."""
SHAPES = {"tour": (5, 37, 200), "stress": (48, 37, 200)}
"""T, B, H: sizes that blocks do not divide, several tiles of streams, and states of several chunks."""
SMALL = (3, 3, 8)
CLOSE = {"float32": 1e-4, "float64": 1e-10}


def gpu() -> CupyBackend:
    """The GPU, which must be there."""
    device = backend.choose("cuda", fallback=False).backend
    assert isinstance(device, CupyBackend)
    return device


def tiers(given: Problem, device: CupyBackend, definitions: dict[str, int]) -> Iterator[tuple[str, Recurrence]]:
    """The kernels for a problem with weights on chip, and from L2; one at least, or the loop alone would be tried."""
    found = 0
    for words, resident in (("weights on chip", True), ("weights from L2", False)):
        options: dict[str, Any] = {"residence": (resident,), "definitions": definitions}
        recurrence = Recurrence(device.cupy, given.cell, device.card, **options)
        name = f"{given.cell.NAME}, {given.tape.z.dtype}, {words}"
        if recurrence.kernel(given.tape) is None:
            print(f"{name}: does not fit this card", flush=True)
        else:
            found += 1
            yield name, recurrence
    if not found:
        sys.exit(f"{given.cell.NAME}: no kernel fits this card")


def tour(device: CupyBackend, cpu: Backend, shape: tuple[int, int, int], dtypes: tuple[str, ...]) -> list[str]:
    """Each kernel once; what differs from the CPU by more than rounding."""
    wrong = []
    for cell in CELLS:
        for dtype in dtypes:
            expected = solved(CELLS[cell], problem(cell, *shape, dtype, cpu))
            given = problem(cell, *shape, dtype, device)
            for name, recurrence in tiers(given, device, {}):
                actual = solved(recurrence, given)
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
    print(f"choice of characters: {'as' if agreed else 'not as'} the CPU", flush=True)
    return wrong + ([] if agreed else ["choice"])


def sampled(where: Backend) -> np.ndarray:
    """The first characters of some streams."""
    subject, prompts = trainer(where, TINY.table), np.arange(5)[None, :]
    settings = Settings(temperature=1.0, top_k=20, top_p=0.9)
    stream = generate(subject.network, subject.params, prompts, settings, np.random.default_rng(0))
    return np.concatenate([next(stream) for _ in range(2)])


def stress(device: CupyBackend, shape: tuple[int, int, int], runs: int, definitions: dict[str, int]) -> list[str]:
    """Each recurrence many times with pauses; which ever left other bits than without."""
    wrong = []
    for cell in CELLS:
        given = problem(cell, *shape, "float32", device)
        plain, paused = (tiers(given, device, macros) for macros in ({}, definitions))
        for (name, recurrence), (_, late) in zip(plain, paused, strict=True):
            expected = solved(recurrence, given)
            different = sum(not same(solved(late, given), expected) for _ in range(runs))
            print(f"{name}: {different} of {runs} runs differ", flush=True)
            wrong += [name] if different else []
    return wrong


def same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether all bits agree; NaN is nobody's result."""
    return all(np.array_equal(actual[name], array) for name, array in expected.items())


def main() -> int:
    """Run, and name what went wrong; status 1 if anything did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=list(SHAPES))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, in float32")
    arguments = parser.parse_args()
    device, cpu = gpu(), backend.choose("cpu").backend
    print(device.label)
    shape = SMALL if arguments.tiny else SHAPES[arguments.what]
    if arguments.what == "tour":
        device.cupy.cuda.set_allocator(None)  # each array an allocation of its own, so that its bounds are watched
        wrong = tour(device, cpu, shape, ("float32",) if arguments.tiny else tuple(CLOSE))
    else:
        wrong = stress(device, shape, arguments.runs, JITTER)
    print(f"wrong: {'; '.join(wrong)}" if wrong else "all agree")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
