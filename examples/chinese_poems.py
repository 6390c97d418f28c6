"""Recite 70 quatrains of the Tang dynasty from their first lines, and write new ones of the same form.

    python examples/chinese_poems.py

Chinese has thousands of characters. With one-hot characters most of the weights are in the first and the last layer.
`model.embedding_size` represents a character by a few numbers, and with `model.tie_weights` the last layer uses the
same table. So few poems are learned by heart. New ones, four lines of five characters, mostly mix lines of the old.
"""

import re
from pathlib import Path

import charrnn

poems = Path(__file__).with_name("quatrains.txt").read_text(encoding="utf-8").splitlines()
settings = {
    "data.val_fraction": 0,  # all poems are for training
    "model.cell": "gru",
    "model.hidden_size": 128,
    "model.dropout": 0.3,
    "train.batch_size": 2,  # the text is short, and what is near the border of two streams is seldom trained on
    "train.seq_length": 25,  # one poem: 4 lines of 5 characters and a sign, and the line end
    "train.steps": 600,
    "optimizer.learning_rate": 0.006,
}
embedding = {"model.embedding_size": 48}
tied = embedding | {"model.tie_weights": True}

print(f"weights of a network for {len(set(''.join(poems)))} characters:")
for name, keys in {"one-hot": {}, "embedding": embedding, "tied": tied}.items():
    untrained = charrnn.train(poems, settings=settings | keys | {"train.steps": 0})
    print(f"  {name:9} {sum(weights.size for weights in untrained.params.values()):7,}")

model = charrnn.train(poems, settings=settings | tied)
recited = [poem for poem in poems if poem == poem[:6] + model.sample(poem[:6], length=18, temperature=0)]
print(f"{len(recited)} of {len(poems)} poems are recited from the first line without a mistake")

samples = model.sample(count=300, length=40, temperature=1, seed=1)
right = [sample for sample in samples if re.fullmatch(r"(\w{5}，\w{5}。){2}", sample)]
new = [poem for poem in dict.fromkeys(right) if poem not in poems]
print(f"{len(right)} of 300 samples have the form, and {len(new)} of them are new:")
print("\n".join(new[:8]))
