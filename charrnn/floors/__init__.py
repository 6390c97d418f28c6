"""What counting alone predicts of a split: the losses that a network has to be measured against."""

from charrnn.floors.result import Floors, Split, split_of
from charrnn.floors.words import announcement, verdict

__all__ = ["Floors", "Split", "announcement", "split_of", "verdict"]
