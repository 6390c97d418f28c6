"""Print what the cost model of ranks predicts for the presets, as Markdown: `python benchmarks/cost_model.py`.

It is arithmetic, not a measurement: bytes over a bandwidth, and a latency for every message. With one shard on a rank,
a rank sends and receives 2 P (N - 1)/N numbers in 2 (N - 1) messages. A link carries both directions at the same time.
"""

from __future__ import annotations

import argparse

from charrnn import backend, config
from charrnn.model import build

PRESETS = ("quickstart", "rnn", "gru", "lstm", "lstm-large")
CLUSTERS = {
    "8 cards of one machine, 40 Gbit/s through its memory": (8, 40),
    "64 machines, 25 Gbit/s": (64, 25),
    "64 machines, 100 Gbit/s": (64, 100),
}
"""Name -> the number of ranks N, and the bandwidth in Gbit/s of each."""


def exchange(P: int, N: int, gigabits: float, latency: float) -> tuple[float, float]:
    """Return the bytes that a rank sends in a step with S = N, and the milliseconds that this takes."""
    sent = 2 * P * (N - 1) / N * 4
    return sent, 1000 * (sent * 8 / (gigabits * 1e9) + 2 * (N - 1) * latency)


def main() -> None:
    """Print a table for every cluster."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--characters", type=int, default=100, help="distinct characters of the text")
    parser.add_argument("--latency", type=float, default=10.0, help="microseconds of a message besides its bytes")
    arguments = parser.parse_args()
    device = backend.choose("cpu").backend
    for name, (N, gigabits) in CLUSTERS.items():
        print(f"{name} (N = {N}):\n")
        print(
            "| preset | P | a rank sends | exchange E | faster if t > | half of N if t > | batch times N: 90 % if t > |"
        )
        print("|---|---|---|---|---|---|---|")
        for preset in PRESETS:
            model = config.build(config.read(preset)).model
            P = build(model, arguments.characters, device).layout.size
            sent, E = exchange(P, N, gigabits, arguments.latency / 1e6)
            times = (E, E * N / (N - 1), E * N, E * 9)
            print(f"| {preset} | {P:,} | {sent / 1e6:.2f} MB | " + " | ".join(f"{ms:.2f} ms" for ms in times) + " |")
        print()


if __name__ == "__main__":
    main()
