"""The other process of `process.py`: four arrays on standard input, losses as JSON on standard output."""

from __future__ import annotations

import json
import sys

import numpy as np

from charrnn.evaluation.ngram import losses
from charrnn.text import Part


def main() -> None:
    """Count what comes: ids and document starts of what is counted, then of what is predicted."""
    training, starts, validation, more_starts = (np.load(sys.stdin.buffer) for _ in range(4))
    parts = Part(training, starts), Part(validation, more_starts)
    sys.stdout.write(json.dumps(losses(*parts, int(sys.argv[1]))))


if __name__ == "__main__":
    main()
