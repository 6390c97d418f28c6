"""Is the GPU right? `python benchmarks/gpu_check.py [--device cuda] [--json FILE]`, on a machine that has one.

Gradients against finite differences, the first losses against the CPU, a bad step, a run that moves to the CPU and
back, and the rate of the default network. Exit status 1 if a check fails. With `--device cpu` it checks itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from charrnn import backend, config, seeds, text
from charrnn.backend import Backend, Workers
from charrnn.errors import CharrnnError
from charrnn.model import build, gradcheck
from charrnn.training import Request, prepare
from charrnn.training.resolve import start
from charrnn.training.step import Trainer


def trainer(device: Backend, **tables: dict[str, object]) -> Trainer:
    """The default network on the embedded corpus, one shard, at step 0."""
    corpus = text.from_files(())
    settings = config.build(config.merged({"train": {"shards": 1}}, tables))
    network = build(settings.model, len(corpus.vocabulary), device)
    return start(settings, network, corpus.part(0, len(corpus.ids)), Workers(1))


def losses(subject: Trainer, steps: int) -> list[float]:
    """The losses of the next steps."""
    for _ in range(steps):
        subject.step()
    return [measured.loss for measured in subject.drain()]


def parity(device: Backend, cpu: Backend) -> float:
    """The worst relative difference to the CPU over the first 20 step losses, float32, at a moderate rate."""
    ours, theirs = (losses(trainer(d, optimizer={"learning_rate": 0.005}), 20) for d in (device, cpu))
    return max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))


def guarded(device: Backend) -> bool:
    """Whether a NaN in the gradient leaves the parameters and the next step goes on."""
    subject = trainer(device)
    losses(subject, 2)
    host = device.to_host
    before = host(subject.vector)
    subject.shards[0].state["hidden"][0, 0, 0] = float("nan")
    losses(subject, 1)
    kept = np.array_equal(before, host(subject.vector)) and float(host(subject.guard.scale)) == 0.5
    subject.restore_state(subject.network.zero_state(subject.config.train.batch_size))
    losses(subject, 1)
    return bool(kept and not np.array_equal(before, host(subject.vector)))


def moves(name: str) -> bool:
    """Whether a run goes from the device to the CPU and back by `resume`."""
    with tempfile.TemporaryDirectory() as folder:
        out, step = Path(folder) / "run", 0
        for device in (name, "cpu", name):
            options = {"train": {"steps": 30, "device": device}, "log": {"every": 5, "sample_every": 0}}
            request = Request(options=options, out=out, resume=out.exists(), stop_after=10, fallback=False)
            step = list(prepare(request).events())[-1].at.step
        return step == 30


def rate(device: Backend, seconds: float = 5.0) -> float:
    """Training characters a second of the default network."""
    subject = trainer(device)
    losses(subject, 20)
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        steps += len(losses(subject, 50))
    train = subject.config.train
    return steps * train.batch_size * train.seq_length / (time.perf_counter() - began)


def main() -> int:
    """Run the checks, print them, write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        device = backend.choose(arguments.device, fallback=False).backend
    except CharrnnError as error:
        sys.exit(str(error))
    cpu = backend.choose("cpu").backend
    gradients = gradcheck(config.ModelConfig(num_layers=2), device, seeds.stream(0, "gradcheck"))
    difference = parity(device, cpu)
    results = {
        "device": device.label,
        "gradcheck_worst": max(gradients.values()),
        "parity_20_steps": difference,
        "guard": guarded(device),
        "resume_across_devices": moves(device.name),
        "chars_per_second": round(rate(device)),
        "cpu_one_thread_chars_per_second": round(rate(cpu)),
    }
    results["passed"] = bool(
        results["gradcheck_worst"] < 1e-6
        and difference < 1e-4
        and results["guard"]
        and results["resume_across_devices"]
    )
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if results["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
