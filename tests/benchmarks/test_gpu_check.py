"""`benchmarks/gpu_check.sh`: a dry run of it, and proof that each of its parts can fail."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gpu_kernels
import gpu_memory
import gpu_steps
import gpu_table
import pytest
from contest import Contender, take_turns
from gpu_check import TINY, losses, trainer
from helpers import cuda_cpu, cupy_arrays, fake_cupy, namespaces
from plain import Plain
from systems import Work

from charrnn.model.cells import CELLS

SCRIPT = Path(gpu_steps.__file__).with_name("gpu_check.sh")
compiled = pytest.mark.skipif(cuda_cpu.compiler is None, reason="there is no g++")


def called(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script with this interpreter, from a directory outside of the checkout."""
    environment = os.environ | {"PYTHON": sys.executable}
    command = [str(SCRIPT), "new/results", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@compiled
@pytest.mark.slow
def test_a_dry_run_walks_every_step(tmp_path: Path) -> None:
    """Without a GPU, all steps pass, print what they would run, and write their files into a new folder."""
    ended = called(tmp_path, "--dry-run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = tmp_path / "new" / "results"
    summary = json.loads((folder / "summary.json").read_text())
    names = ["tests", "checks", "memory", "memcheck", "stress", "table"]
    assert [(step["name"], step["outcome"]) for step in summary["steps"]] == [(name, "ok") for name in names]
    assert all((folder / f"{name}.log").stat().st_size for name in names)
    commands = [line for line in ended.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split(":")[0] for line in commands] == names
    assert "memcheck" in commands[3]
    assert "--dry" not in ended.stdout
    assert "standin" not in ended.stdout
    checks = json.loads((folder / "checks.json").read_text())["checks"]
    assert [check["dtype"] for check in checks] == ["float32", "float64"]
    assert "passed" in (folder / "tests.log").read_text()
    assert "skipped" not in (folder / "tests.log").read_text()
    table = called(tmp_path, "--table")
    assert table.stdout.startswith("Stand-in")
    assert "÷ plain loop" in table.stdout


def closed(reader: int) -> bool:
    """Return whether every other end of a pipe is closed within some seconds."""
    for _ in range(100):
        try:
            return os.read(reader, 1) == b""
        except BlockingIOError:
            select.select([reader], [], [], 0.1)
    return False


def test_a_step_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails, takes too long (with its child processes) or is skipped is in the summary with its reason."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sleeps = f"import subprocess; subprocess.run(['sh', '-c', 'exec 3> {pipe}; sleep 60'])"
    plans = [
        gpu_steps.Step("fails", (sys.executable, "-c", "print('so'); print('why'); raise SystemExit(3)"), (), 20),
        gpu_steps.Step("sleeps", (sys.executable, "-c", sleeps), (), 0.5),
        gpu_steps.Step("lacks", ("nosuch",), (), 20, "nosuch is not installed"),
        gpu_steps.Step("works", (sys.executable, "-c", "import sys; print(sys.argv)"), (), 20, timed=True),
    ]
    monkeypatch.setattr(gpu_steps, "steps", lambda _: plans)
    monkeypatch.setattr(sys, "argv", ["gpu_check.sh", str(tmp_path / "deep" / "out")])
    assert gpu_steps.main() == 1
    steps = json.loads((tmp_path / "deep" / "out" / "summary.json").read_text())["steps"]
    assert [(step["name"], step["outcome"], step["reason"]) for step in steps] == [
        ("fails", "failed", "status 3: why"),
        ("sleeps", "failed", "took longer than 0 s"),
        ("lacks", "skipped", "nosuch is not installed"),
        ("works", "ok", ""),
    ]
    assert "--seconds" in (tmp_path / "deep" / "out" / "works.log").read_text().splitlines()[-1]
    assert closed(reader)
    monkeypatch.setattr(gpu_steps, "steps", lambda _: plans[2:])
    assert gpu_steps.main() == 0


def test_no_step_begins_when_no_time_is_left(tmp_path: Path) -> None:
    """A step that begins after the time limit has failed."""
    step = gpu_steps.Step("late", (sys.executable, "-c", ""), (), 20)
    outcome = gpu_steps.run(step, tmp_path / "late.log", 0.0, dry=False)
    assert (outcome.outcome, outcome.reason) == ("failed", "no time was left")


def test_a_gpu_that_must_be_there_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU its tests are skipped, and with CHARRNN_REQUIRE_GPU they fail."""
    monkeypatch.setattr("charrnn.backend.cupy.problem", lambda _: "no GPU here")
    for required, ending in (("", pytest.skip.Exception), ("1", pytest.fail.Exception)):
        monkeypatch.setenv("CHARRNN_REQUIRE_GPU", required)
        with pytest.raises(BaseException, match="no GPU here") as ended:  # a skip would be the end of this test too
            namespaces.gpu()
        assert ended.type is ending


FULL = "charrnn: cuda:0 is out of memory: lower something"


@pytest.mark.parametrize(
    ("status", "stderr", "words"),
    [
        (2, f"device: cuda:0\n{FULL}\n", None),
        (0, f"{FULL}\n", "status 0"),
        (-9, "", "status -9"),
        (1, "Traceback (most recent call last):\nOutOfMemoryError: 9 bytes", "OutOfMemoryError: 9 bytes"),
        (2, f"{FULL}\n{FULL}\n", "2 lines"),
        (2, f"{FULL}\nand more\n", "1 lines"),
        (2, "charrnn: t.txt: there is no such file", "not of memory"),
    ],
)
def test_how_a_run_without_memory_must_end(status: int, stderr: str, words: str | None) -> None:
    """The one accepted end is one line about memory with status 2; every other end is reported."""
    found = gpu_memory.trouble(status, stderr)
    assert found is None if words is None else found and words in found


@compiled
def test_stress_finds_other_bits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Kernels that add in another order are found by their bits."""
    monkeypatch.setattr(gpu_kernels, "CELLS", {"rnn": CELLS["rnn"]})
    wrong = gpu_kernels.stress(fake_cupy.backend(), gpu_kernels.SMALL, 1, {"CHUNK": 4})
    assert wrong == ["rnn, float32, weights on chip", "rnn, float32, weights from L2"]
    assert capsys.readouterr().out.count("1 of 1 runs differ") == 2


@compiled
def test_the_plain_loop_launches_no_kernel_of_ours() -> None:
    """The plain loop launches no kernel for recurrence, loss or update; the same steps with kernels do."""
    counts = []
    with fake_cupy.installed():
        for device in (Plain(0), fake_cupy.backend()):
            subject = trainer(device, TINY.table)
            cupy_arrays.log.clear()
            losses(subject, 2)
            counts.append(cupy_arrays.log.count("kernel"))
    assert counts == [0, 2 * 5]


def test_who_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """A system that hangs or dies is a row with the reason; the others are measured."""
    said = "print('{\"ready\": true}', flush=True)\n"
    loop = 'import sys, time\nfor n in sys.stdin: print(\'{"seconds": 0.5, "peak_mib": 1}\', flush=True)\n'
    programs = {"works": said + loop, "hangs": "import time; time.sleep(60)", "dies": said + "input()"}
    everyone = []
    for name, code in programs.items():
        (tmp_path / name).write_text(code)
        everyone.append(Contender(name, Work("training"), program=(str(tmp_path / name),)))
    everyone[1].patience = 1.0
    take_turns(everyone, 2)
    works, hangs, dies = everyone
    assert works.rates == [2.0, 2.0]
    assert hangs.missing == "no answer within 1 s"
    assert dies.missing == "ended with status 0"
    assert not hangs.rates + dies.rates


def test_what_does_not_fit_into_the_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row begins that would end too late, judged by the slowest so far. File and table name the others."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def row(work: Work, *_: object, **options: object) -> list[dict[str, object]]:
        clock.now += 0.6
        line = {"row": f"training {work.H}", "steps_per_second": 9.0}
        return [line | {"system": name, "ratio": 1.0} for name in gpu_table.OURS]

    monkeypatch.setattr(gpu_table, "row", row)
    monkeypatch.setattr(gpu_table, "time", clock)
    monkeypatch.setattr(gpu_table, "TINY", [("rnn", H, 4, 3) for H in (8, 16, 32)])
    monkeypatch.setattr(sys, "argv", ["", "--standing-in", "--seconds", "1", "--json", str(tmp_path / "t.json")])
    with fake_cupy.installed():
        assert gpu_table.main() == 0
    result = json.loads((tmp_path / "t.json").read_text())
    assert {line["row"] for line in result["rows"]} == {"training 8"}
    assert result["left_out"] == ["training rnn 16, 4, 3 float32", "training rnn 32, 4, 3 float32"]
    assert "Not measured: training rnn 16" in gpu_steps.report(result)
