"""Draw a run as SVG: its losses, and its samples from noise to words. `python docs/picture.py RUN > docs/run.svg`."""

import json
import re
import sys
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP = 900, 250, 60, 46
INK, TRAIN, VALIDATION, PAPER = "#24292f", "#9aa7b4", "#0969da", "#ffffff"


def main(run: Path) -> str:
    """The picture of the run directory `run`."""
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [(e["step"], e["smooth_loss"]) for e in events if e["event"] == "train"]
    validation = [(e["step"], e["val_loss"]) for e in events if e["event"] == "eval"]
    parts = re.split(r"^--- step (\d+) ---\n", (run / "samples.txt").read_text(), flags=re.MULTILINE)[1:]
    samples = dict(zip(map(int, parts[::2]), parts[1::2], strict=True))
    last, top = train[-1][0], max(loss for _, loss in validation)

    def at(step: float, loss: float) -> str:
        return f"{LEFT + step / last * (WIDTH - LEFT - 30):.1f},{TOP + (1 - loss / top) * HEIGHT:.1f}"

    def text(x: float, y: float, words: str, colour: str = INK, more: str = "") -> str:
        return f'<text x="{x}" y="{y}" fill="{colour}" {more}>{escape(words)}</text>'

    def curve(points: list[tuple[int, float]], colour: str, width: float) -> str:
        line = " ".join(at(*point) for point in points)
        return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    shapes = [
        text(
            LEFT,
            26,
            f"validation loss {validation[-1][1]:.3f} nats/char after {events[-1]['seconds']:.0f} s",
            VALIDATION,
        )
    ]
    shapes += [text(LEFT + 420, 26, "training loss, smoothed", TRAIN)]
    for loss in range(int(top) + 1):
        x, y = map(float, at(0, loss).split(","))
        shapes += [f'<path d="M{x} {y}H{WIDTH - 30}" stroke="#d8dee4"/>', text(x - 22, y + 5, str(loss))]
    shapes += [curve(train, TRAIN, 1.5), curve(validation, VALIDATION, 2.5)]
    y = TOP + HEIGHT + 24
    for step in sorted(samples):
        shapes.append(text(LEFT, y, f"step {step:,}", VALIDATION))
        for line in [line for line in samples[step].split("\n") if line.strip()][:3]:
            y += 19
            shapes.append(text(LEFT, y, line.rstrip()[:96], INK, 'xml:space="preserve"'))
        y += 27
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
            'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
            f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>',
            *shapes,
            "</svg>",
        ]
    )


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
