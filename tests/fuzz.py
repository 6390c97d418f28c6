"""Run random commands in processes for as long as you like: `python tests/fuzz.py --minutes 10`.

Each case is drawn with a seed. A case that breaks a promise is printed with the command that repeats it.
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

from helpers.hostile_inputs import (
    BASE,
    Outcome,
    check,
    damaged,
    draw_bytes,
    draw_command_line,
    draw_toml,
    make_world,
    strays,
    tree,
)

SECONDS, BYTES = 5, 4 << 30
"""The time and the address space that a process may use."""
IGNORED = ("r", "cache")
"""What a case damages itself, and the cache."""
ROOT = Path(__file__).resolve().parent.parent


def draw_case(random: Random) -> list[str]:
    """Write random files into the current directory and return a command that may read them."""
    if random.random() < 0.5:
        return draw_command_line(random)
    path = Path("r") / random.choice(["config.toml", "metrics.jsonl", "checkpoints/step-00000004.safetensors"])
    path.write_bytes(damaged(random, path.read_bytes()))
    Path("garbage.toml").write_bytes(random.choice([draw_toml, draw_bytes])(random))
    Path("garbage").write_bytes(draw_bytes(random))
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
    """Run a case in a copy of `template` and return the promise that it breaks, or an empty string."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "here"
        shutil.copytree(template, folder, symlinks=True, ignore=lambda _, names: {n for n in names if "pipe" in n})
        os.chdir(folder)
        random = Random(seed)
        for pipe in ("pipe", "pipe.gz"):
            os.mkfifo(pipe)
        words = draw_case(random)
        before = tree(folder, ignore=IGNORED)
        command = [sys.executable, "-m", "charrnn", *map(os.fsencode, words)]
        if show:
            print(subprocess.list2cmdline(words), file=sys.stderr)
        try:
            ended = subprocess.run(
                command, input=draw_bytes(random), capture_output=True, timeout=SECONDS, check=False, preexec_fn=limit,
                env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "BROWSER": "true"},
            )  # fmt: skip
            check(Outcome(ended.returncode, ended.stdout, ended.stderr.decode()))
            found = strays(folder, words, before, tree(folder, ignore=IGNORED))
            assert not found, f"stray files: {found}"
        except (AssertionError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            os.chdir(template)
    return ""


def limit() -> None:
    """Limit the address space of this process."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def main() -> int:
    """Run cases until the time is up, or one case. Return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="run only this case")
    options = parser.parse_args()
    end, broken, tried = time.monotonic() + 60 * options.minutes, 0, 0
    seeds = [options.seed] if options.seed is not None else iter(lambda: Random().randrange(2**32), None)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        make_world(Path(name))
        for seed in seeds:
            if time.monotonic() > end:
                break
            found = run(seed, Path(name), show=options.seed is not None)
            tried += 1
            if found:
                broken += 1
                print(f"{found}\n  repeat: {sys.executable} {Path(__file__).resolve()} --seed {seed}", flush=True)
        os.chdir(ROOT)
    print(f"{tried} cases, {broken} broke a promise")
    return broken > 0


if __name__ == "__main__":
    sys.exit(main())
