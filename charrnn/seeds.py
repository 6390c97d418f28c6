"""Random numbers: from one seed, an independent generator for each purpose. All are drawn on the host.

So a sample or an evaluation during training does not change training, and a seed gives the same numbers on every
device.
"""

import numpy as np

PURPOSES = ("weights", "training samples", "generation", "gradcheck", "dropout", "offsets", "candidates")


def stream(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """Return the generator for `purpose`. With a `key`, such as a step, one purpose has independent generators.

    The weights have the root generator, `numpy.random.default_rng(seed)`, as in min-char-rnn. Every other purpose has
    a child of it (`numpy.random.SeedSequence` with a spawn key), so that no two are alike.
    """
    return np.random.default_rng(sequence(seed, purpose, *key))


def sequence(seed: int, purpose: str, *key: int) -> np.random.SeedSequence:
    """Return the seed sequence of the generator for `purpose`."""
    return np.random.SeedSequence(seed, spawn_key=() if purpose == "weights" else (PURPOSES.index(purpose), *key))
