"""CUDA kernels: sources, the layout of a recurrence on a card, and what compiles and launches (`loader`, `fused`).

The names exported here need neither a GPU nor CuPy: tests compile the sources for several cards, and run them on a CPU.
"""

from charrnn.backend.kernels.plan import THREADS, Card, Plan, loop_cost, plan
from charrnn.backend.kernels.source import REALS, dtype_name, has_source, source

__all__ = ["REALS", "THREADS", "Card", "Plan", "dtype_name", "has_source", "loop_cost", "plan", "source"]
