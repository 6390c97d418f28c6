"""The rows "corpus": read a text of some size, without and with its entry in the cache, and train on it.

`python corpus.py FILE` reads FILE, makes a few training steps, and prints the seconds and the peak of anonymous memory.
`measure` writes a text to a temporary directory, and runs this command twice with a cache in the same directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SIZES = {"corpus 10 MB": 10**7, "corpus 100 MB": 10**8, "corpus 1 GB": 10**9}
OPT_IN = "corpus 1 GB"
"""This row needs half a minute and 2 GB of disk, so it is measured only if `--rows` names it."""
STEPS = 20
ASCII = "The quick brown fox jumps over the lazy dog; pack my box with 57 liquor jugs! "
MIXED = (
    "Zwölf Boxkämpfer à l'œuvre; Съешь же ещё этих мягких булок; 我能吞下玻璃而不伤身体。Good morning 😀🎉 — so naïve. "
)


def write_text(path: Path, size: int, prose: str) -> None:
    """Write a text of at least `size` bytes of UTF-8 on one line: random pieces of `prose`."""
    pieces = [prose[i : i + 5].encode() for i in range(len(prose))]
    rng, written = np.random.default_rng(0), 0
    with path.open("wb") as stream:
        while written < size:
            count = min(1 << 16, (size - written) // 5 + 1)
            written += stream.write(b"".join([pieces[i] for i in rng.integers(0, len(pieces), count)]))


def anonymous_mib() -> float:
    """Return the anonymous memory of this process, without mapped files; 0 if the system does not report it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), default=0.0)


def measure(name: str) -> list[dict[str, object]]:
    """Return the lines of a row: `cold` encodes the text and writes the cache, `warm` reads the cache."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "text.txt")
        write_text(file, SIZES[name], MIXED)
        for state in ("cold", "warm"):
            command = [sys.executable, __file__, str(file)]
            environment = os.environ | {"XDG_CACHE_HOME": folder}
            answer = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
            rate = file.stat().st_size / answer["seconds"] / 1e6
            lines.append({"row": name, "system": f"charrnn {state}", "mb_per_second": rate} | answer)
    return lines


def show(line: dict[str, object]) -> None:
    """Print one line."""
    print(
        f"{line['row']:34} {line['system']:18} 1 thr {line['mb_per_second']:>11,.1f} mb/s  "
        f"{line['seconds']:.2f} s  {line['peak_anonymous_mib']} MiB anonymous",
        flush=True,
    )


def main() -> None:
    """Read the file, train for a few steps, and print the seconds and the peak of memory."""
    peak, ended = [anonymous_mib()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak.append(max(anonymous_mib(), peak.pop()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        from charrnn import backend, config, text
        from charrnn.model import build
        from charrnn.run.resolve import start

        began = time.perf_counter()
        corpus = text.from_files([sys.argv[1]])
        seconds = time.perf_counter() - began
        settings = config.build({"train": {"shards": 1}})
        network = build(settings.model, len(corpus.vocabulary), backend.choose("cpu").backend)
        train, _ = corpus.split(0.1)
        trainer = start(settings, network, train, backend.ThreadPool(1))
        for _ in range(STEPS):
            trainer.step()
        assert len(trainer.drain()) == STEPS
    finally:
        ended.set()
        watcher.join()
    print(json.dumps({"seconds": seconds, "peak_anonymous_mib": round(max(peak))}))


if __name__ == "__main__":
    main()
