"""Measure the speed of a GPU: `python benchmarks/gpu_speed.py [--rest]`, on a machine with a GPU.

The figures are training steps a second in float32 of this package with its kernels and without, of PyTorch's cuDNN in
float32 and in TF32, and of this package on the machine's CPU. Each is the median of some rounds of one process, and a
line of JSON that is printed as it comes. The main rows come first; `--rest` measures the others, and JAX, instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from bench import best_rate, figures
from contest import WORKER, Contender, take_turns
from systems import COPIED, Work

from charrnn import backend

MAIN = [("rnn", 256, 64, 32), ("lstm", 512, 64, 32), ("gru", 640, 64, 32)]
"""Cell, H, T, B."""
REST = [
    ("lstm", 512, 64, 64),
    ("rnn", 128, 50, 50),
    ("gru", 512, 64, 64),
    ("rnn", 512, 64, 64),
    ("lstm", 1024, 128, 128),
    ("rnn", 128, 25, 1),
    ("lstm", 256, 64, 32),
    ("lstm", 2048, 128, 64),
    ("gru", 1024, 128, 128),
    ("lstm", 128, 25, 1),
]
TINY = [("rnn", 8, 4, 3)]
OURS = ("charrnn", "charrnn, plain loop")
PEERS = ("PyTorch one-hot", "PyTorch TF32")
PATIENCE = 25.0
"""Seconds that a system has to become ready, and for each slice of its work."""


def contenders(work: Work, peers: tuple[str, ...], *, standing_in: bool) -> list[Contender]:
    """Return all systems that do this work. With a fake GPU the peers use the CPU."""
    program = (str(Path(__file__).with_name("standin.py")), WORKER) if standing_in else (WORKER,)
    cpu = replace(work, device="cpu")
    entrants = [Contender(name, work, program=program) for name in OURS]
    entrants += [Contender(name, cpu if standing_in else work) for name in peers]
    entrants.append(Contender("charrnn, CPU", replace(cpu, threads=backend.cores())))
    return [replace(contender, patience=None if standing_in else PATIENCE) for contender in entrants]


def main() -> int:
    """Measure and print the rows. Return the exit status: 1 if a figure of this package is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rest", action="store_true", help="the other rows, and JAX")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--standing-in", action="store_true", help="one tiny row, where kernels run on the CPU")
    arguments = parser.parse_args()
    standing_in, gemm, bandwidth = arguments.standing_in, dict[int, float](), None
    if not standing_in:
        gemm, bandwidth = {1: best_rate("sgemm", "cuda", 1) * 2 * 2048**3}, best_rate("copy", "cuda", 1) * 2 * COPIED
        print(json.dumps({"sgemm": gemm[1], "copy": bandwidth}), flush=True)
    missing = False
    for shape in TINY if standing_in else REST if arguments.rest else MAIN:
        work = Work("training", *shape, device="cuda")
        peers = (*PEERS, "JAX jit") if arguments.rest else PEERS
        entrants = contenders(work, peers, standing_in=standing_in)
        for contender in entrants:
            take_turns([contender], 1 if standing_in else arguments.rounds)
            floors = ({}, None) if contender.work.device == "cpu" else (gemm, bandwidth)
            line = figures(contender.work, contender, entrants[0], *floors)
            print(json.dumps(line), flush=True)
            missing |= "missing" in line and contender.system in OURS
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
