"""`benchmarks/gpu_check.sh`: a dry run of it, and proof that each of its parts can fail."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import gpu_check
import gpu_results
import pytest
import table
from contest import Contender, take_turns
from helpers import cuda_cpu, fake_cupy, namespaces
from systems import Work

from charrnn.model.cells import CELLS

SCRIPT = Path(gpu_check.__file__).with_name("gpu_check.sh")
compiled = pytest.mark.skipif(cuda_cpu.compiler is None, reason="there is no g++")


def called(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with this interpreter, from a directory outside of the checkout."""
    environment = os.environ | {"PYTHON": sys.executable} | variables
    command = [str(SCRIPT), "new/results", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@compiled
@pytest.mark.slow
def test_a_dry_run_walks_every_step(tmp_path: Path) -> None:
    """Without a GPU, all steps pass, print the real commands, and save their results by the card's name."""
    ended = called(tmp_path, "--dry-run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    saved = json.loads((tmp_path / "new" / "results" / "stand-in.json").read_text())
    assert saved["dry_run"]
    assert saved["card"].startswith("Stand-in")
    names = ["tests", "self-check", "losses", "speed", "memory", "memcheck", "stress", "rest"]
    assert [(step["name"], step["outcome"]) for step in saved["steps"]] == [(name, "ok") for name in names]
    commands = [line for line in ended.stdout.splitlines()[2:] if not line.startswith(" ")]
    assert [line.split(":")[0] for line in commands] == names
    assert not any("standin" in command or "tiny" in command for command in commands)
    results = {step["name"]: step["results"] for step in saved["steps"]}
    assert [result["kernels"] for result in results["losses"]] == ["on", "off"] * 6
    assert all(result["passed"] for name in ("losses", "memory", "memcheck", "stress") for result in results[name])
    assert " passed" in saved["steps"][0]["tail"][-1]
    assert "skipped" not in saved["steps"][0]["tail"][-1]
    assert table.report(saved).startswith("Stand-in (sm_90, 8 GiB), CuPy 14.0\n\n|  | charrnn | ÷ plain loop |")


def closed(reader: int) -> bool:
    """Return whether every other end of a pipe is closed within some seconds."""
    for _ in range(100):
        try:
            return os.read(reader, 1) == b""
        except BlockingIOError:
            select.select([reader], [], [], 0.1)
    return False


def record(folder: Path) -> gpu_check.Record:
    """Return an empty record in a folder."""
    return gpu_check.Record(folder / "card.json", {"card": "A card"})


def test_a_step_that_fails_stops_no_other(tmp_path: Path) -> None:
    """The file has the outcome of a step that fails, takes too long, is skipped or begins too late, and its results."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fails = "print('so'); print('{\"n\": 1}'); print('why'); raise SystemExit(3)"
    sleeps = f"import subprocess; subprocess.run(['sh', '-c', 'exec 3> {pipe}; sleep 60'])"
    plans = {
        gpu_check.Step("fails", (sys.executable, "-c", fails), (), 60): 60.0,
        gpu_check.Step("sleeps", (sys.executable, "-c", sleeps), (), 0.5): 60.0,
        gpu_check.Step("sleeps well", (sys.executable, "-c", sleeps), (), 0.5, endless=True): 60.0,
        gpu_check.Step("lacks", ("nosuch",), (), 60, "nosuch is not installed"): 60.0,
        gpu_check.Step("late", (sys.executable, "-c", ""), (), 60): 0.0,
        gpu_check.Step("works", (sys.executable, "-c", "print('yes', end='')"), (), 60): 60.0,
    }
    subject = record(tmp_path)
    for plan, left in plans.items():
        gpu_check.run(plan, subject, tmp_path / "log.txt", left, dry=False)
    saved = json.loads((tmp_path / "card.json").read_text())
    assert saved["card"] == "A card"
    assert [(step["name"], step["outcome"], step["reason"]) for step in saved["steps"]] == [
        ("fails", "failed", "status 3: why"),
        ("sleeps", "failed", "took longer than 0 s"),
        ("sleeps well", "ok", "ended after 0 s"),
        ("lacks", "skipped", "nosuch is not installed"),
        ("late", "failed", "no time was left"),
        ("works", "ok", ""),
    ]
    assert (saved["steps"][0]["results"], saved["steps"][0]["tail"]) == ([{"n": 1}], ["so", "why"])
    assert saved["steps"][-1]["tail"] == ["yes"]
    assert closed(reader)


KILLED = """
import sys, gpu_check
from pathlib import Path
code = '''import os, time
print('{"n": 1}')
parent = os.getppid()
while os.getppid() == parent:
    time.sleep(0.01)
'''
step = gpu_check.Step("waits", (sys.executable, "-c", code), (), 60)
gpu_check.run(step, gpu_check.Record(Path("card.json"), {}), Path("log.txt"), 60, dry=False)
"""


def test_a_kill_leaves_what_was_saved(tmp_path: Path) -> None:
    """A result is in the file as soon as it is printed."""
    command = [sys.executable, "-c", KILLED]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert '  {"n": 1}\n' in iter(process.stdout.readline, "")
        process.kill()
    (step,) = json.loads((tmp_path / "card.json").read_text())["steps"]
    assert (step["outcome"], step["results"]) == ("running", [{"n": 1}])


def test_the_limits_leave_time_for_the_last_step() -> None:
    """No step can use the time of another."""
    *most, last = gpu_check.steps()
    assert sum(step.seconds for step in most) < gpu_check.TOTAL
    assert last.endless


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    """A machine that lacks a package, a folder without wheels, and a machine without a GPU: one line each, status 2."""
    code = "import sys, gpu_check; gpu_check.NEEDED = ('numpy', 'no_such'); sys.exit(gpu_check.main())"
    lacks = [sys.executable, "-c", code, str(tmp_path), "--dry-run"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
    ended = subprocess.run(lacks, env=environment, capture_output=True, text=True, check=False)
    line = "gpu_check.sh: this machine lacks no-such: put wheels into a folder, and start with WHEELS=FOLDER\n"
    assert (ended.returncode, ended.stderr) == (2, line)
    ended = called(tmp_path, "--dry-run", WHEELS=str(tmp_path))
    assert (ended.returncode, ended.stderr) == (2, f"gpu_check.sh: WHEELS={tmp_path}: there are no wheels\n")


def test_a_wheel_is_installed_for_the_check_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules come after those of PYTHONPATH, also in the processes of the steps."""
    with zipfile.ZipFile(tmp_path / "no_such-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("no_such.py", "")
        wheel.writestr("no_such-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: no-such\nVersion: 1.0\n")
        wheel.writestr("no_such-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("no_such-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("WHEELS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "carried")
    monkeypatch.setattr(sys, "path", [*sys.path])
    gpu_check.install_wheels(str(tmp_path / "site"))
    assert os.environ["PYTHONPATH"] == f"carried{os.pathsep}{tmp_path / 'site'}"
    assert find_spec("no_such") is not None


def test_a_run_without_memory_keeps_carried_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that has to run out of memory gets the folders of PYTHONPATH after this checkout."""
    paths = []

    def run(*_: object, env: dict[str, str], **__: object) -> SimpleNamespace:
        paths.append(env["PYTHONPATH"])
        return SimpleNamespace(returncode=2, stderr=FULL)

    monkeypatch.setenv("PYTHONPATH", "carried")
    monkeypatch.setattr(gpu_results.subprocess, "run", run)
    (result,) = gpu_results.memory(SimpleNamespace(name="cuda:0"), tiny=True)
    assert result["passed"]
    assert paths == [f"{SCRIPT.parent.parent}{os.pathsep}carried"]


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
    found = gpu_results.trouble(status, stderr)
    assert found is None if words is None else found and words in found


@compiled
def test_stress_finds_other_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that add in another order are found by their bits."""
    monkeypatch.setattr(gpu_results, "CELLS", {"rnn": CELLS["rnn"]})
    results = list(gpu_results.stress(fake_cupy.backend(), tiny=True, definitions={"CHUNK": 4}))
    assert [(result["kernel"], result["different"], result["passed"]) for result in results] == [
        ("rnn, float32, weights on chip", 2, False),
        ("rnn, float32, weights from L2", 2, False),
    ]


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
