"""Print the time of each phase of a training step: `python benchmarks/phases.py H,T,B [CELL]`, one shard on one core.

The time of a function includes that of the functions that it calls.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from typing import Any

from systems import PLAIN, TEXT, random_text

from charrnn import backend, config, text
from charrnn.backend import ThreadPool, one_thread
from charrnn.model import bptt, build
from charrnn.run.resolve import start

SECONDS = 2.0


def main() -> None:
    """Time steps without changes, and then with a timer around every phase."""
    H, T, B = map(int, sys.argv[1].split(","))
    table = {
        "model": {"hidden_size": H, "cell": (sys.argv[2:] or ["rnn"])[0]},
        "train": {"seq_length": T, "batch_size": B, "shards": 1},
    }
    settings = config.build(config.merged(PLAIN, table))
    corpus, device = text.from_text(random_text()), backend.choose("cpu").backend
    net = build(settings.model, len(corpus.vocabulary), device)
    trainer = start(settings, net, corpus.part(0, TEXT), ThreadPool(1))
    spent: dict[str, float] = defaultdict(float)
    timers = ExitStack()

    def run(seconds: float) -> tuple[int, float]:
        began, steps = time.perf_counter(), 0
        with one_thread:
            while time.perf_counter() - began < seconds:
                trainer.step()
                steps += 1
                if trainer.full:
                    trainer.drain()
        return steps, time.perf_counter() - began

    def add_timer(owner: Any, name: str) -> None:
        function = getattr(owner, name)
        timers.callback(setattr, owner, name, function)

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **options)
            spent[name] += time.perf_counter() - began
            return result

        setattr(owner, name, timed)

    run(SECONDS / 4)
    steps, seconds = run(SECONDS)
    print(f"{table['model']['cell']} {H}, {T}, {B}: {seconds / steps * 1e6:,.0f} us a step")
    for owner, names in {
        net.cell: ("recurrence_forward", "recurrence_backward"),
        bptt: ("prepare", "forward", "output_loss_and_grad", "cross_entropy_and_grad", "backward"),
        device: ("matmul", "sum_rows", "take_rows"),
        trainer: ("update",),
    }.items():
        for name in names:
            add_timer(owner, name)
    with timers:
        steps, seconds = run(SECONDS)
    for name, total in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:24} {total / steps * 1e6:>10,.1f} us")


if __name__ == "__main__":
    main()
