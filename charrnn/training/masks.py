"""The masks of training steps: where states are reset, and what dropout drops.

All masks are functions of the run's seed and the step, drawn for the whole batch. So any number of workers, a resumed
run and every device use the same ones, and no checkpoint holds them. They are made on the host, for several steps at a
time where they are small, and copied to the device between steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn import seeds
from charrnn.backend import Array
from charrnn.config import Config, ModelConfig
from charrnn.model import Network
from charrnn.model.dropout import draw_input_mask, draw_output_masks, draw_recurrent_masks
from charrnn.text import Streams

ELEMENTS, MOST_STEPS = 2**18, 100
"""How many elements, and steps, of masks are made at a time: enough to keep a device busy, few enough for a cache."""

RESETS = ("keep", "begins")
"""Masks that only the steps with a reset have."""

HostArray = np.ndarray[Any, np.dtype[Any]]
Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Field of `Chunk` -> shape and dtype."""


def mask_shapes(model: ModelConfig, network: Network, T: int, B: int) -> Shapes:
    """Return the shape and dtype of each mask of a step."""
    H, L = model.hidden_size, model.num_layers
    shapes: Shapes = {"keep": ((T, B), model.dtype)}
    shapes |= {"begins": ((T, B), "bool")} if model.start_symbol else {}
    shapes |= {"input_mask": ((B, network.vocab_size), "bool")} if model.input_dropout else {}
    shapes |= {"output_masks": ((L, B, H), model.dtype)} if model.dropout else {}
    shapes |= {"recurrent_masks": ((L, H, network.cell.GATES * H), model.dtype)} if model.recurrent_dropout else {}
    return shapes


def steps_at_once(shapes: Shapes) -> int:
    """Return for how many steps masks of these shapes are made at a time."""
    return max(1, min(MOST_STEPS, ELEMENTS // sum(int(np.prod(shape)) for shape, _ in shapes.values())))


class Masks:
    """The masks of a run, on the device for some steps at a time, in memory that worker processes share.

    Attributes:
        has_dropout: whether there is dropout of any kind.
    """

    def __init__(self, config: Config, network: Network, streams: Streams) -> None:
        model, backend, B = config.model, network.backend, streams.ids.shape[1]
        self.model, self.backend, self.streams = model, backend, streams
        self.key = seeds.sequence(config.train.seed, "dropout").generate_state(2, np.uint64)
        self.has_dropout = model.has_dropout
        self.shapes = mask_shapes(model, network, streams.seq_length, B)
        self.count = steps_at_once(self.shapes)
        self.arrays = {
            n: backend.shared_zeros((self.count, *shape), dtype) for n, (shape, dtype) in self.shapes.items()
        }
        self.block = -1

    def prepare(self, step: int) -> None:
        """Make the masks of update number `step` + 1, and of those after it, unless they are on the device."""
        if step // self.count == self.block:
            return
        self.block = step // self.count
        steps = range(self.block * self.count, (self.block + 1) * self.count)
        for name, array in self.arrays.items():
            if name in RESETS and not any(self.streams.resets(step) for step in steps):
                continue
            masks = [self.drawn(name, step) for step in steps]
            array[...] = self.backend.resident(np.stack(masks) if len(masks) > 1 else masks[0][None, ...])

    def drawn(self, name: str, step: int) -> HostArray:
        """Return one mask of update number `step` + 1 for the whole batch."""
        model, (shape, dtype) = self.model, self.shapes[name]
        if name == "input_mask":
            return draw_input_mask(self.key, step, model.input_dropout, shape)
        if name == "output_masks":
            return draw_output_masks(self.key, step, model.dropout, shape, dtype)
        if name == "recurrent_masks":
            return draw_recurrent_masks(self.key, step, model.recurrent_dropout, shape, dtype)
        mask = self.streams.begins(step) if name == "begins" else self.streams.keep(step)
        return mask.astype(dtype)

    def of(self, step: int, columns: slice) -> dict[str, Array]:
        """Return the masks of update number `step` + 1 for the streams in `columns`, as fields of `Chunk`.

        `prepare` must have made them.
        """
        index, masks = step % self.count, dict[str, Array]()
        for name, array in self.arrays.items():
            if name in RESETS and not self.streams.resets(step):
                continue
            if name == "input_mask":  # (B, V)
                masks[name] = array[index, columns, :]
            elif name == "recurrent_masks":  # (L, H, G·H), for all streams
                masks[name] = array[index, ...]
            else:  # (T, B); (L, B, H)
                masks[name] = array[index, :, columns, ...]
        return masks
