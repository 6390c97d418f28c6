"""Compare two checkouts: do the same commands train, sample and evaluate to the same bits?

    python tests/golden.py OLD NEW            # 0 if every case agrees, 1 and a list if not
    python tests/golden.py OLD NEW --only gru # the cases whose names contain a word

Each case is a few short commands of `charrnn`. They run as processes in an empty folder, once with the code of each
checkout. Compared are SHA-256 hashes of the newest checkpoint's tensors and metadata, of `metrics.jsonl` without times,
of `samples.txt`, of the baselines, and of what `sample`, `eval`, `score` and `compare` print. Only the command line and
the files of a run are used, so the two checkouts may differ in everything else. `RENAMED` maps names that were changed.
A field of JSON that only NEW has is not compared; its name is printed.

Both checkouts need the dependencies of this interpreter. Equal hashes need the same machine and the same NumPy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

RENAMED = {
    "optimizer/memory/": "optimizer/square_sum/",
    "state/memory": "state/cell_state",
    "stale": "stale_evaluations",
    "drops": "lr_reductions",
}
"""Old names in checkpoints and their metadata, with the new ones; a name that ends in / is a prefix."""
NOT_COMPARED = {"format", "content", "config"}
"""Metadata that a new version of the format may change; the configuration may have new keys."""
TIMES = {"seconds", "chars_per_second", "minutes", "device"}

SMALL = {
    "train.device": "cpu",
    "train.batch_size": 6,
    "train.seq_length": 12,
    "train.steps": 24,
    "model.hidden_size": 20,
    "model.dropout": 0.0,
    "log.every": 4,
    "log.eval_every": 8,
    "log.sample_every": 12,
    "log.checkpoint_every": 10,
    "log.sample_length": 60,
}
PLAIN = {"optimizer.schedule": "constant", "optimizer.warmup": 0.0, "train.random_offset": False}
DROPOUT = {"model.dropout": 0.2, "model.input_dropout": 0.1, "model.recurrent_dropout": 0.3}


def train(*words: str, out: str = "run", text: str = "prose.txt", **keys: Any) -> list[str]:
    """A training; keys have `__` for the dot."""
    settings = SMALL | {name.replace("__", "."): value for name, value in keys.items()}
    return ["train", text, *words, "--out", out, *(f"--set={key}={json.dumps(v)}" for key, v in settings.items())]


def keys(table: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table as keywords of `train`."""
    return {name.replace(".", "__"): value for name, value in table.items()}


def cases() -> dict[str, list[list[str]]]:
    """Name -> commands."""
    adagrad = keys(PLAIN) | {"optimizer__name": "adagrad", "optimizer__learning_rate": 0.1}
    overflowing = keys(PLAIN) | {"optimizer__clip_norm": 0, "log__every": 1}
    everything = keys(DROPOUT) | {"optimizer__weight_decay": 0.1, "optimizer__average": 0.9}
    result = {
        "rnn adagrad, constant rate, clipped by value": [train(**adagrad, optimizer__clip_value=0.5)],
        "rnn rmsprop": [train(optimizer__name="rmsprop", optimizer__schedule="step")],
        "rnn adam, cosine": [train()],
        "rnn, min-char-rnn's weights, float64": [train(model__init="min-char-rnn", model__dtype="float64", **adagrad)],
        "rnn preset min-char-rnn": [
            ["train", "prose.txt", "--config", "min-char-rnn", "--steps", "60", "--out", "run"]
        ],
        "gru": [train(model__cell="gru")],
        "gru, two layers": [train(model__cell="gru", model__num_layers=2)],
        "lstm": [train(model__cell="lstm")],
        "lstm, two layers, float64": [train(model__cell="lstm", model__num_layers=2, model__dtype="float64")],
        "dropout of outputs": [train(model__cell="lstm", model__dropout=0.3)],
        "dropout of inputs": [train(model__cell="gru", model__input_dropout=0.3)],
        "dropout of recurrent weights": [train(model__recurrent_dropout=0.3)],
        "a short text": [train(text="short.txt")],
        "a wide vocabulary": [train(text="wide.txt")],
    }
    for cell in ("rnn", "gru", "lstm"):
        for shards in (1, 2):
            name = f"{cell}, everything, {shards} shards"
            result[name] = [train(model__cell=cell, model__num_layers=2, train__shards=shards, **everything)]
    result |= {
        "two threads": [train("--threads", "2", train__shards=2), train("--threads", "1", out="one", train__shards=2)],
        "weight decay": [train(optimizer__weight_decay=0.5)],
        "average of the weights": [train(optimizer__average=0.9, model__cell="gru"), ["sample", "run", "--seed=1"]],
        "plateau and patience": [
            train(optimizer__schedule="plateau", optimizer__learning_rate=0.3, log__eval_every=2, train__patience=6)
        ],
        "documents by a separator": [
            train("--document-separator", r"\n\n", model__cell="lstm", train__shards=2),
            ["eval", "run", "other.txt", "--unknown=skip", "--json"],
            ["sample", "run", "--seed=2", "--length=80", r"--stop=. "],
        ],
        "documents by files": [train(text="folder", model__cell="gru")],
        "a run that diverges": [
            train(**overflowing, optimizer__learning_rate=1e20),
            train("--resume", **overflowing, optimizer__learning_rate=1e20),
        ],
        "skipped steps": [train(**overflowing, optimizer__learning_rate=2e19)],
        "resumed": [train("--stop-after", "9"), train("--resume", "--stop-after", "5"), train("--resume")],
        "resumed, everything": [
            train("--stop-after", "13", model__cell="lstm", **everything),
            train("--resume", model__cell="lstm", **everything),
        ],
        "fine-tuned": [
            train(out="old", model__cell="lstm"),
            train("--init-from", "old", "--grow-vocabulary", text="wide.txt", model__cell="lstm"),
            ["compare", "old", "run", "--json"],
        ],
        "evaluated": [
            train(model__cell="gru", optimizer__average=0.5),
            ["eval", "run", "--json"],
            ["eval", "run", "other.txt", "--window=50", "--unknown=replace", "--json"],
            ["eval", "run", "other.txt", "--dynamic", "--unknown=skip", "--json"],
            ["score", "run", "short.txt", "--unknown=skip"],
        ],
        "dynamic evaluation, adagrad": [train(**adagrad), ["eval", "run", "--dynamic", "--json"]],
        "sampled": [
            train(model__cell="lstm"),
            ["sample", "run", "--seed=1", "--prompt=the ", "--length=100"],
            ["sample", "run", "--seed=2", "--count=70", "--length=30", "--top-k=5"],
            ["sample", "run", "--seed=3", "--top-p=0.7", "--temperature=1.3", "--stop=e"],
            ["sample", "run", "--temperature=0", "--prompt=a", "--checkpoint=0"],
        ],
    }
    return result


def write_texts(folder: Path) -> None:
    """The texts that the commands read: words drawn from a seed, and the reference topics that Python carries."""
    from pydoc_data.topics import topics

    prose = "\n\n".join(topics[name] for name in sorted(topics))
    (folder / "prose.txt").write_text(prose[:6000])
    (folder / "other.txt").write_text(prose[9000:10500] + "\nna\u00efve \u2713\n")
    (folder / "short.txt").write_text("to be or not to be, that is the question\n" * 4)
    random = np.random.default_rng(7)
    wide = "".join(map(chr, 0x4E00 + random.zipf(1.3, 3000) % 600))
    (folder / "wide.txt").write_text(prose[:1500] + wide)
    (folder / "folder").mkdir()
    for n in range(5):
        (folder / "folder" / f"{n}.txt").write_text(prose[n * 900 : (n + 1) * 900])


def results(checkout: Path, commands: list[list[str]]) -> dict[str, Any]:
    """Name -> hash, or JSON, of everything that the commands leave or print, with the code of `checkout`."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder)
        environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(folder / "cache")}
        for number, command in enumerate(commands):
            call = [sys.executable, "-P", "-m", "charrnn", *command]
            done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, check=False)
            found[f"status of command {number}"] = str(done.returncode)
            if command[0] != "train":
                printed = without_times(json.loads(done.stdout)) if "--json" in command else hashed(done.stdout)
                found[f"output of command {number}"] = printed
            elif done.returncode not in (0, 3):
                found[f"error of command {number}"] = done.stderr.decode()
        for run in sorted(path.parent for path in folder.glob("*/config.toml")):
            found |= {f"{run.name}: {what}": value for what, value in results_of(run).items()}
    return found


def results_of(run: Path) -> dict[str, Any]:
    """Name -> hash, or JSON, of what a run directory holds."""
    found: dict[str, Any] = {"samples.txt": hashed((run / "samples.txt").read_bytes())}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found["metrics.jsonl"] = without_times(lines)
    for name in ("floors.json", "baselines.json"):
        if (run / name).is_file():
            found["baselines"] = hashed(json.loads((run / name).read_text())["nats_per_char"])
    checkpoints = sorted((run / "checkpoints").glob("step-*.safetensors"))
    found["checkpoints"] = " ".join(path.stem for path in checkpoints)
    with safetensors.safe_open(checkpoints[-1], framework="numpy") as file:
        metadata = json.loads(file.metadata()["charrnn"])
        for key in metadata.keys() - NOT_COMPARED:
            found[f"metadata {RENAMED.get(key, key)}"] = hashed(metadata[key])
        groups: dict[str, Any] = {}
        for tensor in file.keys():  # noqa: SIM118 (not a dictionary)
            full = renamed(tensor)
            array = file.get_tensor(tensor)
            digest = groups.setdefault(full.partition("/")[0], {})
            digest[full] = hashed(array.tobytes()) + f" {array.dtype} {array.shape}"
    return found | {f"tensors {group}": hashed(digests) for group, digests in groups.items()}


def renamed(tensor: str) -> str:
    """The new name of a tensor."""
    for old, new in RENAMED.items():
        if tensor == old or (old.endswith("/") and tensor.startswith(old)):
            return new + tensor.removeprefix(old)
    return tensor


def without_times(value: Any) -> Any:
    """A JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def without_new(new: Any, old: Any, names: set[str]) -> Any:
    """A JSON value of NEW without the fields that objects of OLD at the same place lack; `names` gets their names."""
    if isinstance(new, dict) and isinstance(old, dict):
        names |= new.keys() - old.keys()
        return {key: without_new(value, old[key], names) for key, value in new.items() if key in old}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [without_new(a, b, names) for a, b in zip(new, old, strict=True)]
    return new


def hashed(value: Any) -> str:
    """The SHA-256 of bytes, or of a value as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def shortened(value: Any) -> str:
    """A hash, or the hash of JSON."""
    return value if isinstance(value, str) else hashed(value)


def main() -> int:
    """Run every case with both checkouts and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", default="", help="only the cases whose names contain this word")
    options = parser.parse_args()
    chosen = {name: commands for name, commands in cases().items() if options.only in name}
    failed, added = 0, set[str]()
    for name, commands in chosen.items():
        old, new = (results(checkout.resolve(), commands) for checkout in (options.old, options.new))
        new = {what: without_new(value, old.get(what), added) for what, value in new.items()}
        different = sorted(what for what in old.keys() | new.keys() if old.get(what) != new.get(what))
        # The first versions counted baselines beside the run, and had none for a run that ended too soon.
        different = [what for what in different if not (what.endswith("baselines") and what not in old)]
        failed += bool(different)
        print(f"{'DIFFERS' if different else 'same   '} {name}", flush=True)
        for what in different:
            print(f"          {what}: {shortened(old.get(what))} -> {shortened(new.get(what))}")
    if added:
        print(f"not compared, as only NEW has them: {', '.join(sorted(added))}")
    print(f"{len(chosen) - failed} of {len(chosen)} cases agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
