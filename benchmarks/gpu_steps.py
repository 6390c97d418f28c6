"""The steps of `gpu_check.sh`: each is one process. Its outcome goes to summary.json, and a failure stops no other."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from table import report

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOTAL = 465.0
"""Seconds of all steps together: eight minutes, minus the time to clean up."""
TABLE_SECONDS = 300.0


@dataclass(frozen=True)
class Step:
    """A command to run.

    Attributes:
        name: the name of the step and of its log.
        command: the command on a machine with a GPU.
        dry: the command of a dry run, without a GPU.
        seconds: the limit, after which the step has failed.
        lacking: what the machine lacks for this step; None if the step can run.
        timed: whether the command accepts `--seconds`.
    """

    name: str
    command: tuple[str, ...]
    dry: tuple[str, ...]
    seconds: float
    lacking: str | None = None
    timed: bool = False


@dataclass
class Outcome:
    """The outcome of a step: ok, failed or skipped; the reason; and its seconds."""

    name: str
    outcome: str
    reason: str
    seconds: float


def steps(folder: Path) -> list[Step]:
    """Return all steps in order. The last one uses the remaining time."""

    def script(name: str, *words: str) -> tuple[str, ...]:
        return (sys.executable, str(HERE / name), *words)

    def on_cpu(name: str, *words: str) -> tuple[str, ...]:
        return script("standin.py", name if name == "pytest" else str(HERE / name), *words)

    pytest = ("-m", "gpu", "-p", "no:cacheprovider", "-o", "addopts=-q")  # one process, because all share the GPU
    checks, table = ("--json", str(folder / "checks.json")), ("--json", str(folder / "table.json"))
    sanitizer = shutil.which("compute-sanitizer")
    watched = (sanitizer or "compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9")
    tour = script("gpu_kernels.py", "tour")
    few = (str(ROOT / "tests" / "model" / "test_bptt.py"), "-k", "float64 and rnn")
    return [
        Step(
            "tests",
            (sys.executable, "-m", "pytest", *pytest, str(ROOT / "tests"), *unreadable()),
            on_cpu("pytest", *pytest, *few),
            180,
        ),
        Step(
            "checks",
            script("gpu_check.py", *checks),
            on_cpu("gpu_check.py", "--tiny", "--cells", "gru", *checks),
            90,
        ),
        Step("memory", script("gpu_memory.py"), script("gpu_memory.py", "--standing-in"), 60),
        Step(
            "memcheck",
            (*watched, *tour),
            on_cpu("gpu_kernels.py", "tour", "--tiny"),
            75,
            None if sanitizer else "compute-sanitizer is not installed",
        ),
        Step(
            "stress",
            script("gpu_kernels.py", "stress", "--runs", "200"),
            on_cpu("gpu_kernels.py", "stress", "--tiny", "--runs", "2"),
            45,
        ),
        Step(
            "table",
            script("gpu_table.py", *table),
            on_cpu("gpu_table.py", "--standing-in", "--rounds", "1", *table),
            TABLE_SECONDS + 30,
            timed=True,
        ),
    ]


def unreadable() -> list[str]:
    """Return the options that ignore the tests that need hypothesis, if it is not installed."""
    tests = (ROOT / "tests").rglob("test_*.py") if find_spec("hypothesis") is None else ()
    return [f"--ignore={path}" for path in tests if "from hypothesis" in path.read_text(encoding="utf-8")]


def run(step: Step, log: Path, left: float, *, dry: bool) -> Outcome:
    """Run one step, with its output in the log, and return the outcome."""
    command = list(step.dry if dry else step.command)
    limit = left if dry else min(step.seconds, left)  # a slow CPU is no failure of a GPU
    if step.timed:
        command += ["--seconds", f"{max(min(limit, step.seconds) - 30, 0):.0f}"]
    print(f"{step.name}: {shlex.join(step.command)}", flush=True)
    if step.lacking and not dry:
        return Outcome(step.name, "skipped", step.lacking, 0.0)
    if limit <= 0:
        return Outcome(step.name, "failed", "no time was left", 0.0)
    began, environment = time.monotonic(), os.environ | {"CHARRNN_REQUIRE_GPU": "1"}
    with log.open("w", encoding="utf-8") as out:
        print(shlex.join(command), file=out, flush=True)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
            reason = "" if status == 0 else f"status {status}: {last_line(log)}"
        except subprocess.TimeoutExpired:
            reason = f"took longer than {limit:.0f} s"
        finally:
            end(process)
    return Outcome(step.name, "failed" if reason else "ok", reason, round(time.monotonic() - began, 1))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that is still running, and all processes that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def main() -> int:
    """Run all steps, and write the summary after each. Return the exit status: 1 if one failed."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where JSON and logs go; made if need be")
    parser.add_argument("--dry-run", action="store_true", help="every step on the CPU, in tiny sizes")
    parser.add_argument("--table", action="store_true", help="print the folder's figures as a Markdown table")
    arguments = parser.parse_args()
    folder, dry = arguments.folder.resolve(), arguments.dry_run
    if arguments.table:
        print(report(json.loads((folder / "table.json").read_text(encoding="utf-8"))))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    began, outcomes = time.monotonic(), []
    for step in steps(folder):
        left = TOTAL - (time.monotonic() - began)
        outcomes.append(run(step, folder / f"{step.name}.log", left, dry=dry))
        done = outcomes[-1]
        print(f"  {done.outcome} in {done.seconds:.1f} s{done.reason and f': {done.reason}'}", flush=True)
        summary = {"dry_run": dry, "python": platform.python_version(), "steps": list(map(asdict, outcomes))}
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return int(any(done.outcome == "failed" for done in outcomes))


if __name__ == "__main__":
    sys.exit(main())
