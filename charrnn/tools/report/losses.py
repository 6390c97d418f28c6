"""Where the network loses: by kind of character, by position in the word and in the line, and its calibration."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from charrnn.text import Part, Vocabulary
from charrnn.tools.report.properties import belongs, last_true, shifted, since
from charrnn.tools.report.reading import Block, HostArray

KINDS = ("lower case", "upper case", "other letter", "digit", "space", "line end", "punctuation", "symbol", "other")
LONGEST_WORD, LONGEST_LINE, LINE_STEP = 12, 80, 5
EDGES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
"""Limits of the bins of probabilities."""
SMALLEST = 1e-3
"""Probabilities below this are left out of the calibration."""


def kind(character: str) -> str:
    """Return which of `KINDS` a character is."""
    category = unicodedata.category(character)
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        return "line end"
    if character.isspace():
        return "space"
    if category in ("Ll", "Lu"):
        return "lower case" if category == "Ll" else "upper case"
    by_class = {"L": "other letter", "M": "other letter", "N": "digit", "P": "punctuation", "S": "symbol"}
    return by_class.get(category[0], "other")


class Calibration:
    """Sums over the bins of `EDGES`: of probabilities, of the cases in which the character came, and of all cases."""

    def __init__(self) -> None:
        bins = len(EDGES) - 1
        self.predicted, self.occurred, self.number = np.zeros(bins), np.zeros(bins), np.zeros(bins)

    def add(self, p: HostArray, came: HostArray) -> None:
        """Add the probabilities (M,) of characters, and whether they came."""
        size = len(EDGES) - 1
        bins = np.clip(np.searchsorted(EDGES, p, "right") - 1, 0, size - 1)
        self.predicted += np.bincount(bins, weights=p, minlength=size)
        self.occurred += np.bincount(bins, weights=came, minlength=size)
        self.number += np.bincount(bins, minlength=size)

    def table(self) -> list[list[float]]:
        """Return mean probability, frequency and number of cases of the bins that have cases."""
        rows = zip(self.predicted, self.occurred, self.number, strict=True)
        return [[round(float(p / n), 4), round(float(o / n), 4), int(n)] for p, o, n in rows if n]

    def error(self) -> float:
        """Return the mean distance between probability and frequency: the expected calibration error."""
        return float(np.abs(self.predicted - self.occurred).sum() / self.number.sum())


class LossStatistics:
    """Sums over the blocks of a reading.

    Args:
        part: the text that is read.
        vocabulary: its characters.
    """

    def __init__(self, part: Part, vocabulary: Vocabulary) -> None:
        self.ids = part.ids
        kinds = np.array([KINDS.index(kind(c)) for c in vocabulary.characters])
        is_letter = belongs(part.ids, vocabulary.characters, str.isalpha)
        starts = np.zeros(len(part.ids), bool)
        starts[part.starts] = True
        starts[:1] = True
        line = starts | shifted(belongs(part.ids, vocabulary.characters, "\n".__eq__))
        in_word = since(is_letter, starts | ~is_letter)  # 1 for the first letter
        in_line = np.arange(len(part.ids)) - last_true(line)
        self.groups = {  # (N,) the group of each character; -1: none
            "kind": kinds[part.ids],
            "word": np.where(is_letter, np.minimum(in_word, LONGEST_WORD) - 1, -1),
            "line": np.minimum(in_line, LONGEST_LINE) // LINE_STEP,
        }
        sizes = {"kind": len(KINDS), "word": LONGEST_WORD, "line": LONGEST_LINE // LINE_STEP + 1}
        self.counts = {name: np.zeros(size) for name, size in sizes.items()}
        self.nats = {name: np.zeros(size) for name, size in sizes.items()}
        self.all_characters, self.likeliest = Calibration(), Calibration()

    def add(self, block: Block) -> None:
        """Add the predictions of a block."""
        targets = block.positions.reshape(-1) + 1
        p = block.probabilities.reshape(len(targets), -1)
        rows, ids = np.arange(len(targets)), self.ids[targets].astype(int)
        nats = -np.log(np.maximum(p[rows, ids], 1e-30)).astype(np.float64)
        for name, groups in self.groups.items():
            group = groups[targets]
            inside = group >= 0
            size = len(self.counts[name])
            self.counts[name] += np.bincount(group[inside], minlength=size)
            self.nats[name] += np.bincount(group[inside], weights=nats[inside], minlength=size)
        row, character = np.nonzero(p >= SMALLEST)
        self.all_characters.add(p[row, character], character == ids[row])
        likeliest = p.argmax(axis=1)
        self.likeliest.add(p[rows, likeliest], likeliest == ids)

    def result(self) -> dict[str, Any]:
        """Return the losses of each group in nats, and the calibration."""
        names = {
            "kind": list(KINDS),
            "word": [str(n + 1) for n in range(LONGEST_WORD - 1)] + [f"{LONGEST_WORD}+"],
            "line": [str(n) for n in range(0, LONGEST_LINE, LINE_STEP)] + [f"{LONGEST_LINE}+"],
        }
        total, count = self.nats["kind"].sum(), self.counts["kind"].sum()
        return {
            "count": int(count),
            "loss": float(total / count),
            **{name: self.table(name, labels) for name, labels in names.items()},
            "calibration": self.all_characters.table(),
            "calibration_error": self.likeliest.error(),
            "accuracy": float(self.likeliest.occurred.sum() / self.likeliest.number.sum()),
        }

    def table(self, name: str, labels: list[str]) -> list[dict[str, Any]]:
        """Return the groups that have characters: their name, mean loss, and shares of characters and of the loss."""
        counts, nats = self.counts[name], self.nats[name]
        return [
            {
                "name": label,
                "loss": round(float(nats[i] / counts[i]), 4),
                "share": round(float(counts[i] / counts.sum()), 4),
                "share_of_loss": round(float(nats[i] / nats.sum()), 4) if nats.sum() else 0.0,
            }
            for i, label in enumerate(labels)
            if counts[i]
        ]
