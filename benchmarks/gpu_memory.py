"""What happens when a GPU's memory is too small: `python benchmarks/gpu_memory.py`, on a machine that has one.

A run that no card can hold must end with a status that is not 0 and one line that says so, without a traceback.
`--standing-in` is for machines without one: a small run, on a stand-in with still less memory.
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
"""Bytes of the stand-in, with which not even a small one is content."""
SECONDS = 90


def impossible(folder: Path, sizes: tuple[int, int, int]) -> list[str]:
    """The arguments of a run that is too large, on a text that is long enough for its batch."""
    B, T, H = sizes
    (folder / "long.txt").write_text("she sells sea shells by the sea shore, " * (B * (T + 1) // 30), encoding="utf-8")
    keys = {"model.cell": "lstm", "model.hidden_size": H, "model.dropout": 0.0, "model.init": "min-char-rnn"}
    keys |= {"train.batch_size": B, "train.seq_length": T, "train.steps": 2, "train.random_offset": False}
    settings = [word for key, value in keys.items() for word in ("--set", f"{key}={str(value).lower()}")]
    return ["train", "long.txt", "--device", "cuda", "--out", "run", *settings]


def trouble(status: int, stderr: str) -> str | None:
    """What is wrong with how a command ended that had to fail for want of memory; None if it ended well."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if "Traceback" in stderr:
        return f"a traceback, ending with: {lines[-1]}"
    if status <= 0:
        return f"status {status}"
    said = [line for line in lines if line.startswith("charrnn: ")]
    if len(said) != 1 or lines[-1] != said[0]:
        return f"{len(said)} lines of an error instead of one at the end"
    return None if "out of memory" in said[0] else f"an error that is not of memory: {said[0]}"


def ended(*, standing_in: bool) -> subprocess.CompletedProcess[str]:
    """The run, ended."""
    program = [str(Path(__file__).with_name("standin.py")), "--free", str(FREE)] if standing_in else ["-m"]
    with tempfile.TemporaryDirectory() as name:
        said = impossible(Path(name), SMALL if standing_in else HUGE)
        print("charrnn", *said, flush=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": name}
        command = [sys.executable, *program, "charrnn", *said]
        return subprocess.run(
            command, cwd=name, env=environment, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False
        )


def main() -> int:
    """Run, judge, print what was said."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--standing-in", action="store_true", help="on a stand-in for a GPU")
    arguments = parser.parse_args()
    if not arguments.standing_in:
        try:
            backend.choose("cuda", fallback=False)  # the command would fall back to the CPU
        except CharrnnError as error:
            sys.exit(str(error))
    run = ended(standing_in=arguments.standing_in)
    print(f"status {run.returncode}\n{run.stderr}")
    wrong = trouble(run.returncode, run.stderr)
    print(wrong or "one clear line")
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main())
