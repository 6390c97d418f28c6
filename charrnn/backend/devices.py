"""Choose the device (`auto`, `cpu`, `cuda` or `cuda:N`), fall back to the CPU, and report all devices."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from charrnn.backend import cupy as cupy
from charrnn.backend import numpy as numpy
from charrnn.backend import threads
from charrnn.backend.base import Backend
from charrnn.errors import DeviceError

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """A backend, one line that says why it was chosen, and whether the line is a warning about a fallback."""

    backend: Backend
    reason: str
    fell_back: bool = False


def choose(
    device: str, *, fallback: bool = True, precision: str | None = None, memory: int = 0, kernels: str = "auto"
) -> Choice:
    """Return the backend for `device`; `precision`, `memory` and `kernels` are arguments of `CupyBackend`.

    `auto` is the first GPU that passes a test computation, else the CPU. For a CUDA device that cannot be used, the
    CPU is returned with a warning in `Choice.reason`, or `DeviceError` is raised if `fallback` is false. Without
    CuPy, `auto` says so only where an NVIDIA card or driver seems to be present.
    """
    if device == "cpu":
        backend = numpy.NumpyBackend()
        return Choice(backend, f"device: {backend.label}")
    index, trouble = (int(device[5:]), cupy.problem(int(device[5:]))) if device.startswith("cuda:") else first_gpu()
    if trouble is None:
        gpu = cupy.CupyBackend(index, precision=precision, memory=memory, kernels=kernels)
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


def gpu_of(process: int) -> str:
    """Return the GPU that a process uses, by its number among those of this machine; empty if no GPU computes."""
    _, trouble = first_gpu()
    return f"cuda:{process % cupy.count()}" if trouble is None else ""


def gpu_is_possible() -> bool:
    """Return whether a CuPy package is installed. This takes no time: it is not imported, and no GPU is started."""
    return bool(cupy.wheels())


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


class Checked(NamedTuple):
    """The verdict about a kernel.

    Attributes:
        device: `cuda:0`, ...
        kernel: its name.
        dtype: float32 or float64.
        layout: where the recurrent weights are; empty for a kernel that is no recurrence.
        error: its largest error; None if it did not end.
        problem: why it is not used; empty if it passed.
    """

    device: str
    kernel: str
    dtype: str
    layout: str
    error: float | None
    problem: str


def check(cells: Iterable[Any], functions: Mapping[str, Callable[..., Any]]) -> Iterator[Checked]:
    """Check the kernels for these cells and functions on each GPU that computes, and yield the verdicts."""
    for name in (name for name, trouble in gpus().items() if trouble is None):
        gpu = cupy.CupyBackend(int(name[5:]))
        for kernel, dtype, layout, verdict in gpu.check_all(cells, functions):
            yield Checked(name, kernel, dtype, layout, verdict.error, verdict.problem)


@contextmanager
def computing(backend: Backend, *, memory_advice: str = "", saved: Callable[[], str] = str) -> Iterator[None]:
    """Compute on a device: make it current for this thread, and turn its errors into a `DeviceError` of one line.

    Every public function computes inside this context, or inside `computed`. At its end the caller's device is current.

    Args:
        backend: the device.
        memory_advice: what to do if the memory is exhausted; by default, to compute elsewhere.
        saved: returns the end of the line: what of the work is safe.
    """
    try:
        with backend.current():
            yield
    except Exception as error:
        failure = backend.failure(error)
        if failure is None:
            raise
        advice = failure.advice or memory_advice or f"continue on a {larger_device(backend)}"
        # The frames of the error hold the arrays. From Python 3.12 on they are in a cycle with it, so the memory would
        # not be free for the next run.
        error.__context__ = None
        message = f"{backend.name} {failure.what}: {advice}{saved()}"
        raise DeviceError(message) from error.with_traceback(None)


def computed(
    backend: Backend, items: Generator[T], *, memory_advice: str = "", saved: Callable[[], str] = str
) -> Iterator[T]:
    """Yield the items of a generator that computes inside `computing`; between them the caller's device is current."""
    while True:
        with computing(backend, memory_advice=memory_advice, saved=saved):
            try:
                item = next(items)
            except StopIteration:
                return
        try:
            yield item
        except BaseException:  # the caller ends before the generator does
            with backend.current():
                items.close()
            raise


def larger_device(backend: Backend) -> str:
    """Return where there may be more memory, for users."""
    if backend.name == "cpu":
        return "machine with more memory"
    return "device with more memory, such as --device cpu"


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
