"""One seed, one stream of random numbers for each purpose, all drawn on the host.

A sample or an evaluation on the way cannot disturb training, and the same seed means the same numbers on every device.
"""

import numpy as np

PURPOSES = ("weights", "training samples", "generation", "gradcheck", "dropout", "offsets")


def stream(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """Return the generator for `purpose`; `key` (a step, say) parts one purpose into independent streams.

    The weights take the root, `numpy.random.default_rng(seed)`, as min-char-rnn's parity demands; every other
    purpose is a child of it (`numpy.random.SeedSequence`, spawn keys), so none can collide with another.
    """
    return np.random.default_rng(sequence(seed, purpose, *key))


def sequence(seed: int, purpose: str, *key: int) -> np.random.SeedSequence:
    """What a generator for `purpose` is seeded with."""
    return np.random.SeedSequence(seed, spawn_key=() if purpose == "weights" else (PURPOSES.index(purpose), *key))
