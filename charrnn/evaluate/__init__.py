"""What counting alone predicts of a split: the losses that a network has to be measured against."""

from charrnn.floors.process import Counting
from charrnn.floors.result import Floors, Split, split_of
from charrnn.floors.words import announcement, verdict

__all__ = ["Counting", "Floors", "Split", "announcement", "split_of", "verdict"]
