"""Learn a list of names, and print 20 new ones that are not in the list.

    python examples/names.py [FILE]

FILE has one name in each line. Without it the program learns 379 dinosaurs.
"""

import sys
from pathlib import Path

import charrnn

file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("dinosaurs.txt")
names = file.read_text(encoding="utf-8").splitlines()

# Each name is a document, so the network also learns how a name begins and where it ends.
model = charrnn.train(
    names,
    settings={
        "model.cell": "gru",
        "model.hidden_size": 128,
        "model.dropout": 0.3,  # the list is short: without dropout the network soon knows it by heart
        "train.batch_size": 8,
        "train.seq_length": 32,  # two or three names
        "train.steps": 800,
        "log.eval_every": 50,  # the network of the best evaluation is returned
    },
)

# A sample without a prompt is one document. dict.fromkeys drops a name that comes twice and keeps the order.
samples = model.sample(count=100, length=40, min_p=0.1, seed=1)
new = [name for name in dict.fromkeys(samples) if name not in names]
print(f"{len(new)} of 100 samples are new names. The first 20:")
print("\n".join(new[:20]))
