"""CUDA kernels: their sources, as files beside this one, and how a recurrence is laid out on a card.

Nothing here needs a GPU or CuPy. `charrnn.backend` compiles and launches; the tests compile for several cards, and run
the same sources on the CPU.
"""

from charrnn.backend.kernels.plan import THREADS, Card, Plan, plan
from charrnn.backend.kernels.source import REALS, has_source, source

__all__ = ["REALS", "THREADS", "Card", "Plan", "has_source", "plan", "source"]
