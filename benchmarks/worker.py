"""Run one system in one process: read a number of units from each line of the input, and print the seconds.

Each system has its own process, so that threads, BLAS libraries and memory do not disturb each other.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import peers
import systems
from systems import Run, Work

SYSTEMS: dict[str, Callable[[Work], Run]] = {
    "charrnn": systems.charrnn,
    "charrnn, CPU": systems.charrnn,
    "charrnn, plain loop": partial(systems.charrnn, kernels=False),
    "charrnn, 1 worker": partial(systems.charrnn, workers=1),
    "charrnn, ranks": systems.charrnn_on_ranks,
    "min-char-rnn": systems.min_char_rnn,
    "PyTorch one-hot": peers.torch,
    "PyTorch embedding": partial(peers.torch, embedding=True),
    "PyTorch TF32": partial(peers.torch, tf32=True),
    "torch.compile": partial(peers.torch, compiled=True),
    "JAX jit": peers.jax,
    "sgemm": systems.sgemm,
    "copy": systems.copy,
}


def peak_mib() -> int:
    """Return the peak of memory of this process and of its workers."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    for worker in multiprocessing.active_children():
        lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        most += sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    return round(most)


def main() -> None:
    """Answer until the input ends. The first line is `ready`, or the reason why the system is missing."""
    name, work = sys.argv[1], Work(**json.loads(sys.argv[2]))
    try:
        run = SYSTEMS[name](work)
        run(2)
    except Exception as error:  # any error of a peer becomes the reason in its row
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(json.dumps({"missing": f"{type(error).__name__}: {lines[0][:150]}"}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        seconds = run(int(line))
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}), flush=True)


if __name__ == "__main__":
    main()
