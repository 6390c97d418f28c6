"""The array namespaces on which the mathematics is tested, each as a `Backend`, with its rounding error."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers import cuda_cpu, fake_cupy

from charrnn.backend import Array
from charrnn.backend.base import Backend
from charrnn.backend.numpy import NumpyBackend


class WithOut:
    """A namespace whose functions accept `out=`, which the standard does not have: it computes, then copies."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.xp, name)
        if not callable(value) or isinstance(value, type):
            return value

        def function(*args: Any, out: Array | None = None, **options: Any) -> Array:
            result = value(*args, **options)
            if out is None:
                return result
            out[...] = result
            return out

        return function


class StrictBackend(Backend):
    """array-api-strict, which raises for what the standard does not promise, NumPy arrays, and mixed devices."""

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """Return a NumPy array: transfer to the CPU device, then convert."""
        import array_api_strict

        return np.array(array.to_device(array_api_strict.Device("CPU_DEVICE")))

    def quiet(self) -> AbstractContextManager[None]:
        """Silence NumPy, with which it computes.

        Some BLAS kernels read beyond short rows and raise "invalid value" for numbers that are in no result.
        """
        return np.errstate(all="ignore")


class ReadOnlyBackend(NumpyBackend):
    """NumPy with read-only arrays from the host, so that code which overwrites its input raises."""

    def from_host(self, array: np.ndarray[Any, Any], dtype: str | None = None) -> Array:
        """Return a read-only copy."""
        result = super().from_host(array, dtype)
        result.flags.writeable = False
        return result


def strict(device: str) -> Backend:
    """Return array-api-strict on one of its devices."""
    xp = pytest.importorskip("array_api_strict")
    return StrictBackend(WithOut(xp), xp.Device(device), name=device, label=f"array-api-strict {device}")


def torch_cpu() -> Backend:
    """Return PyTorch on the CPU, on one thread, because the arrays are small and idle threads spin."""
    pytest.importorskip("torch").set_num_threads(1)
    import array_api_compat.torch as xp

    return Backend(xp, "cpu", name="torch", label="PyTorch")


def gpu() -> Backend:
    """Return CuPy. Without a GPU, skip the test, or fail it if CHARRNN_REQUIRE_GPU is set."""
    from charrnn.backend import cupy

    trouble = cupy.problem(0)
    if trouble is not None:
        (pytest.fail if os.environ.get("CHARRNN_REQUIRE_GPU") else pytest.skip)(trouble)
    return cupy.CupyBackend(0)


def fake_gpu(kernels: str = "auto") -> Backend:
    """Return the backend of a fake GPU, which runs the kernels on the CPU. Skip the test without g++."""
    if cuda_cpu.compiler is None:
        pytest.skip("g++ is not installed")
    return fake_cupy.backend(kernels)


@dataclass(frozen=True)
class Case:
    """A namespace and a dtype to test."""

    name: str
    make: Callable[[], Backend]
    dtype: str

    @property
    def tolerance(self) -> float:
        """Return the relative error that rounding may cause."""
        return 1e-10 if self.dtype == "float64" else 2e-5


CASES = [
    Case("numpy-float64", NumpyBackend, "float64"),
    Case("numpy-float32", NumpyBackend, "float32"),
    Case("numpy-readonly", ReadOnlyBackend, "float64"),
    Case("strict-device1", lambda: strict("device1"), "float64"),
    Case("strict-no-float64", lambda: strict("no_float64"), "float32"),
    Case("torch-cpu", torch_cpu, "float64"),
    Case("cupy-double", fake_gpu, "float64"),
    Case("cupy-float64", gpu, "float64"),
    Case("cupy-float32", gpu, "float32"),
]


def parameters() -> list[Any]:
    """Return the cases as pytest parameters."""
    return [pytest.param(case, id=case.name, marks=[pytest.mark.gpu] * (case.make is gpu)) for case in CASES]
