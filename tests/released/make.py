"""Make a checkpoint for this folder: a file that one version wrote, and that version's samples and losses.

Add one for every new version of the format, and for every new default that old files must not use. Check out the
commit at COMMIT (`git worktree add`), and run this in an empty directory, whose path the file will contain:

    PYTHONPATH=COMMIT python .../tests/released/make.py NAME [SECTION.KEY=VALUE ...]

Then move NAME.safetensors and NAME.json to this folder. The script calls only functions of the first version. A seed
may mean another text in another version: if so, delete `seed` and `sampled` from the older NAME.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import charrnn
from charrnn import api, checkpoint

HERE = Path(__file__).parent
STEP = 2000
OPTIONS = {
    **{"model.hidden_size": 4, "train.batch_size": 2, "train.seq_length": 8, "train.steps": 2010, "train.seed": 5},
    **{"log.every": 1, "log.eval_every": 500, "log.checkpoint_every": 500, "log.sample_every": 0, "log.keep": 9},
}
PROMPT, LENGTH, SEED, WINDOW = "Betty ", 80, 7, 16


def value(word: str) -> Any:
    """Return the number or boolean that a word stands for, or the word itself."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def results_of(path: Path) -> dict[str, Any]:
    """Return the samples and losses of a checkpoint in this version."""
    model, text = api.load(path, device="cpu"), (HERE / "text.txt").read_text("utf-8")
    return {
        "step": model.step,
        "prompt": PROMPT,
        "greedy": model.sample(PROMPT, length=LENGTH, temperature=0),
        "seed": SEED,
        "sampled": model.sample(PROMPT, length=LENGTH, seed=SEED),
        "carried": model.evaluate(text).nats_per_char,
        "window": WINDOW,
        "windows": model.evaluate(text, window=WINDOW).nats_per_char,
    }


def main(name: str, *options: str) -> None:
    """Train, copy the checkpoint of step `STEP`, and write its results and the losses of the steps after it."""
    settings = (
        OPTIONS | {"train.device": "cpu"} | {k: value(v) for k, _, v in (word.partition("=") for word in options)}
    )
    Path("text.txt").write_bytes((HERE / "text.txt").read_bytes())
    losses: dict[int, float] = {}

    def listen(event: Any) -> None:
        if type(event).__name__ == "Trained" and event.at.step > STEP:
            losses[event.at.step] = event.loss

    charrnn.train(files=["text.txt"], settings=settings, out="run", on_event=listen)
    path = Path(f"{name}.safetensors")
    path.write_bytes(checkpoint.path_of(Path("run"), STEP).read_bytes())
    Path(f"{name}.json").write_text(
        json.dumps(results_of(path) | {"losses": losses}, indent=2, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
