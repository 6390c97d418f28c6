"""Measure how well presets, or cells of several sizes, learn a text.

`python benchmarks/learning.py TEXT --presets rnn lstm --minutes 5 --json FILE`: `charrnn train` trains each preset with
each seed, and `charrnn eval` evaluates it. FILE stores the results; the same command continues an interrupted series.
`--table FILE` prints the results again, `--plot FILE OUT.svg` draws them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from learning_plot import picture
from learning_report import Measured, markdown

import charrnn
from charrnn import backend, config
from charrnn import text as texts
from charrnn.checkpoint import write_atomically
from charrnn.errors import TextError
from charrnn.run import logs


@dataclass(frozen=True)
class Job:
    """A planned training run.

    Attributes:
        name: the name of the preset, or the cell and its size.
        budget: the budget in words.
        command: the arguments of `charrnn`, without `--out`; the seed is the last one.
        config: the SHA-256 of the preset with the changed keys, without comments.
    """

    name: str
    budget: str
    command: tuple[str, ...]
    config: str

    @property
    def stored_command(self) -> list[str]:
        """Return the command as it is stored in the results, with the name of the text instead of its path."""
        return [self.command[0], Path(self.command[1]).name, *self.command[2:]]

    @property
    def folder(self) -> str:
        """Return the name of the run directory."""
        return re.sub(r"[^\w.-]+", "-", f"{self.name}-seed{self.command[-1]}")


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the checked arguments. Wrong arguments end the program with status 2."""
    first, rest = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=first, epilog=rest.replace("`", ""))
    parser.add_argument("text", nargs="?", help="the text to learn; it comes first")
    parser.add_argument("--presets", nargs="+", default=[], metavar="NAME_OR_FILE")
    parser.add_argument("--cells", nargs="+", default=[], metavar="CELL", help="a grid with --sizes, on --config")
    parser.add_argument("--sizes", nargs="+", default=[], type=int, metavar="H")
    parser.add_argument("--config", default="quickstart", metavar="NAME_OR_FILE", help="of the grid")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--steps", type=int)
    budget.add_argument("--epochs", type=float, help="how many times the training split's characters")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for all of them")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="where the run directories go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results; what FILE has is not run again")
    parser.add_argument("--again", action="store_true", help="run it again")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of a JSON file and end")
    parser.add_argument("--plot", nargs=2, type=Path, metavar=("FILE", "OUT.svg"), help="draw a JSON file and end")
    arguments = parser.parse_args(words)
    if arguments.table or arguments.plot:
        return arguments
    if arguments.text is None or not Path(arguments.text).is_file():
        parser.error(f"name the text to learn, a file, first (not {arguments.text!r})")
    if bool(arguments.cells) != bool(arguments.sizes) or not (arguments.cells or arguments.presets):
        parser.error("name --presets, or --cells and --sizes, or all of them")
    if arguments.minutes is None and arguments.steps is None and arguments.epochs is None:
        parser.error("say how long: --minutes, --steps or --epochs")
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        parser.error(f"there is no directory {arguments.json.parent} for --json")
    return arguments


def jobs(arguments: argparse.Namespace, characters: int) -> Iterator[Job]:
    """Yield every run, seed by seed, so that an interrupted series has results of each preset.

    `characters` is the length of the text.
    """
    runs = [(Path(preset).stem, preset, list(arguments.set)) for preset in arguments.presets]
    for cell in arguments.cells:
        for size in arguments.sizes:
            keys = [*arguments.set, f"model.cell={cell}", f"model.hidden_size={size}"]
            runs.append((f"{cell} {size}", arguments.config, keys))
    for seed in arguments.seeds:
        for name, preset, keys in runs:
            chosen = {} if config.is_automatic(preset) else config.read(preset)
            table = config.merged(chosen, config.parse_settings(keys))
            words, budget = budget_of(arguments, config.build(table), characters)
            settings = [word for key in keys for word in ("--set", key)]
            command = ("train", arguments.text, "--config", preset, *settings, *words, "--seed", str(seed))
            yield Job(name, budget, command, digest_of(table))


def digest_of(table: config.Table) -> str:
    """Return the SHA-256 of a configuration's table."""
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def budget_of(arguments: argparse.Namespace, settings: config.Config, characters: int) -> tuple[list[str], str]:
    """Return the budget of a run as options of `charrnn train`, and in words."""
    if arguments.minutes is not None:
        return ["--minutes", f"{arguments.minutes:g}"], f"{arguments.minutes:g} min"
    if arguments.steps is not None:
        return ["--steps", str(arguments.steps)], f"{arguments.steps:,} steps"
    trained = int(characters * (1 - settings.data.val_fraction))
    B, T = texts.fit_batch(trained, settings.train.batch_size, settings.train.seq_length)
    return ["--steps", str(max(1, round(arguments.epochs * trained / (B * T))))], f"{arguments.epochs:g} epochs"


def program(*words: object) -> str:
    """Run `charrnn` and return its standard output. Raise `CalledProcessError`, with standard error, if it fails."""
    command = [sys.executable, "-m", "charrnn", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout


def measured(job: Job, folder: Path, commit: str, machine: int) -> Measured:
    """Run a job and return its results. `machine` is the number of the machine in the JSON file."""
    run, began = folder / job.folder, time.perf_counter()
    program(*job.command, "--out", run, "--overwrite")
    seconds = time.perf_counter() - began
    evaluations = [json.loads(program("eval", run, *words, "--json")) for words in ([], ["--window", "256"])]
    about = json.loads(program("compare", run, "--no-eval", "--json"))["rows"][0]
    metrics = logs.metrics(run)
    return {
        "name": job.name,
        "budget": job.budget,
        "seed": int(job.command[-1]),
        "command": job.stored_command,
        "config": job.config,
        "commit": commit,
        "machine": machine,
        "seconds": seconds,
        "planned": planned(run),
        "steps": about["steps"],
        "chars": max((metric["chars"] for metric in metrics), default=0),
        "parameters": about["parameters"],
        "losses": {each["protocol"]: float(each["nats_per_char"]) for each in evaluations},
        "curve": [[m["seconds"], m["chars"], m["val_loss"]] for m in metrics if m["event"] == "eval"],
    }


def planned(run: Path) -> int | None:
    """Return the planned steps of a run; None if it has no config.toml."""
    path = run / "config.toml"
    return config.build(config.read(str(path))).train.steps if path.exists() else None


def stored(path: Path | None, text: dict[str, Any]) -> dict[str, Any]:
    """Return the results in `path`. Raise `TextError` if they are of another text."""
    data = {"text": text, "machines": [], "rows": []}
    if path is not None and path.exists():
        data = json.loads(path.read_text())
        if data["text"]["sha256"] != text["sha256"]:
            raise TextError(f"{path} is of another text, {data['text']['name']}: name another --json")
    return data


def has(rows: Sequence[Measured], job: Job) -> bool:
    """Return whether the rows contain the same command with the same configuration, at any commit."""
    return any((row["command"], row["config"]) == (job.stored_command, job.config) for row in rows)


def updated(rows: Sequence[Measured], row: Measured) -> list[Measured]:
    """Return `rows` with `row` instead of the earlier result of its command, or at the end."""
    positions = [n for n, each in enumerate(rows) if each["command"] == row["command"]] or [len(rows)]
    others = [each for each in rows if each["command"] != row["command"]]
    return [*others[: positions[0]], row, *others[positions[0] :]]


def commit() -> str:
    """Return the commit of charrnn, with `-dirty` if files differ from it; outside of git its version."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        answer = subprocess.run(command, cwd=Path(charrnn.__file__).parent, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return charrnn.__version__
    return answer.stdout.strip()


def series(arguments: argparse.Namespace) -> int:
    """Run all jobs without results. Return the exit status: 1 if a job failed."""
    corpus = texts.from_files([arguments.text])
    content = hashlib.sha256(Path(arguments.text).read_bytes()).hexdigest()
    about = {"name": Path(arguments.text).name, "sha256": content, "characters": len(corpus.ids)}
    data, version, status = stored(arguments.json, about), commit(), 0
    todo = list(jobs(arguments, len(corpus.ids)))
    this_machine = {key: value for key, value in machine().items() if key != "devices"} | {"blas": backend.blas()}
    if this_machine not in data["machines"]:
        data["machines"].append(this_machine)
    for job in todo:
        label = f"{job.name}, {job.budget}, seed {job.command[-1]}"
        if not arguments.again and has(data["rows"], job):
            print(f"{label}: done before (--again runs it again)", flush=True)
            continue
        print(f"{label}: ", end="", flush=True)
        try:
            row = measured(job, arguments.out, version, data["machines"].index(this_machine))
        except subprocess.CalledProcessError as error:
            last = (error.stderr.splitlines() or [""])[-1]
            print(f"left out: charrnn {error.cmd[3]} ended with status {error.returncode}: {last}", flush=True)
            status = 1
            continue
        data["rows"] = updated(data["rows"], row)
        losses = "  ".join(f"{protocol} {loss:.4f}" for protocol, loss in row["losses"].items())
        print(f"{row['seconds'] / 60:.1f} min  {row['steps']:,} steps  {losses}", flush=True)
        if arguments.json:
            write_atomically(arguments.json, json.dumps(data, indent=1).encode() + b"\n")
    if data["rows"]:
        print("\n" + markdown(data))
    return status


def main() -> int:
    """Run a series, or print or draw one. Return the exit status."""
    arguments = parsed()
    if arguments.table:
        print(markdown(json.loads(arguments.table.read_text())))
    if arguments.plot:
        arguments.plot[1].write_text(picture(json.loads(arguments.plot[0].read_text())) + "\n")
    if arguments.table or arguments.plot:
        return 0
    try:
        return series(arguments)
    except charrnn.CharrnnError as error:
        sys.stderr.write(f"learning.py: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write(
            "interrupted: the same command goes on" + " from the last result" * bool(arguments.json) + "\n"
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
