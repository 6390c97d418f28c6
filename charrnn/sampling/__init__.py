"""Sampling: temperature, top-k, top-p; prompts, stop strings, text in pieces."""

from charrnn.sampling.distribution import Settings, choose
from charrnn.sampling.generate import generate, pieces, with_start_symbols

__all__ = ["Settings", "choose", "generate", "pieces", "with_start_symbols"]
