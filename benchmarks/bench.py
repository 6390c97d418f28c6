"""Compare speeds: `python benchmarks/bench.py [--rows WORD] [--device cpu|cuda] [--rounds 5] [--json FILE] [--gate]`.

Each system runs in one process for every number of threads. The processes take turns in every round. A figure is the
median of the rounds, with the faster number of threads. `pip install '.[bench]'` installs the peers. The row of a
missing peer contains the reason.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path

import corpus
import startup
from contest import MPIEXEC, Contender, compete
from systems import COPIED, V, Work

TRAINING = [(100, 25, 1), (128, 50, 50), (256, 64, 32), (512, 64, 64), (1024, 64, 64)]
GATED = [("lstm", 256, 64, 64), ("gru", 256, 64, 64)]
WORKERS = [(128, 50, 64), (256, 64, 64), (512, 64, 64)]
RANKS = [("rnn", 128, 50, 50), ("rnn", 256, 64, 64), ("rnn", 512, 64, 64), ("lstm", 512, 64, 32)]
TORCH = ("PyTorch one-hot", "PyTorch embedding")
ENCODED = {"ASCII": corpus.ASCII, "UTF-8": corpus.MIXED}
ENCODED_BYTES = 4_000_000
GATE = 2.0
"""With `--gate` a training step at H, T, B = 100, 25, 1 must be so many times as fast as the loop of min-char-rnn."""


def floor_flops(work: Work) -> float:
    """Return the floating-point operations that a training step of one layer needs at least."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[work.cell]
    return 6.0 * work.T * work.B * (gates * work.H * work.H + work.H * V)


def floor_bytes(work: Work) -> float:
    """Return the bytes that a training step of one layer moves at least, if only inputs and results leave the chip.

    The optimizer reads parameters, gradient and sum of squares, and writes the first and the last. Each pass reads the
    weights once. The forward pass writes gates, states and logits, and the backward pass reads them.
    """
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[work.cell]
    parameters = gates * work.H * (work.H + V + 1) + work.H * V + V
    return 4.0 * (8 * parameters + 2 * work.T * work.B * ((gates + 1) * work.H + V))


def rows(device: str, folder: Path) -> list[tuple[Work, tuple[str, ...]]]:
    """Return every work with the systems that do it. The texts to encode are in `folder`."""
    result: list[tuple[Work, tuple[str, ...]]] = []
    for cell, H, T, B in [*(("rnn", *shape) for shape in TRAINING), *GATED]:
        ancestor = ("min-char-rnn",) if B == 1 and device == "cpu" else ()
        work = Work("training", cell, H=H, T=T, B=B, device=device)
        result.append((work, ("charrnn", *ancestor, *TORCH, "torch.compile", "JAX jit")))
        if ancestor:
            result.append((replace(work, dtype="float64"), ("charrnn", *ancestor)))
    if device == "cpu":
        workers = ("charrnn", "charrnn, 1 worker")
        result += [(Work("workers", H=H, T=T, B=B), workers) for H, T, B in WORKERS]
        ranks = ("charrnn", "charrnn, ranks") if MPIEXEC else ()
        result += [(Work("ranks", cell, H=H, T=T, B=B), ranks) for cell, H, T, B in RANKS if ranks]
    result += [(Work("sampling", H=H, B=B, device=device), ("charrnn", *TORCH)) for H, B in ((128, 1), (512, 256))]
    if device == "cpu":
        result += [(Work("encoding", text=str(folder / name)), ("charrnn", "min-char-rnn")) for name in ENCODED]
    return result


def name_of(work: Work) -> str:
    """Return the name of a row."""
    if work.kind == "encoding":
        return f"encoding {Path(work.text).name}"
    shape = f"{work.H}, {work.T}, {work.B}" if work.kind != "sampling" else f"H={work.H}, {work.B} streams"
    return f"{work.kind} {work.cell} {shape} {work.dtype}"


def best_rate(system: str, device: str, threads: int) -> float:
    """Return the rate of the fastest round, which other work on the machine disturbs least."""
    return max(compete([system], Work(system, device=device), [threads], 7)[system].rates)


def figures(
    work: Work, contender: Contender, ours: Contender, gemm: dict[int, float], bandwidth: float | None
) -> dict[str, object]:
    """Return one line of the table.

    Args:
        work: the work of the row.
        contender: the measured system.
        ours: the measurement of charrnn in the same row.
        gemm: for each number of threads the operations a second of a matrix product.
        bandwidth: bytes a second of a GPU's memory; None on a CPU.
    """
    rate, peak = contender.median, contender.peak_mib
    line: dict[str, object] = {"row": name_of(work), "device": work.device, "system": contender.system}
    if not contender.rates:
        return line | {"missing": contender.missing or "not measured"}
    line |= {"threads": contender.work.threads, "rates": contender.rates, "peak_mib": peak, "ratio": ours.median / rate}
    if work.kind == "encoding":
        return line | {"mb_per_second": rate * Path(work.text).stat().st_size / 1e6}
    if work.kind == "sampling":
        return line | {"chars_per_second": rate * work.B}
    line |= {"steps_per_second": rate, "chars_per_second": rate * work.T * work.B}
    if work.dtype == "float32" and contender.work.threads in gemm:
        line["of_floor"] = floor_flops(work) * rate / gemm[contender.work.threads]
    if bandwidth is not None:
        line["of_bandwidth"] = floor_bytes(work) * rate / bandwidth
    return line


def show(line: dict[str, object]) -> None:
    """Print one line."""
    head = f"{line['row']:34} {line['system']:18}"
    if "missing" in line:
        print(f"{head} -- {line['missing']}", flush=True)
        return
    units = ((k, float(str(line[k]))) for k in ("steps_per_second", "chars_per_second", "mb_per_second") if k in line)
    words = "  ".join(f"{value:>11,.1f} {key.replace('_per_second', '/s')}" for key, value in units)
    floor = f"  {float(str(line['of_floor'])):5.2f} of floor" if "of_floor" in line else ""
    print(
        f"{head} {line['threads']} thr {words}  x{float(str(line['ratio'])):.2f}{floor}  {line['peak_mib']} MiB",
        flush=True,
    )


def machine() -> dict[str, object]:
    """Return the processor, the devices and the versions of the packages."""
    from charrnn import backend

    versions = {}
    for package in ("charrnn-xp", "numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": backend.cores(),
        "python": platform.python_version(),
        "versions": versions,
        "devices": backend.report(),
    }


def main() -> int:
    """Measure the rows, print them, and write them to the JSON file. Return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda on a machine with CuPy, PyTorch and JAX for it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gate", action="store_true", help=f"fail below {GATE} times the min-char-rnn loop")
    arguments = parser.parse_args()
    about = machine()
    print("\n".join(map(str, about["devices"])))
    cores = int(str(about["cores"])) if arguments.device == "cpu" else 1
    threads = sorted({1, cores})
    if arguments.device != "cpu":
        from charrnn import backend

        choice = backend.choose(arguments.device)
        if choice.fell_back:
            print(f"{arguments.device}: no rows: {choice.reason}")
            return 0
    gemm = {n: best_rate("sgemm", arguments.device, n) * 2 * 2048**3 for n in threads}
    print("  ".join(f"sgemm on {n} threads: {rate / 1e9:.0f} GFLOP/s" for n, rate in gemm.items()))
    bandwidth = None
    if arguments.device != "cpu":
        bandwidth = best_rate("copy", arguments.device, 1) * 2 * COPIED
        print(f"copy: {bandwidth / 1e9:.0f} GB/s")
    lines: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, prose in ENCODED.items():
            corpus.write_text(Path(folder, name), ENCODED_BYTES, prose)
        for work, systems in rows(arguments.device, Path(folder)):
            if arguments.rows not in name_of(work):
                continue
            best = compete(
                systems, work, threads[-1:] if work.kind in ("workers", "ranks") else threads, arguments.rounds
            )
            for contender in best.values():
                lines.append(figures(work, contender, best["charrnn"], gemm, bandwidth))
                show(lines[-1])
    commands = {name: partial(corpus.measure, name) for name in corpus.SIZES} | {"start-up": startup.measure}
    for name, measure in commands.items() if arguments.device == "cpu" else ():
        if arguments.rows in name and (arguments.rows or name != corpus.OPT_IN):
            measured = measure()
            lines += measured
            for line in measured:
                (startup if measure is startup.measure else corpus).show(line)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": about, "sgemm": gemm, "copy": bandwidth, "rows": lines}, indent=1) + "\n"
        )
    ratios = [
        float(str(line["ratio"]))
        for line in lines
        if line["system"] == "min-char-rnn" and "training" in str(line["row"]) and "ratio" in line
    ]
    return int(arguments.gate and not (ratios and min(ratios) >= GATE))


if __name__ == "__main__":
    sys.exit(main())
