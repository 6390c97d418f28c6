"""The fuzz of test_fuzz.py for longer, in processes of their own: `python tests/helpers/fuzz.py --minutes 10`.

Every case is drawn by a seed. What breaks a promise is printed with the command that repeats it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers.nasty import BASE, Outcome, bytes_of, check, command_line, damaged, toml, tree, world

SECONDS, BYTES = 5, 4 << 30
"""What a process may take: time, and address space."""
OURS = ("out", "runs", "cache")
ROOT = Path(__file__).resolve().parent.parent.parent


def case(random: Random) -> list[str]:
    """Words for a command, and the files that they need in the current directory."""
    if random.random() < 0.5:
        return command_line(random)
    path = Path("r") / random.choice(["config.toml", "metrics.jsonl", "checkpoints/step-00000004.safetensors"])
    path.write_bytes(damaged(random, path.read_bytes()))
    Path("garbage.toml").write_bytes(random.choice([toml, bytes_of])(random))
    Path("garbage").write_bytes(bytes_of(random))
    new, encoding = [*BASE, "--steps=1", "--out=out"], random.choice(["utf-8", "utf-7", "latin-1", "utf-16"])
    return random.choice(
        [
            ["train", "--resume", "--out=r", "--steps=5"],
            ["train", "t.txt", "--config=garbage.toml", *new],
            ["train", "t.txt", "--init-from=r", *new],
            ["train", "garbage", f"--encoding={encoding}", *new],
            ["eval", "r", "garbage", f"--encoding={encoding}", "--unknown=skip"],
            ["sample", "r"],
            ["compare", "r", "--no-eval"],
        ]
    )


def run(seed: int, template: Path, show: bool = False) -> str:
    """What a case breaks; empty for nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "here"
        shutil.copytree(template, folder, symlinks=True, ignore=lambda _, names: {n for n in names if "pipe" in n})
        os.chdir(folder)
        random = Random(seed)
        for pipe in ("pipe", "pipe.gz"):
            os.mkfifo(pipe)
        words = case(random)
        before = tree(folder, beside=("r", *OURS))
        command = [sys.executable, "-m", "charrnn", *map(os.fsencode, words)]
        if show:
            print(subprocess.list2cmdline(words), file=sys.stderr)
        try:
            ended = subprocess.run(
                command, input=bytes_of(random), capture_output=True, timeout=SECONDS, check=False, preexec_fn=limit,
                env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")},
            )  # fmt: skip
            check(Outcome(ended.returncode, ended.stdout, ended.stderr.decode()))
            assert tree(folder, beside=("r", *OURS)) == before, "it wrote elsewhere"
        except (AssertionError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            os.chdir(template)
    return ""


def limit() -> None:
    """Hold this process to its address space."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def main() -> int:
    """Try cases until the time is up, or one; exit status 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="only this case")
    said = parser.parse_args()
    end, broken, tried = time.monotonic() + 60 * said.minutes, 0, 0
    seeds = [said.seed] if said.seed is not None else iter(lambda: Random().randrange(2**32), None)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        world(Path(name))
        for seed in seeds:
            if time.monotonic() > end:
                break
            found = run(seed, Path(name), show=said.seed is not None)
            tried += 1
            if found:
                broken += 1
                print(f"{found}\n  repeat: {sys.executable} {Path(__file__).resolve()} --seed {seed}", flush=True)
        os.chdir(ROOT)
    print(f"{tried} cases, {broken} broke a promise")
    return broken > 0


if __name__ == "__main__":
    sys.exit(main())
