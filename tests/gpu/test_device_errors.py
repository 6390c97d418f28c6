"""Errors of the driver and of CUDA's libraries: one line each, and no finished work is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from helpers import cupy_cards
from helpers.commands import Call
from helpers.namespaces import fake_gpu, gpu

import charrnn
from charrnn.backend import computing
from charrnn.backend.cupy import CupyBackend
from charrnn.errors import DeviceError

LIBRARIES = {"driver": "cuda.api.driver", "runtime": "cuda.api.runtime", "cublas": "cuda.libs.cublas"}


def error_of(library: str, name: str, status: int, text: str) -> Exception:
    """Return an error as CuPy raises it: the type's name and package, its status, and its text."""
    kind = type(name, (RuntimeError,), {"__module__": f"cupy_backends.{LIBRARIES[library]}", "status": status})
    return kind(text)


DRIVER_FULL = ("driver", "CUDADriverError", 2, "CUDA_ERROR_OUT_OF_MEMORY: out of memory")
FAULT = ("runtime", "CUDARuntimeError", 700, "cudaErrorIllegalAddress: an illegal memory access was encountered")
ERRORS = [
    (
        DRIVER_FULL,
        r"is out of memory \(loading a kernel: CUDA_ERROR_OUT_OF_MEMORY: .*, [\d,]+ MiB are free\): lower it",
    ),
    (("runtime", "CUDARuntimeError", 2, "cudaErrorMemoryAllocation: out of memory"), r"is out of memory .*: lower it"),
    (("cublas", "CUBLASError", 3, "CUBLAS_STATUS_ALLOC_FAILED"), r"is out of memory .*: lower it"),
    (("cublas", "CUBLASError", 13, "CUBLAS_STATUS_EXECUTION_FAILED"), r"cannot multiply matrices .*: use --device cpu"),
    (FAULT, r"cannot run a kernel \(cudaErrorIllegalAddress.*\): use --kernels off, or --device cpu"),
    (("driver", "CUDADriverError", 719, "CUDA_ERROR_LAUNCH_FAILED: x"), r"cannot run a kernel .*: use --kernels off"),
    (("driver", "CUDADriverError", 702, "CUDA_ERROR_LAUNCH_TIMEOUT: x"), r"stopped a kernel .*: use a card that"),
    (("runtime", "CUDARuntimeError", 101, "cudaErrorInvalidDevice: x"), r"failed \(cuda.*\): use --device cpu"),
]


@pytest.mark.parametrize(("error", "line"), ERRORS)
def test_each_error_is_one_line_with_advice(error: tuple[str, str, int, str], line: str) -> None:
    """The line names the device, what it cannot do, CUDA's own word for it, and what to do."""
    with pytest.raises(DeviceError, match=rf"^cuda:0 {line}"), computing(fake_gpu(), memory_advice="lower it"):
        raise error_of(*error)


@pytest.mark.gpu
def test_the_errors_are_those_of_cupy() -> None:
    """CuPy's own classes have the packages, statuses and texts that the other tests make up."""
    device: Any = gpu()
    from cupy_backends.cuda.api import driver, runtime
    from cupy_backends.cuda.libs import cublas

    kinds = {"driver": driver.CUDADriverError, "runtime": runtime.CUDARuntimeError, "cublas": cublas.CUBLASError}
    for (library, _, status, _), line in ERRORS:
        with pytest.raises(DeviceError, match=rf"^cuda:0 {line}"), computing(device, memory_advice="lower it"):
            raise kinds[library](status)
    asked = r"Out of memory allocating 80,000,|cudaErrorMemoryAllocation"  # the second where CuPy has no pool
    with pytest.raises(DeviceError, match=rf"^cuda:0 is out of memory \(({asked})"), computing(device):
        device.empty((10**13,), "float64")


def test_other_errors_pass() -> None:
    """An error in the code, and one for the user, stay what they are."""
    for error in (RuntimeError("a bug"), charrnn.CharrnnError("yours")):
        with pytest.raises(type(error), match=str(error)), computing(fake_gpu()):
            raise error


def test_a_driver_that_answers_nothing_more_has_its_line() -> None:
    """After a fault every call fails, also the question how much memory is free."""
    device = fake_gpu()
    with (
        patch.object(CupyBackend, "free_bytes", side_effect=error_of(*FAULT)),
        pytest.raises(
            DeviceError, match=r"^cuda:0 is out of memory \(loading a kernel: CUDA_ERROR_OUT_OF_MEMORY: .*memory\): "
        ),
        computing(device),
    ):
        raise error_of(*DRIVER_FULL)


WORDS = ["train", "t.txt", "--set=model.hidden_size=8", "--set=train.seq_length=8", "--set=log.checkpoint_every=4"]


def test_a_run_whose_device_fails_is_saved_and_continues(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says up to which step it is saved; the CPU continues it to the weights of an undisturbed run."""
    words = [*WORDS, "--steps=8", "--set=log.every=1", "--set=train.device=auto"]
    call(*words, "--device=cpu", "--out=whole")
    products = CupyBackend.matmul

    def fail_later(self: CupyBackend, *arguments: Any, **options: Any) -> Any:
        if Path("run/checkpoints/step-00000004.safetensors").exists():
            raise error_of(*FAULT)
        return products(self, *arguments, **options)

    monkeypatch.setattr(CupyBackend, "matmul", fail_later)
    with cupy_cards.with_free_memory(2**30), cupy_cards.readable_values():
        _, line = call(*words, "--device=cuda", "--out=run", status=2)
    assert line.startswith("charrnn: cuda:0 cannot run a kernel (cudaErrorIllegalAddress: ")
    assert line.endswith("--device cpu; the run is saved up to step 4: continue with --resume")
    call("train", "--resume", "--out=run", "--device=cpu")
    whole, run = (charrnn.load(name, device="cpu", checkpoint="last") for name in ("whole", "run"))
    assert run.step == 8
    for name, weights in whole.params.items():
        assert np.allclose(run.params[name], weights, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("words", [["sample", "run"], ["eval", "run"], ["score", "run", "t.txt"]])
def test_commands_that_read_a_run_have_their_line(call: Call, words: list[str]) -> None:
    """Sampling and evaluation on a card without enough memory advise another device."""
    call(*WORDS, "--steps=2", "--device=cpu", "--out=run")
    with cupy_cards.with_free_memory(2**9):
        _, line = call(*words, "--device=cuda", status=2)
    assert line.startswith("charrnn: cuda:0 is out of memory (Out of memory allocating ")
    assert line.endswith("are free): continue on a device with more memory, such as --device cpu")
