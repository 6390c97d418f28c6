"""Check the error for a GPU's full memory: `python benchmarks/gpu_memory.py`, on a machine with a GPU.

A run that is too large for every card must end with a status other than 0 and one line about memory, without a
traceback. `--standing-in` is for machines without a GPU: it starts a small run on a fake GPU with even less memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from charrnn import backend
from charrnn.errors import CharrnnError

ROOT = Path(__file__).resolve().parent.parent
HUGE, SMALL = (32768, 256, 2048), (32, 8, 32)
"""B, T, H. The gates of a huge LSTM alone are 275 GB: B · T · 4 H numbers of 4 bytes."""
FREE = 2**16
"""Bytes of the fake GPU, too few for the small run."""
SECONDS = 90


def impossible(folder: Path, sizes: tuple[int, int, int]) -> list[str]:
    """Return the arguments of a run that is too large, and write a text that is long enough for its batch."""
    B, T, H = sizes
    (folder / "long.txt").write_text("she sells sea shells by the sea shore, " * (B * (T + 1) // 30), encoding="utf-8")
    keys = {"model.cell": "lstm", "model.hidden_size": H, "model.dropout": 0.0, "model.init": "min-char-rnn"}
    keys |= {"train.batch_size": B, "train.seq_length": T, "train.steps": 2, "train.random_offset": False}
    settings = [word for key, value in keys.items() for word in ("--set", f"{key}={str(value).lower()}")]
    return ["train", "long.txt", "--device", "cuda", "--out", "run", *settings]


def trouble(status: int, stderr: str) -> str | None:
    """Return what is wrong with the end of a command that had to fail for lack of memory; None if nothing is."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if "Traceback" in stderr:
        return f"a traceback, ending with: {lines[-1]}"
    if status <= 0:
        return f"status {status}"
    errors = [line for line in lines if line.startswith("charrnn: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        return f"{len(errors)} lines of an error instead of one at the end"
    return None if "out of memory" in errors[0] else f"an error that is not of memory: {errors[0]}"


def run_to_its_end(*, standing_in: bool) -> subprocess.CompletedProcess[str]:
    """Run the command, and return the finished process."""
    program = [str(Path(__file__).with_name("standin.py")), "--free", str(FREE)] if standing_in else ["-m"]
    with tempfile.TemporaryDirectory() as name:
        words = impossible(Path(name), SMALL if standing_in else HUGE)
        print("charrnn", *words, flush=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": name}
        command = [sys.executable, *program, "charrnn", *words]
        return subprocess.run(
            command, cwd=name, env=environment, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False
        )


def main() -> int:
    """Run the command, and print its output and what is wrong with it. Return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--standing-in", action="store_true", help="on a stand-in for a GPU")
    arguments = parser.parse_args()
    if not arguments.standing_in:
        try:
            backend.choose("cuda", fallback=False)  # the command would fall back to the CPU
        except CharrnnError as error:
            sys.exit(str(error))
    run = run_to_its_end(standing_in=arguments.standing_in)
    print(f"status {run.returncode}\n{run.stderr}")
    wrong = trouble(run.returncode, run.stderr)
    print(wrong or "one clear line")
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
