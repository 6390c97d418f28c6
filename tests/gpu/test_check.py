"""The check of kernels in a child process: which kernels are used, and the line about a kernel that is not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import fake_cupy, namespaces
from helpers.commands import Call

from charrnn import config
from charrnn.backend import cupy
from charrnn.backend.kernels import check
from charrnn.backend.kernels.check import Checks, Verdict, worst
from charrnn.backend.kernels.loader import Recurrence
from charrnn.model.bptt import cross_entropy_and_grad
from charrnn.model.cells import CELLS
from charrnn.run import resolve
from charrnn.run.request import Request
from charrnn.run.resolve import REPLACED
from charrnn.run.session import prepare
from charrnn.training.events import Trained

BROKEN = {
    "does not compile": ({"tanh": "no_such_function"}, "it fails (", "no_such_function"),
    "faults": ({"JITTER": "1); *(int*)8 = 0; (void)(0"}, "it fails (", ""),
    "is wrong": ({"tanh": "sin"}, "its results differ from NumPy's by ", "more than 0.0001"),
    "hangs": ({"JITTER": "1); for (;;) __nanosleep(100); (void)(0"}, "it does not end within 6 s", ""),
    "waits forever": ({"gridDim": "dim3(gridDim.x + 1000)", "MOST_WAIT": "1000000ull"}, "it fails (a block waited", ""),
}
"""What is wrong with a kernel -> macros that make it so, the start of the reason, and words in it."""


@pytest.fixture
def checking(trusted_kernels: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Check kernels in this test, with an empty cache. Return the folder of verdicts."""
    namespaces.gpu()  # or skip the test
    monkeypatch.setattr(Checks, "check", CHECK)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "charrnn" / "kernels"


CHECK = Checks.check
"""The method itself, which the suite replaces."""
OPTIONS = {
    "model": {"hidden_size": 12, "cell": "rnn"},
    "train": {"device": "cuda", "batch_size": 4, "seq_length": 6, "steps": 4},
    "log": {"every": 1, "eval_every": 0, "sample_every": 0},
}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines for the user since the last call."""
    result = [record.getMessage() for record in caplog.records if record.name == "charrnn"]
    caplog.clear()
    return result


@pytest.mark.gpu
def test_kernels_that_pass_are_used_and_checked_once(
    checking: Path, cell: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels of a cell pass, and those of all functions. Another process finds the verdicts in the cache."""
    dtype, device = "float32", namespaces.gpu()
    device.check_kernels(CELLS[cell], (5, 1), 10, dtype, REPLACED)
    verdicts = device.checks.verdicts
    assert len(verdicts) == len(list(checking.iterdir())) == 2 + 2 * len(REPLACED)
    for subject, verdict in verdicts.items():
        assert verdict.problem == ""
        assert 0 <= verdict.error <= check.TOLERANCE[subject.dtype]
    assert lines(caplog) == []
    monkeypatch.setattr(check, "in_child_process", None)
    again = namespaces.gpu()
    assert again.fused("cross_entropy", cross_entropy_and_grad) is not cross_entropy_and_grad
    assert again.recurrence(CELLS[cell]).kernel_for(5, 10, dtype)
    again.check_kernels(CELLS[cell], (5, 1), 10, dtype, REPLACED)
    assert again.checks.verdicts == verdicts


@pytest.mark.gpu
@pytest.mark.parametrize("broken", BROKEN)
def test_a_kernel_that_does_not_pass_is_replaced(
    broken: str, checking: Path, corpus: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says which and why, the run has the losses of a run without kernels, and the other kernels are used."""
    macros, reason, word = BROKEN[broken]
    monkeypatch.setattr(cupy, "Recurrence", partial(Recurrence, definitions=macros))
    monkeypatch.setattr(check, "LIMIT", 6.0 if broken == "hangs" else 60.0)
    monkeypatch.setattr(resolve, "REPLACED", {"cross_entropy": cross_entropy_and_grad})
    session = prepare(Request(files=(str(corpus),), options=OPTIONS))
    (line,) = lines(caplog)
    assert line.startswith("the kernel rnn (float32, "), line
    assert f", H=12) is not used, array operations run instead: {reason}" in line
    assert word in line
    assert "\n" not in line
    losses = [event.loss for event in session.events() if isinstance(event, Trained)]
    device = session.network.backend
    assert set(device.checks.failed) == {"rnn"}
    assert [subject.sizes for subject in device.checks.verdicts if subject.name == "rnn"] == [(4, 12)]
    assert not any(device.recurrences["rnn"].kernels.values())
    assert device.fused("cross_entropy", cross_entropy_and_grad) is not cross_entropy_and_grad
    assert any(notice.endswith("the kernel is not used on this card") for notice in session.notices)
    off = prepare(Request(files=(str(corpus),), options=config.merged(OPTIONS, {"train": {"kernels": "off"}})))
    assert losses == pytest.approx([e.loss for e in off.events() if isinstance(e, Trained)], rel=1e-5)
    assert lines(caplog) == []
    monkeypatch.setattr(check, "in_child_process", None)
    namespaces.gpu().check_kernels(CELLS["rnn"], (4, 1), 12, "float32", {})
    assert lines(caplog) == [line]


@pytest.mark.gpu
def test_a_card_on_which_no_child_starts(
    checking: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no kernel is used, and no verdict is kept, because the next process may be able to check."""
    monkeypatch.setattr(check.sys, "executable", "/no/such/python")
    device = namespaces.gpu()
    assert device.fused("cross_entropy", cross_entropy_and_grad) is cross_entropy_and_grad
    (line,) = lines(caplog)
    assert line.endswith("it cannot be checked ([Errno 2] No such file or directory: '/no/such/python')")
    assert not checking.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"error": "x", "problem": ""}', b'{"error": 0.0}', b"\xff"])
def test_a_damaged_verdict_is_no_verdict(content: bytes, tmp_path: Path) -> None:
    """The kernel is then checked again."""
    path = tmp_path / "verdict.json"
    check.write(path, Verdict(0.5, "why"))
    assert check.read(path) == Verdict(0.5, "why")
    path.write_bytes(content)
    assert check.read(path) is None


def test_errors_are_relative_to_the_largest_element() -> None:
    """Arrays of zeros and NaN have an error, too."""
    a, zero = np.array([1.0, -4.0]), np.zeros(2)
    assert worst({"x": a + 0.5, "y": a}, {"x": a, "y": a}) == 0.125
    assert worst({"x": zero}, {"x": zero}) == 0
    assert worst({"x": zero + 1e-3}, {"x": zero}) == 1e-3
    assert np.isnan(worst({"x": a, "y": a * np.nan, "z": a}, {"x": a + 1, "y": a, "z": a}))


PROBLEM, INSTALLED = cupy.problem, cupy.wheels
"""The function itself, which the fixture `call` replaces."""


@pytest.mark.gpu
def test_devices_checks_every_kernel(checking: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has each cell with each dtype and tier, and each function; the verdicts before it are forgotten."""
    monkeypatch.setattr(cupy, "problem", PROBLEM)
    monkeypatch.setattr(cupy, "wheels", INSTALLED)
    checking.mkdir(parents=True)
    (checking / "earlier.json").touch()
    out, _ = call("devices", "--check")
    rows = [row for line in out.splitlines() if (row := line.split())[:1] == ["cuda:0"] and row[-1] == "passes"]
    assert len(rows) == len(CELLS) * 2 * 2 + len(REPLACED) * 2
    assert not (checking / "earlier.json").exists()
    for cell in CELLS:
        assert sorted((row[2], row[5]) for row in rows if row[1] == cell) == [
            *(("float32", where) for where in ("L2", "chip")),
            *(("float64", where) for where in ("L2", "chip")),
        ]
    assert all(float(row[-2]) < check.TOLERANCE[row[2]] for row in rows)


def test_devices_reports_a_kernel_that_does_not_pass(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says why, another child checks the rows after it, and the exit status is 1."""
    asked = []

    def child(_: int, subjects: list[check.Subject]) -> list[Verdict]:
        asked.append(len(subjects))
        names = [subject.name for subject in subjects]
        passing = names.index("gru") if "gru" in names else len(names)
        return [Verdict(2e-8)] * passing + [Verdict(None, "it hangs")] * ("gru" in names)

    monkeypatch.setattr(check, "in_child_process", child)
    monkeypatch.setattr(cupy, "CHECKED", (4, 8))  # the fake GPU is small
    with fake_cupy.installed():
        monkeypatch.setattr(cupy, "problem", lambda _=None: None)
        out, _ = call("devices", "--check", status=1)
    rows = [line for line in out.splitlines() if "float" in line]
    assert [row.split()[1] for row in rows if row.endswith("  NOT USED: it hangs")] == ["gru"] * 4
    assert sum(row.endswith("  2.0e-08  passes") for row in rows) == 14
    assert asked == [18, 13, 12, 11, 10]


def test_without_a_gpu_no_kernel_can_be_checked(call: Call) -> None:
    """A line says so, and the exit status is 1."""
    assert call("devices", "--check", status=1)[1] == "there is no GPU to check\n"
