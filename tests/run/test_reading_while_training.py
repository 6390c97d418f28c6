"""While one process trains, others can run every command that reads the run."""

from __future__ import annotations

import threading
from pathlib import Path

from helpers.processes import killed, started, until, words

from charrnn import checkpoint

COMMANDS = [
    *(["sample", "r", f"--checkpoint={which}", "--length=50", "--seed=1"] for which in ("best", "last")),
    *(["eval", "r", f"--checkpoint={which}"] for which in ("best", "last")),
    ["score", "r", "t.txt"],
    ["compare", "r"],
]
ROUNDS = 3


def test_every_command_that_reads(place: Path) -> None:
    """Processes that sample, evaluate, score and compare at once succeed while the run saves at every step."""
    command = words(train_steps=10**6, log_every=50, log_eval_every=2, log_checkpoint_every=1, log_keep=1)
    with killed(started(*command, "--out", "r", "--threads=1")) as writer:
        until(writer, "loss")
        assert writer.stdout is not None
        threading.Thread(target=writer.stdout.read).start()  # a full pipe would stop it
        before = checkpoint.steps(place / "r")[-1]
        for _ in range(ROUNDS):
            readers = [started(*each) for each in COMMANDS]
            for reader, each in zip(readers, COMMANDS, strict=True):
                said = reader.communicate(timeout=120)[0]
                assert reader.returncode == 0, (each, said)
                assert "Traceback" not in said
                assert "using" not in said  # no checkpoint was taken for damaged
        assert writer.poll() is None
        assert checkpoint.steps(place / "r")[-1] > before + ROUNDS * len(COMMANDS)
