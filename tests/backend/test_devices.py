"""The choice of the device: every way in which a GPU can be missing or broken, and fake GPUs that work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from helpers import fake_cupy

from charrnn import backend
from charrnn.backend import cupy
from charrnn.backend.numpy import NumpyBackend
from charrnn.errors import DeviceError
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.tools import tune
from charrnn.training.events import Trained


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Return a function that installs a fake CuPy as packages of the given names."""
    undo = ExitStack()

    def wheels(module: ModuleType | None, *names: str) -> None:
        def version(name: str) -> str:
            if name in names:
                return "14.0"
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(cupy.metadata, "version", version)
        undo.enter_context(fake_cupy.imported(module))

    with undo:
        yield wheels


OLD = fake_cupy.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
NONE = fake_cupy.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
LIBRARY = RuntimeError("CuPy failed to load libnvrtc.so.13: cannot open shared object file\nmore lines")


@pytest.mark.parametrize(
    ("module", "wheels", "device", "words"),
    [
        (None, (), "cuda", ["not installed", "cuda13"]),
        (fake_cupy.module(), ("cupy-cuda12x", "cupy-cuda13x"), "cuda", ["two CuPy packages", "uninstall"]),
        (None, ("cupy-cuda13x",), "cuda", ["cannot be imported", "cuda13"]),
        (fake_cupy.module(failure=OLD), ("cupy-cuda13x",), "cuda", ["no NVIDIA driver", "newer driver"]),
        (fake_cupy.module(failure=NONE), ("cupy-cuda13x",), "cuda", ["cudaErrorNoDevice", "nvidia-smi"]),
        (fake_cupy.module(count=0), ("cupy-cuda13x",), "cuda", ["no GPU", "nvidia-smi"]),
        (fake_cupy.module(count=2), ("cupy-cuda13x",), "cuda:2", ["no cuda:2", "cuda:0, cuda:1"]),
        (fake_cupy.module(broken=LIBRARY), ("cupy-cuda12x",), "cuda", ["libnvrtc.so.13", "CUDA library"]),
    ],
)
def test_an_unusable_gpu_is_replaced_with_reason_and_remedy(
    install: object,
    module: ModuleType | None,
    wheels: tuple[str, ...],
    device: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The CPU is used with a one-line warning that has reason and remedy; without fallback it is an error."""
    install(module, *wheels)
    monkeypatch.setattr(cupy, "nvidia_is_present", lambda: True)
    choice = backend.choose(device)
    assert choice.backend.name == "cpu"
    assert choice.fell_back
    assert choice.reason.startswith("WARNING")
    assert all(word in choice.reason for word in words), choice.reason
    assert "\n" not in choice.reason
    with pytest.raises(DeviceError) as error:
        backend.choose(device, fallback=False)
    assert all(word in str(error.value) for word in words)
    if device == "cuda":
        auto = backend.choose("auto")
        assert auto.backend.name == "cpu"
        assert not auto.fell_back
        assert words[0] in auto.reason
        assert any(words[0] in line for line in backend.report())
        assert backend.report()[-1].split() == ["auto", "cpu"]


def test_no_advice_without_an_nvidia_card(install: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing of NVIDIA is present, a missing CuPy is worth a line only to a user who asks for CUDA."""
    install(None)
    monkeypatch.setattr(cupy, "nvidia_is_present", lambda: False)
    assert backend.choose("auto").reason == f"device: {NumpyBackend().label}"
    assert backend.gpus() == {}
    assert "pip install" in backend.choose("cuda").reason
    assert any("pip install" in line and "no NVIDIA card" in line for line in backend.report())
    monkeypatch.setattr(cupy, "nvidia_is_present", lambda: True)
    assert "CuPy is not installed: pip install" in backend.choose("auto").reason
    assert "pip install" in backend.gpus()["cuda"]
    assert not any("no NVIDIA card" in line for line in backend.report())


def test_an_nvidia_card_is_detected_by_its_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graphics card of NVIDIA on the PCI bus is enough; its sound device or another maker's card is not."""
    if cupy.nvidia_is_present():
        pytest.skip("this machine has an NVIDIA card or driver")
    monkeypatch.setattr(cupy, "PCI", tmp_path)
    for name, vendor, kind in (("a", "0x10de", "0x040300"), ("b", "0x1002", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert not cupy.nvidia_is_present()
    (tmp_path / "a" / "class").write_text("0x030200\n")
    assert cupy.nvidia_is_present()
    (tmp_path / "a" / "class").write_text("0x040300\n")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cupy.nvidia_is_present()


def test_a_gpu_that_computes_is_chosen(install: object) -> None:
    """`auto` and `cuda` choose the first GPU, `cuda:1` the second; the report lists both."""
    install(fake_cupy.module(count=2), "cupy-cuda13x")
    assert [backend.choose(d).backend.name for d in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
        "cpu",
    ]
    report = backend.report()
    assert [line.split()[0] for line in report] == ["cpu", "cuda:0", "cuda:1", "cupy", "python", "auto"]
    assert "Stand-in (sm_90, 8 GiB)" in report[1]
    assert report[-1].split() == ["auto", "cuda:0"]


def test_auto_skips_a_gpu_that_does_not_compute(install: object) -> None:
    """`auto` chooses the first GPU that computes, and the report says of each GPU whether it does."""
    module = fake_cupy.module(count=2)
    module.cuda.Device = picky(module)
    install(module, "cupy-cuda13x")
    assert backend.choose("auto").backend.name == "cuda:1"
    report = backend.report()
    assert "cannot compute" in report[1]
    assert report[2].endswith("computes")
    assert report[-1].split() == ["auto", "cuda:1"]
    assert backend.choose("cuda:0").fell_back


def picky(module: ModuleType) -> type:
    """Return a device type whose first device cannot compute."""

    class Device(fake_cupy.Device):
        """A device; entering device 0 fails."""

        def __enter__(self) -> None:
            if self.index == 0:
                raise LIBRARY
            super().__enter__()

    return Device


def test_a_run_moves_between_devices(install: object, tmp_path: Path, text: str) -> None:
    """A run on a fake GPU has one shard, reports its device in events and configuration, and resumes on the CPU."""
    install(fake_cupy.module(), "cupy-cuda13x")
    (tmp_path / "t.txt").write_text(text)
    options = {
        "model": {"hidden_size": 8},
        "train": {"batch_size": 4, "seq_length": 6, "steps": 20, "shards": 2, "device": "cuda"},
        "log": {"every": 5},
    }
    request = {"files": (str(tmp_path / "t.txt"),), "options": options, "out": tmp_path / "run"}
    session = prepare(Request(**request, stop_after=10))
    trained = [event for event in session.events() if isinstance(event, Trained)]
    assert {event.device for event in trained} == {"cuda:0"}
    assert session.config.train.device == "cuda:0"
    assert len(session.loop.trainer.shards) == 1
    options["train"]["device"] = "cpu"
    events = list(prepare(Request(**request, resume=True)).events())
    assert {event.device for event in events if isinstance(event, Trained)} == {"cpu"}
    assert events[-1].at.step == 20


def test_tune_measures_or_reports_each_gpu(install: object, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that computes is measured with one shard, as the current device; of any other the reason is reported."""
    module, used = fake_cupy.module(count=3), []
    picky_device = picky(module)

    class Device(picky_device):
        """Record which device is made current."""

        def __enter__(self) -> None:
            used.append(self.index)
            super().__enter__()

    module.cuda.Device = Device
    install(module, "cupy-cuda13x")
    monkeypatch.setattr(tune, "pace", lambda trainer, _: len(trainer.shards))
    settings = {"model": {"hidden_size": 8}, "train": {"batch_size": 4, "seq_length": 6, "shards": 2}}
    plan = tune.plan(Request(text=text, options=settings), 1.0)
    gpus = [candidate for candidate in plan.candidates if candidate.device != "cpu"]
    assert gpus == [tune.Candidate("cuda:1", 1, 1), tune.Candidate("cuda:2", 1, 1)]
    assert plan.current == gpus[0]
    assert list(plan.missing) == ["cuda:0"]
    assert "cannot compute" in plan.missing["cuda:0"]
    bench = tune.Bench(plan)
    used.clear()
    assert [bench(candidate, 1.0) for candidate in (*gpus, gpus[0], tune.Candidate("cpu", 2, 1))] == [1, 1, 1, 2]
    assert used == [1, 2, 1]
    settings["train"]["device"] = "cpu"
    kept = tune.plan(Request(text=text, options=settings), 1.0)
    assert {candidate.device for candidate in kept.candidates} == {"cpu"}
    assert kept.missing == {}
    settings["train"]["device"] = "cuda:0"
    assert tune.plan(Request(text=text, options=settings), 1.0).current.device == "cpu"


def test_cupy_without_a_driver(tmp_path: Path) -> None:
    """With the real CuPy but no driver, the report, the warning and the error each say so in one line."""
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")

    def charrnn(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "charrnn", *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"HOME": "."})
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.returncode, ended.stdout, ended.stderr

    (tmp_path / "t.txt").write_text("to be or not to be " * 20)
    words = ("train", "t.txt", "--device", "cuda", "--steps", "2", "--set", "model.hidden_size=4")
    status, out, _ = charrnn("devices")
    assert status == 0
    assert "not usable: no NVIDIA driver" in out
    assert out.splitlines()[-1].split() == ["auto", "cpu"]
    status, _, error = charrnn(*words, "--out", "run")
    assert status == 0
    assert "WARNING: --device cuda cannot be used, running on the CPU: no NVIDIA driver" in error
    status, _, error = charrnn(*words, "--out", "other", "--no-fallback")
    assert status == 2
    assert error.splitlines()[-1].startswith("charrnn: --device cuda cannot be used: no NVIDIA driver")
    assert not (tmp_path / "other").exists()
