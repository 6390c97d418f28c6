"""The study behind automatic configuration: which network is best for a text and a time?

`python benchmarks/study.py FOLDER --json FILE` trains every network of the grid on the six texts in FOLDER, which
`study_texts.py` makes there, and keeps the results in FILE. What FILE has is not trained again, so the command can be
interrupted. `--table` compares the rule with the best of the grid, each text with constants fitted to the others.

A time is turned into steps by `automatic.assumed_seconds`, which is fitted to rates measured on an idle machine. So the
losses are the same on a busy one. Two networks are trained at a time, each in one process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import study_texts

from charrnn import config, text
from charrnn.checkpoint import write_atomically
from charrnn.evaluation.baselines import Baselines
from charrnn.run import automatic, logs
from charrnn.run.baselines import count, split_to_count

MINUTES = (0.5, 1, 5)
TRAINING = 0.9
"""The share of a time that training steps fill."""
EVALUATED = 100_000
"""Validation characters that are evaluated."""
WIDTHS = {0.5: (96, 128, 192, 256, 384), 1: (128, 192, 256, 384, 512)}
FIVE_MINUTES = {
    "reference": (256, 384, 512),
    "prose": (384, 512, 640),
    "russian": (384, 512, 640),
    "chinese": (256, 384, 512),
    "source": (192, 256, 384, 512),
}
"""The widths for five minutes, by text: these are most of the time of the study."""
WORTH, OWN = (100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000), (0.5, 0.75, 1, 1.5, 2, 3, 5)
"""The constants of the rule that are tried."""
SHORT_WIDTHS = (48, 64, 96, 128, 192, 256)
"""Widths for a text of 20,000 characters."""


Row = dict[str, Any]
"""A trained network: its text, minutes and settings, what the rule knows of it, and its losses."""


@dataclass(frozen=True)
class Job:
    """A network to train: its text, the minutes, and the keys that differ from the rule's."""

    text: str
    minutes: float
    settings: dict[str, Any]

    @property
    def width(self) -> int:
        """The hidden units."""
        return int(self.settings["model.hidden_size"])

    @property
    def name(self) -> str:
        """The keys, for readers."""
        return " ".join(f"{key.partition('.')[2]}={value}" for key, value in self.settings.items())


def grid(name: str) -> Iterator[Job]:
    """Yield the jobs of a text, the cheapest first."""
    for minutes in MINUTES:
        widths = SHORT_WIDTHS if name == "names" else WIDTHS.get(minutes) or FIVE_MINUTES[name]
        for H in widths:
            yield Job(name, minutes, {"model.hidden_size": H})
        if minutes < 5:
            middle = widths[len(widths) // 2]
            yield Job(name, minutes, {"model.hidden_size": middle, "train.seq_length": automatic.LENGTH})
            yield Job(name, minutes, {"model.hidden_size": middle, "model.cell": "gru"})


def text_of(folder: Path, name: str) -> tuple[automatic.Text, Baselines | None]:
    """Return what the rule knows of a text, and its baselines."""
    options = config.build(config.parse_settings(keys_of(name)))
    corpus = text.from_files([str(folder / f"{name}.txt")], separator=options.data.document_separator)
    shuffle = options.data.shuffle_documents and corpus.fits_shuffling(options.data.val_fraction)
    train, validation = corpus.split(options.data.val_fraction, shuffle=shuffle)
    assert validation is not None
    validation = validation.head(EVALUATED)
    baselines = count(split_to_count(options, corpus.vocabulary, train, validation))
    return automatic.Text(len(train.ids), len(validation.ids), len(corpus.vocabulary)), baselines


def keys_of(name: str) -> list[str]:
    """Return the settings that all networks of a text have."""
    keys = [f"log.eval_chars={EVALUATED}"]
    return [*keys, 'data.document_separator="\\n"'] if name == "names" else keys


def trained(job: Job, about: automatic.Text, folder: Path) -> Row:
    """Train one network, and return its row of the results."""
    fixed = config.parse_settings([*keys_of(job.text), *(f"{key}={value}" for key, value in job.settings.items())])
    choice = automatic.candidate(about, job.width, job.minutes * 60 * TRAINING, fixed)
    table = config.merged(choice.table, {"log": {"baselines": False, "sample_every": 0, "every": 0}})
    with tempfile.TemporaryDirectory() as scratch:
        file, run = Path(scratch, "network.toml"), Path(scratch, "run")
        file.write_text(config.dump(config.build(table)))
        words = [str(folder / f"{job.text}.txt"), "--config", str(file), "--out", str(run)]
        words += ["--threads", "1", "--device", "cpu", "--seed", "1"]
        subprocess.run([sys.executable, "-m", "charrnn", "train", *words], check=True, capture_output=True)
        losses = [metric["val_loss"] for metric in logs.metrics(run) if metric["event"] == "eval"]
    measures = {"length": about.length, "parameters": choice.parameters, "steps": choice.steps, "sweeps": choice.sweeps}
    return asdict(job) | measures | {"best": min(losses), "last": losses[-1]}


def run(folder: Path, results: Path, names: list[str], minutes: list[float]) -> None:
    """Train what `results` lacks."""
    data = json.loads(results.read_text()) if results.exists() else {"texts": {}, "rows": []}
    texts, lock = {}, Lock()
    for name in names:
        texts[name], baselines = text_of(folder, name)
        data["texts"][name] = asdict(texts[name]) | {"n-grams": baselines and list(baselines.losses)}
    done = [(row["text"], row["minutes"], row["settings"]) for row in data["rows"]]
    jobs = [job for name in names for job in grid(name) if job.minutes in minutes]
    jobs = sorted((job for job in jobs if (job.text, job.minutes, job.settings) not in done), key=lambda j: j.minutes)

    def work(job: Job) -> None:
        row = trained(job, texts[job.text], folder)
        with lock:
            data["rows"].append(row)
            write_atomically(results, json.dumps(data, indent=1).encode() + b"\n")
        print(
            f"{job.text}, {job.minutes:g} min, {job.name}: {row['steps']:,} steps, {row['sweeps']:.1f} sweeps, "
            f"best {row['best']:.4f}, last {row['last']:.4f}",
            flush=True,
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, jobs))


def chosen(rows: list[Row], worth: float, own: float) -> Row:
    """Return the row of the network that the rule chooses from `rows`, of one text and time, with these constants."""
    plain = sorted((row for row in rows if len(row["settings"]) == 1), key=width)
    fit = [plain[0], *(row for row in plain[1:] if row["parameters"] <= own * row["length"])]
    return min(fit, key=lambda row: automatic.shortfall(row["parameters"], row["length"], row["sweeps"], worth))


def width(row: Row) -> int:
    """Return the hidden units of a row."""
    return int(row["settings"]["model.hidden_size"])


def excess(rows: list[Row], worth: float, own: float) -> float:
    """Return by which share the loss of the rule is above the best of the grid, for one text and time."""
    return chosen(rows, worth, own)["best"] / min(row["best"] for row in rows) - 1


def cells(rows: list[Row]) -> dict[tuple[str, float], list[Row]]:
    """Return the rows by text and time."""
    result: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        result.setdefault((row["text"], row["minutes"]), []).append(row)
    return result


def fitted(by_cell: dict[tuple[str, float], list[Row]]) -> tuple[float, float]:
    """Return the constants for which the rule's worst excess is the least; of equals, the least sum."""
    pairs = list(itertools.product(WORTH, OWN))
    costs = {pair: [excess(rows, *pair) for rows in by_cell.values()] for pair in pairs}
    return min(pairs, key=lambda pair: (round(max(costs[pair]), 3), sum(costs[pair])))


def table(data: dict[str, Any]) -> str:
    """Return the comparison in Markdown: each text is left out, and the constants are fitted to the others."""
    everything = cells(data["rows"])
    lines = [
        "| text | minutes | n-gram | best of the grid | | rule | | excess | constants |",
        "|---|---:|---:|---|---:|---|---:|---:|---|",
    ]
    for name in data["texts"]:
        others = {key: rows for key, rows in everything.items() if key[0] != name}
        worth, own = fitted(others)
        counted = min(data["texts"][name]["n-grams"])
        for (_, minutes), rows in sorted((key, rows) for key, rows in everything.items() if key[0] == name):
            best, rule = min(rows, key=lambda row: row["best"]), chosen(rows, worth, own)
            lines.append(
                f"| {name} | {minutes:g} | {counted:.3f} | {label(best)} | {best['best']:.3f} | {label(rule)} | "
                f"{rule['best']:.3f} | {100 * excess(rows, worth, own):.1f} % | {worth:,g}, {own:g} |"
            )
    return "\n".join([*lines, "", f"fitted to all texts: WORTH, OWN = {fitted(everything)}"])


def label(row: Row) -> str:
    """Return the network of a row, for readers."""
    settings = dict(row["settings"])
    words = [str(settings.pop("model.cell", "lstm")), str(settings.pop("model.hidden_size"))]
    return " ".join([*words, *(f"{key.partition('.')[2]} {value}" for key, value in settings.items())])


def main() -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of the texts")
    parser.add_argument("--json", type=Path, default=Path("study.json"), metavar="FILE", help="the results")
    parser.add_argument("--texts", nargs="+", default=list(study_texts.TEXTS), choices=list(study_texts.TEXTS))
    parser.add_argument("--minutes", nargs="+", type=float, default=list(MINUTES), choices=MINUTES)
    parser.add_argument("--table", action="store_true", help="print the table of --json and end")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.json.read_text())))
        return
    run(arguments.folder, arguments.json, arguments.texts, arguments.minutes)


if __name__ == "__main__":
    main()
