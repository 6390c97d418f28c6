"""Measure the speed of a GPU: `python benchmarks/gpu_table.py --json FILE [--seconds 300]`, on a machine with a GPU.

The figures are training steps a second in float32 of this package, of this package without its kernels, of PyTorch's
cuDNN in float32 and in TF32, of JAX, and of this package on the CPU of the machine. As in `bench.py`, each is one
process, they take turns, and a figure is the median. The most important rows come first. Rows that did not fit into the
time are listed. FILE is written after every row; `table.py FILE` prints the table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench import best_rate, figures, machine, name_of, show
from contest import WORKER, Contender, take_turns
from systems import COPIED, Work

from charrnn import backend
from charrnn.backend import Backend
from charrnn.errors import CharrnnError

ROWS = [
    ("lstm", 512, 64, 64),
    ("rnn", 128, 50, 50),
    ("gru", 512, 64, 64),
    ("rnn", 512, 64, 64),
    ("lstm", 1024, 128, 128),
    ("rnn", 128, 25, 1),
    ("lstm", 256, 64, 32),
    ("lstm", 2048, 128, 64),
    ("gru", 256, 128, 64),
    ("rnn", 1024, 64, 64),
    ("lstm", 512, 256, 16),
    ("gru", 1024, 128, 128),
    ("lstm", 128, 25, 1),
    ("rnn", 256, 256, 256),
    ("lstm", 512, 64, 256),
    ("gru", 2048, 64, 256),
    ("rnn", 2048, 25, 32),
    ("gru", 128, 50, 1),
]
"""Cell, H, T, B; the most important rows first."""
TINY = [("rnn", 8, 4, 3)]
OURS = ("charrnn", "charrnn, plain loop")
PEERS = ("PyTorch one-hot", "PyTorch TF32", "JAX jit")
PATIENCE = 25.0
"""Seconds that a system has to become ready, and for each slice of its work."""


def contenders(work: Work, *, standing_in: bool) -> list[Contender]:
    """Return all systems that do this work. With a fake GPU the peers use the CPU."""
    program = (str(Path(__file__).with_name("standin.py")), WORKER) if standing_in else (WORKER,)
    cpu = replace(work, device="cpu")
    theirs = cpu if standing_in else work
    entrants = [Contender(name, work, program=program) for name in OURS]
    entrants += [Contender(name, theirs) for name in PEERS]
    entrants.append(Contender("charrnn, CPU", replace(cpu, threads=backend.cores())))
    return [replace(contender, patience=None if standing_in else PATIENCE) for contender in entrants]


def row(work: Work, rounds: int, floors: tuple[float, float] | None, *, standing_in: bool) -> list[dict[str, object]]:
    """Measure a row, and return a line for each system. `floors` are the card's operations and bytes a second."""
    entrants = contenders(work, standing_in=standing_in)
    take_turns(entrants, rounds)
    lines = []
    for contender in entrants:
        on_card = floors if contender.work.device != "cpu" else None
        gemm, bandwidth = ({1: on_card[0]}, on_card[1]) if on_card else ({}, None)
        lines.append(figures(contender.work, contender, entrants[0], gemm, bandwidth))
        show(lines[-1])
    return lines


def card(device: Backend, *, standing_in: bool) -> str:
    """Return the card's name, driver, memory and clock by nvidia-smi, or its name by CuPy."""
    tool = shutil.which("nvidia-smi")
    if tool is None or standing_in:
        return device.label
    query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit"
    answer = subprocess.run([tool, query, "--format=csv,noheader"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or answer.stderr.strip()


def main() -> int:
    """Measure, print and write the rows. Return the exit status: 1 if a figure of this package is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300.0, help="no row begins that would not end within these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--standing-in", action="store_true", help="one tiny row, where kernels run on the CPU")
    arguments = parser.parse_args()
    began, standing_in = time.monotonic(), arguments.standing_in
    try:
        device = backend.choose("cuda", fallback=False).backend
    except CharrnnError as error:
        sys.exit(str(error))
    floors = None
    if not standing_in:
        floors = (best_rate("sgemm", "cuda", 1) * 2 * 2048**3, best_rate("copy", "cuda", 1) * 2 * COPIED)
    works = [Work("training", *shape, device="cuda") for shape in (TINY if standing_in else ROWS)]
    result = {"card": card(device, standing_in=standing_in), "machine": machine(), "floors": floors}
    lines: list[dict[str, object]] = []
    left_out = list(map(name_of, works))
    slowest = 0.0
    for work in works:
        started = time.monotonic()
        if started - began + slowest > arguments.seconds:
            break
        lines += row(work, arguments.rounds, floors, standing_in=standing_in)
        slowest = max(slowest, time.monotonic() - started)
        del left_out[0]
        arguments.json.write_text(json.dumps(result | {"rows": lines, "left_out": left_out}, indent=1) + "\n")
    print(f"not measured: {'; '.join(left_out)}" if left_out else "every row measured")
    return int(not lines or any("missing" in line for line in lines if line["system"] in OURS))


if __name__ == "__main__":
    sys.exit(main())
