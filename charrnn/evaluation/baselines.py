"""What baselines are counted of, and what they are, as values."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from charrnn.text import Corpus, Part

VERSION = 1
"""Of the method: another one gives other numbers, and must not find those of this one."""
COUNTED = 10_000_000
"""Most training characters that are counted, the last before the split, so that memory is bounded: 0.2 GB for English
or code, 0.7 GB where hardly six characters come twice."""
PREDICTED = 1_000_000
"""Most validation characters that are predicted, the first; by default no more are evaluated while training."""


@dataclass(frozen=True)
class Split:
    """What baselines are a function of.

    Attributes:
        sha256: of the corpus.
        V: distinct characters.
        counted: the training characters that are counted.
        predicted: the validation characters that are predicted.
        training: how many training characters there are.
        evaluated: how many validation characters are evaluated while training.
    """

    sha256: str
    V: int
    counted: Part
    predicted: Part
    training: int
    evaluated: int

    @property
    def key(self) -> str:
        """Names the baselines of this split: a hash of whatever they depend on."""
        values = (VERSION, self.sha256, self.V, self.training, len(self.counted.ids), len(self.predicted.ids))
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def split_of(corpus: Corpus, val_fraction: float, evaluated: Part | None) -> Split | None:
    """The split of a run; None without one.

    Args:
        corpus: the text.
        val_fraction: how much of its end is held out.
        evaluated: what is evaluated of that while training, from its first character on.
    """
    if evaluated is None:
        return None
    cut = len(corpus.split(val_fraction)[0].ids)
    predicted = evaluated.head(PREDICTED)
    counted = corpus.part(max(0, cut - COUNTED), cut)
    return Split(corpus.sha256, len(corpus.vocabulary), counted, predicted, cut, len(evaluated.ids))


@dataclass(frozen=True)
class Baselines:
    """The losses of n-grams on a split, and of how much of it.

    Attributes:
        losses: nats/char of the unigram, the 2-gram, ..., to six digits.
        counted: training characters that were counted, the last before the split.
        training: of so many.
        predicted: validation characters that were predicted, all but the first of the split.
        evaluated: how many are predicted while training.
    """

    losses: tuple[float, ...]
    counted: int
    training: int
    predicted: int
    evaluated: int

    @classmethod
    def of(cls, split: Split, losses: object) -> Baselines:
        """Those of a split from what was read somewhere. Raises `ValueError` for what cannot be losses."""
        if not isinstance(losses, list) or not losses:
            raise ValueError("not a list of losses")
        if not all(isinstance(loss, float) and math.isfinite(loss) and loss > -1e-6 for loss in losses):
            raise ValueError("not losses")
        rounded = tuple(round(loss, 6) + 0.0 for loss in losses)  # + 0.0: no -0.0
        predicted, evaluated = len(split.predicted.ids) - 1, split.evaluated - 1
        return cls(rounded, len(split.counted.ids), split.training, predicted, evaluated)

    @property
    def best(self) -> int:
        """The order of the n-gram with the lowest loss; of equal ones the lowest."""
        return 1 + self.losses.index(min(self.losses))

    def of_order(self, n: int) -> float:
        """The loss of the n-gram, nats/char."""
        return self.losses[n - 1]

    def as_json(self) -> dict[str, Any]:
        """What `baselines.json` holds."""
        return {
            "method": "witten-bell",
            "protocol": "carried",
            "nats_per_char": {str(n): loss for n, loss in enumerate(self.losses, 1)},
            "best": {"order": self.best, "nats_per_char": self.of_order(self.best)},
            "counted": self.counted,
            "training": self.training,
            "predicted": self.predicted,
            "evaluated": self.evaluated,
        }
