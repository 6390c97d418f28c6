"""CuPy's compiler, NVRTC, compiles every kernel for cards of three generations. No GPU is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.namespaces import gpu

from charrnn.backend.kernels import REALS, Card, plan, source
from charrnn.backend.kernels.source import FOLDER
from charrnn.model.cells import CELLS
from charrnn.optim import GUARD_LIMIT

CARDS = {"80": Card(108, 163 * 1024), "90": Card(132, 227 * 1024), "120": Card(170, 99 * 1024)}
"""Architecture -> card: A100, H100, RTX 5090."""
SIZES = [(1, 4), (1, 128), (32, 256), (64, 1024), (256, 2048)]
"""Streams and units."""


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    """Return the compiler. Where CHARRNN_REQUIRE_NVRTC is set, as in CI, a missing compiler is a failure."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except Exception as error:
        reason = f"NVRTC is not installed: {error}"
        if os.environ.get("CHARRNN_REQUIRE_NVRTC"):
            pytest.fail(reason)
        pytest.skip(reason)
    return nvrtc


def sources(card: Card, dtype: str) -> Iterator[tuple[str, str]]:
    """Yield a description and the complete source of everything that runs on a card."""
    for cell in CELLS.values():
        layouts = {plan(cell.GATES, B, H, 4 if dtype == "float32" else 8, card) for B, H in SIZES}
        for layout in layouts - {None}:
            yield f"{cell.NAME}, {layout}", source(f"{cell.NAME}.cu", dtype, layout.definitions)
            jitter = {**layout.definitions, "JITTER": 4000}
    yield f"{cell.NAME}, with jitter", source(f"{cell.NAME}.cu", dtype, jitter)
    yield "loss", source("loss.cu", dtype, {"THREADS": card.threads})
    for rule in ("Adagrad", "RMSprop", "Adam"):
        yield rule, source("update.cu", dtype, {"THREADS": card.threads, "RULE": rule, "LIMIT": GUARD_LIMIT})
    for mask in ("unsigned char", REALS[dtype][0]):
        yield f"masks, {mask}", source("masks.cu", "float32", {"THREADS": card.threads, "MASK": mask})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("architecture", CARDS)
def test_every_kernel_compiles_without_spilling(
    nvrtc: Any, architecture: str, dtype: str, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """No kernel causes a warning, and none spills registers in float32. The test reports the registers."""
    report = []
    for name, code in sources(CARDS[architecture], dtype):
        program = nvrtc.createProgram(code, "kernel.cu", [], [])
        try:
            nvrtc.compileProgram(program, ["-std=c++17", f"-arch=sm_{architecture}", "--ptxas-options=-v"])
        except nvrtc.NVRTCError:
            pytest.fail(f"{name}: {nvrtc.getProgramLog(program)}")
        log = nvrtc.getProgramLog(program)
        assert "warning" not in log, f"{name}: {log}"
        registers = re.findall(r"Used (\d+) registers", log)
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", log)))
        assert registers, log
        report.append(f"sm_{architecture} {dtype} {name}: {' and '.join(registers)} registers, {spilled} bytes spilled")
        assert not spilled or dtype == "float64", report[-1]
        nvrtc.destroyProgram(program)
    record_property("registers", report)
    with capsys.disabled():
        if os.environ.get("CHARRNN_REQUIRE_NVRTC"):
            print("", *report, sep="\n")


def test_every_source_is_compiled() -> None:
    """The test above covers each file with kernels."""
    names = {f"{name}.cu" for name in CELLS} | {"loss.cu", "masks.cu", "update.cu"}
    assert {path.name for path in FOLDER.glob("*.cu")} == names


def test_sources_are_ascii() -> None:
    """CuPy writes a source in the locale's encoding, which on Windows or with LANG=C cannot encode other characters.

    This is so for each file, and for the whole source of everything that runs on any of the cards.
    """
    files = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.cu*")}
    whole = {name: code for card in CARDS.values() for dtype in REALS for name, code in sources(card, dtype)}
    assert len(files) >= 6
    assert [name for name, code in (files | whole).items() if not code.isascii()] == []


@pytest.mark.gpu
def test_a_run_needs_no_utf8_locale(tmp_path: Path) -> None:
    """With LC_ALL=C and without Python's UTF-8 mode a GPU trains, from an empty cache of compiled kernels."""
    gpu()
    settings = {"model.cell": "gru", "model.hidden_size": 4, "train.seq_length": 4, "train.batch_size": 2}
    words = ["train", "t.txt", "--steps=1", "--device=cuda", "--no-fallback", "--out=run"]
    (tmp_path / "t.txt").write_text("to be or not to be " * 20, encoding="ascii")
    command = [sys.executable, "-m", "charrnn", *words, *(f"--set={key}={value}" for key, value in settings.items())]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "CUPY_CACHE_DIR": str(tmp_path / "cache")}
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | plain, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "recurrence: one kernel" in ended.stderr
