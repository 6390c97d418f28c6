"""The steps of `gpu_check.sh`, the most important first. Each is a process with a time limit; a failure stops no other.

The lines of JSON that a step prints are its results. They are printed and saved as they come, so a kill loses none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOTAL = 465.0
"""Seconds of all steps together: eight minutes, minus the time to start and to clean up."""
NEEDED = (
    *("numpy", "array_api_compat", "safetensors", "filelock", "threadpoolctl", "click", "tqdm", "tomli_w"),
    *("pytest", "hypothesis"),
)
TAIL = 20
"""How many of a step's last lines that are no results are saved."""


@dataclass(frozen=True)
class Step:
    """A command to run.

    Attributes:
        name: the name of the step.
        command: the command on a machine with a GPU.
        dry: the command of a dry run, without a GPU.
        seconds: the limit, after which the step is ended.
        lacking: what the machine lacks for this step; None if the step can run.
        endless: whether the step may use all of its time: to be ended is no failure.
    """

    name: str
    command: tuple[str, ...]
    dry: tuple[str, ...]
    seconds: float
    lacking: str | None = None
    endless: bool = False


def script(name: str, *words: str) -> tuple[str, ...]:
    """Return the command that runs a program of this folder."""
    return (sys.executable, str(HERE / name), *words)


def on_cpu(name: str, *words: str) -> tuple[str, ...]:
    """Return the command that runs a program of this folder, or a module, on a fake GPU."""
    return script("standin.py", str(HERE / name) if name.endswith(".py") else name, *words)


def steps() -> list[Step]:
    """Return all steps in order. The limits of all but the last leave time for the last."""
    pytest = ("-m", "gpu", "-p", "no:cacheprovider", "-o", "addopts=", "-v", "--tb=short")  # one process for the GPU
    few = (str(ROOT / "tests" / "model" / "test_bptt.py"), "-k", "float64 and rnn")
    sanitizer = shutil.which("compute-sanitizer")
    # CuPy asks for attributes that some cards lack, and handles the answer: it is no error of a kernel.
    memcheck = ("--tool", "memcheck", "--report-api-errors", "no", "--error-exitcode", "9")
    return [
        Step(
            "tests",
            (sys.executable, "-m", "pytest", *pytest, str(ROOT / "tests")),
            on_cpu("pytest", *pytest, *few),
            110,
        ),
        Step(
            "self-check",
            (sys.executable, "-m", "charrnn", "devices", "--check"),
            on_cpu("charrnn", "devices"),
            45,
        ),
        Step("losses", script("gpu_results.py", "losses"), on_cpu("gpu_results.py", "losses", "--tiny"), 70),
        Step("speed", script("gpu_speed.py"), on_cpu("gpu_speed.py", "--standing-in"), 115),
        Step("memory", script("gpu_results.py", "memory"), on_cpu("gpu_results.py", "memory", "--tiny"), 25),
        Step(
            "memcheck",
            (sanitizer or "compute-sanitizer", *memcheck, *script("gpu_results.py", "kernels")),
            on_cpu("gpu_results.py", "kernels", "--tiny"),
            45,
            None if sanitizer else "compute-sanitizer is not installed",
        ),
        Step("stress", script("gpu_results.py", "stress"), on_cpu("gpu_results.py", "stress", "--tiny"), 25),
        Step(
            "rest",
            script("gpu_speed.py", "--rest"),
            on_cpu("gpu_speed.py", "--rest", "--standing-in"),
            TOTAL,
            endless=True,
        ),
    ]


class Record:
    """All results so far, in a file that is replaced by one rename after every change."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.steps = path, list[dict[str, Any]]()
        self.content = about | {"steps": self.steps}

    def save(self) -> None:
        """Write the file."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path)


class Output:
    """The output of a step, which the step appends to a log: results, and the last of the other lines."""

    def __init__(self, log: TextIO) -> None:
        log.seek(0, os.SEEK_END)
        self.log, self.unfinished, self.tail = log, "", list[str]()

    def results(self) -> list[dict[str, Any]]:
        """Return the results that were printed since the last call."""
        *lines, self.unfinished = (self.unfinished + self.log.read()).split("\n")
        self.tail = [*self.tail, *(line for line in lines if line.strip() and not line.startswith("{"))][-TAIL:]
        return [json.loads(line) for line in lines if line.startswith("{")]


def run(step: Step, record: Record, log: Path, left: float, *, dry: bool) -> None:
    """Run a step for at most `left` seconds; print and save its results as they come, and then its outcome."""
    command, limit = (step.dry, left) if dry else (step.command, min(step.seconds, left))  # a CPU may be slow
    print(f"{step.name}: {shlex.join(step.command)}", flush=True)
    entry: dict[str, Any] = {"name": step.name, "outcome": "running", "reason": "", "seconds": 0.0, "results": []}
    record.steps.append(entry)
    if step.lacking and not dry:
        entry |= {"outcome": "skipped", "reason": step.lacking}
    elif limit <= 0:
        entry |= {"outcome": "skipped" if step.endless else "failed", "reason": "no time was left"}
    else:
        record.save()
        began = time.monotonic()
        with log.open("a", encoding="utf-8") as file, log.open(encoding="utf-8", errors="replace") as lines:
            print(f"\n== {shlex.join(command)}", file=file, flush=True)
            output = Output(lines)
            status = finished(command, file, limit, lambda: publish(output.results(), record, entry))
            publish(output.results(), record, entry)
        entry["tail"] = [*output.tail, *filter(None, [output.unfinished])]
        entry["seconds"] = round(time.monotonic() - began, 1)
        if status is None and not step.endless:
            entry |= {"outcome": "failed", "reason": f"took longer than {limit:.0f} s"}
        elif status:
            entry |= {"outcome": "failed", "reason": f"status {status}: {entry['tail'][-1] if entry['tail'] else ''}"}
        else:
            entry |= {"outcome": "ok", "reason": "" if status == 0 else f"ended after {limit:.0f} s"}
    record.save()
    last = entry["reason"] or (entry.get("tail") or [""])[-1].strip("= ")
    print(f"  {entry['outcome']} in {entry['seconds']} s{last and f': {last}'}", flush=True)


def publish(results: list[dict[str, Any]], record: Record, entry: dict[str, Any]) -> None:
    """Save the results of a step, and print them."""
    if results:
        entry["results"] += results
        record.save()
    for result in results:
        print(f"  {json.dumps(result)}", flush=True)


def finished(command: tuple[str, ...], log: TextIO, limit: float, poll: Callable[[], None]) -> int | None:
    """Run a command to its end, and return its status; None if it was ended after `limit` seconds."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"CHARRNN_REQUIRE_GPU": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < until:
            poll()
            time.sleep(0.05)
        return process.poll()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with all processes that it started
            process.wait()


def about_the_card(*, dry: bool) -> dict[str, Any]:
    """Return the card's name, the machine and the commit. Exit with one line if the GPU cannot compute."""
    command = (on_cpu if dry else script)("gpu_results.py", "card")
    printed = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if printed.returncode:
        complain(f"the GPU cannot be used: {(printed.stderr.strip().splitlines() or ['no reason'])[-1]}")
    about: dict[str, Any] = json.loads(printed.stdout.splitlines()[-1])
    return about | {"dry_run": dry}


def install_wheels(target: str) -> None:
    """Install the wheels of the folder WHEELS, where it is given, for this check alone."""
    if folder := os.environ.get("WHEELS"):
        wheels = list(map(str, Path(folder).glob("*.whl")))
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", target, *wheels)
        installed = subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if installed.returncode:
            lines = installed.stderr.strip().splitlines() if wheels else ["there are no wheels"]
            complain(f"WHEELS={folder}: {lines[-1] if lines else 'pip failed'}")
        sys.path.append(target)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), target]))


def complain(line: str) -> None:
    """Exit before the first step, with one line and status 2."""
    print(f"gpu_check.sh: {line}", file=sys.stderr)
    sys.exit(2)


def main() -> int:
    """Run all steps. Return the exit status: 1 if one failed, 2 if none could begin."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the results and a log go; made if need be")
    parser.add_argument("--dry-run", action="store_true", help="every step on the CPU, in tiny sizes")
    arguments = parser.parse_args()
    folder, dry = arguments.folder.resolve(), arguments.dry_run
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the running step, too
    with tempfile.TemporaryDirectory() as site:
        install_wheels(site)
        missing = [name.replace("_", "-") for name in (*NEEDED, *(() if dry else ("cupy",))) if find_spec(name) is None]
        if missing:
            complain(f"this machine lacks {', '.join(missing)}: put wheels into a folder, and start with WHEELS=FOLDER")
        began, about = time.monotonic(), about_the_card(dry=dry)
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub("[^a-z0-9]+", "-", about["card"].split(" (")[0].lower()).strip("-")
        record, log = Record(folder / f"{name}.json", about), folder / "log.txt"
        print(f"{about['card']}\nresults: {record.path}", flush=True)
        log.write_text("", encoding="utf-8")
        for step in steps():
            run(step, record, log, TOTAL - (time.monotonic() - began), dry=dry)
    return int(any(entry["outcome"] == "failed" for entry in record.steps))


if __name__ == "__main__":
    sys.exit(main())
