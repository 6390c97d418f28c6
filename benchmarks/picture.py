"""Draw the losses and the samples of a run as SVG: `python benchmarks/picture.py RUN > docs/run.svg`."""

import json
import re
import sys
from pathlib import Path

from svg import Plane, document, text

WIDTH, HEIGHT, LEFT, TOP = 900, 250, 60, 46
TRAIN, VALIDATION = "#9aa7b4", "#0969da"


def main(run: Path) -> str:
    """Return the picture of the run directory `run`."""
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [(e["step"], e["smooth_loss"]) for e in events if e["event"] == "train"]
    validation = [(e["step"], e["val_loss"]) for e in events if e["event"] == "eval"]
    parts = re.split(r"^--- step (\d+) ---\n", (run / "samples.txt").read_text(), flags=re.MULTILINE)[1:]
    samples = dict(zip(map(int, parts[::2]), parts[1::2], strict=True))
    last = max(train[-1][0], validation[-1][0])
    plane = Plane(LEFT, TOP, WIDTH - LEFT - 30, HEIGHT, last, 0, max(loss for _, loss in validation))
    words = f"validation loss {validation[-1][1]:.3f} nats/char after {events[-1]['seconds']:.0f} s"
    shapes = [text(LEFT, 26, words, VALIDATION), text(LEFT + 420, 26, "training loss, smoothed", TRAIN)]
    for loss in range(int(plane.high) + 1):
        shapes += [plane.level(loss), text(LEFT - 22, round(plane.at(0, loss)[1] + 5, 1), str(loss))]
    shapes += [plane.curve(train, TRAIN, 1.5), plane.curve(validation, VALIDATION, 2.5)]
    y = TOP + HEIGHT + 24
    for step in sorted(samples):
        shapes.append(text(LEFT, y, f"step {step:,}", VALIDATION))
        for line in [line for line in samples[step].split("\n") if line.strip()][:3]:
            y += 19
            shapes.append(text(LEFT, y, line.rstrip()[:96], more=' xml:space="preserve"'))
        y += 27
    return document(WIDTH, y, shapes)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
