"""Choose the device (`auto`, `cpu`, `cuda` or `cuda:N`), fall back to the CPU, and report all devices."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from charrnn.backend import cupy as cupy
from charrnn.backend import numpy as numpy
from charrnn.backend import threads
from charrnn.backend.base import Backend
from charrnn.errors import DeviceError


@dataclass(frozen=True)
class Choice:
    """A backend, one line that says why it was chosen, and whether the line is a warning about a fallback."""

    backend: Backend
    reason: str
    fell_back: bool = False


def choose(device: str, *, fallback: bool = True, precision: str | None = None, memory: int = 0) -> Choice:
    """Return the backend for `device`; `precision` and `memory` are arguments of `CupyBackend`.

    `auto` is the first GPU that passes a test computation, else the CPU. For a CUDA device that cannot be used, the
    CPU is returned with a warning in `Choice.reason`, or `DeviceError` is raised if `fallback` is false. Without
    CuPy, `auto` says so only where an NVIDIA card or driver seems to be present.
    """
    if device == "cpu":
        backend = numpy.NumpyBackend()
        return Choice(backend, f"device: {backend.label}")
    index, trouble = (int(device[5:]), cupy.problem(int(device[5:]))) if device.startswith("cuda:") else first_gpu()
    if trouble is None:
        gpu = cupy.CupyBackend(index, precision=precision, memory=memory)
        return Choice(gpu, f"device: {gpu.name}, {gpu.label}")
    backend = numpy.NumpyBackend()
    if device == "auto" and is_normal(trouble):
        return Choice(backend, f"device: {backend.label}")
    if device == "auto":
        return Choice(backend, f"device: {backend.label}; no GPU is used: {trouble}")
    if not fallback:
        raise DeviceError(f"--device {device} cannot be used: {trouble}")
    return Choice(backend, f"WARNING: --device {device} cannot be used, running on the CPU: {trouble}", fell_back=True)


def first_gpu() -> tuple[int, str | None]:
    """Return the first GPU that computes and None; if none computes, 0 and why."""
    trouble = cupy.problem(0)
    if trouble is not None and cupy.started():
        others = (n for n in range(1, cupy.count()) if cupy.problem(n) is None)
        other = next(others, None)
        if other is not None:
            return other, None
    return 0, trouble


def is_normal(trouble: str) -> bool:
    """Return whether CuPy is not installed, and nothing seems to be here that it could use: no reason for advice."""
    return trouble.startswith(cupy.NOT_INSTALLED) and not cupy.nvidia_is_present()


def gpus() -> dict[str, str | None]:
    """Return for each CUDA device why it cannot be used, None if it can; only `cuda` if no device can be used.

    The result is empty if CuPy is not installed and no NVIDIA card or driver seems to be present.
    """
    _, trouble = first_gpu()
    if trouble and is_normal(trouble):
        return {}
    return {"cuda": trouble} if trouble else {f"cuda:{n}": cupy.problem(n) for n in range(cupy.count())}


@contextmanager
def explain_out_of_memory(backend: Backend, *, resumed: bool = False) -> Iterator[None]:
    """Turn a `MemoryError` of the block into a `DeviceError`: what was asked for, what is free, and what to do.

    A `resumed` run cannot change its sizes, so the advice is to continue it elsewhere.
    """
    try:
        yield
    except MemoryError as error:
        # Without cached memory: after the error it includes arrays that were freed on the way to this line.
        facts, free = [cupy.first_line(error).removesuffix(".")], backend.free_bytes(cached=False)
        if free is not None:
            facts.append(f"{free / 2**20:,.0f} MiB are free")
        advice = "lower train.batch_size or model.hidden_size"
        if resumed:
            elsewhere = "machine" if backend.name == "cpu" else "device"
            advice = f"continue on a {elsewhere} with more memory" + ", such as --device cpu" * (elsewhere == "device")
        raise DeviceError(f"{backend.name} is out of memory ({', '.join(facts)}): {advice}") from error


def report() -> list[str]:
    """Return lines for users: each device or why it cannot be used, versions and memory, and what `auto` chooses."""
    cpu = numpy.NumpyBackend()
    total = threads.total_ram()
    size = f"{total / 2**30:.0f} GiB" if total else "an unknown amount"
    lines = [f"cpu     {cpu.label}, {os.cpu_count()} cores, {size} of memory"]
    first, trouble = first_gpu()
    if trouble is None:
        lines += [f"cuda:{n}  {cupy.describe(n)}, {cupy.problem(n) or 'computes'}" for n in range(cupy.count())]
    else:
        absent = " (and no NVIDIA card or driver was detected)" * is_normal(trouble)
        lines.append(f"cuda    not usable: {trouble}{absent}")
    lines.append(f"cupy    {' and '.join(cupy.wheels()) or 'not installed'}")
    lines.append(f"python  {platform.python_version()}, {threads.blas()}")
    return [*lines, f"auto    {f'cuda:{first}' if trouble is None else 'cpu'}"]
