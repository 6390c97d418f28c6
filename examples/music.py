"""Write tunes in ABC notation, and count the bars whose notes add up to the meter.

    python examples/music.py

The training text is made by `tune`: jigs in 6/8, waltzes in 3/4 and reels in 4/4. The network does not know what a bar
is. It learns from the notes that a bar of a jig has 6 eighths. For tunes of your own replace the list `tunes`.
"""

import random
import re

import charrnn

KINDS = {  # kind -> its meter, the eighths in a bar, and the rhythms of a bar: the eighths of each note
    "Jig": ("6/8", 6, ["33", "2121", "1113", "321", "111111", "213"]),
    "Waltz": ("3/4", 6, ["222", "42", "2112", "24", "11112"]),
    "Reel": ("4/4", 8, ["2222", "422", "21122", "11112", "44", "221111", "3122"]),
}
SCALE = "DEFGABcdefga"


def tune(kind: str, rng: random.Random) -> str:
    """Return a tune of 8 bars whose melody moves by small steps of the scale and ends on its first note."""
    meter, eighths, rhythms = KINDS[kind]
    place, bars = 4, []
    for rhythm in rng.choices(rhythms, k=7):
        bar = ""
        for length in rhythm:
            place = min(max(place + rng.choice([-2, -1, -1, 1, 1, 2]), 0), len(SCALE) - 1)
            bar += SCALE[place] + length.replace("1", "")
        bars.append(bar)
    return f"X:1\nT:{kind}\nM:{meter}\nL:1/8\nK:D\n" + "|".join([*bars, f"D{eighths}"]) + "|]"


def bar_lengths(music: str) -> list[int]:
    """Return the eighths in each bar of a tune."""
    bars = music.split("K:D\n")[-1].rstrip("]").strip("|").split("|")
    return [sum(int(length or 1) for length in re.findall(r"[A-Ga-g](\d?)", bar)) for bar in bars]


rng = random.Random(1)
tunes = [tune(kind, rng) for kind in rng.choices(list(KINDS), k=2000)]
settings = {"model.cell": "gru", "model.hidden_size": 96, "train.batch_size": 16, "train.steps": 900}
model = charrnn.train(tunes, settings=settings | {"optimizer.learning_rate": 0.006})

for kind, (meter, eighths, _) in KINDS.items():
    header = f"X:1\nT:{kind}\n"  # the prompt chooses the kind of tune; the network goes on with the right meter
    endings = model.sample(header, count=20, length=300, temperature=0.5, stop="\n\n", seed=1)
    samples = [header + ending for ending in endings]
    print(samples[0] + "\n")
    lengths = [length for sample in samples for length in bar_lengths(sample)]
    right = sum(length == eighths for length in lengths)
    print(f"{kind}: {right} of {len(lengths)} bars add up to {meter}, in {len(set(samples) - set(tunes))} new tunes\n")
