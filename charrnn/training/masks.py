"""The masks of training steps: where states are reset, what dropout drops, and which characters the softmax has.

All masks are functions of the run's seed and the step, drawn for the whole batch. So any number of workers, a resumed
run and every device use the same ones, and no checkpoint holds them. They are made between steps, for several steps at
a time where they are small: on the host and copied to the device, or by a kernel that draws the same bits.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from charrnn import seeds
from charrnn.config import Config, ModelConfig
from charrnn.model import Network
from charrnn.model.dropout import (
    INPUT_NUMBERS,
    draw_masks,
    drop_threshold,
    kept_scale,
    output_numbers,
    recurrent_numbers,
)
from charrnn.model.sampled_softmax import Candidates, draw_candidates, number_of_candidates
from charrnn.text import Streams

ELEMENTS, MOST_STEPS = 2**18, 100
"""How many elements, and steps, of masks are made at a time: enough to keep a device busy, few enough for a cache."""

RESETS = ("keep", "begins")
"""Masks that only the steps with a reset have."""
CANDIDATES = ("ids", "shift", "targets")
"""The fields of `Candidates`: together they are one field of `Chunk`."""

Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Field of `Chunk` -> shape and dtype."""


def mask_shapes(model: ModelConfig, network: Network, T: int, B: int, K: int) -> Shapes:
    """Return the shape and dtype of each mask of a step, and of the fields of its K candidates."""
    H, L = model.hidden_size, model.num_layers
    shapes: Shapes = {"keep": ((T, B), model.dtype)}
    shapes |= {"begins": ((T, B), "bool")} if model.start_symbol else {}
    shapes |= {"input_mask": ((B, network.vocab_size), "bool")} if model.input_dropout else {}
    shapes |= {"output_masks": ((L, B, H), model.dtype)} if model.dropout else {}
    shapes |= {"recurrent_masks": ((L, H, network.cell.GATES * H), model.dtype)} if model.recurrent_dropout else {}
    shapes |= {"ids": ((K,), "int64"), "shift": ((K,), model.dtype), "targets": ((T, B), "int64")} if K else {}
    return shapes


def dropout_kinds(model: ModelConfig) -> dict[str, tuple[range, int, Any]]:
    """Return the kinds of dropout that are on: field of `Chunk` -> arguments of `draw_masks`."""
    L, kinds = model.num_layers, dict[str, tuple[range, int, Any]]()
    rates = {
        "input_mask": (model.input_dropout, INPUT_NUMBERS),
        "output_masks": (model.dropout, output_numbers(L)),
        "recurrent_masks": (model.recurrent_dropout, recurrent_numbers(L)),
    }
    for name, (p, numbers) in rates.items():
        if p:
            threshold = drop_threshold(p)
            kept = np.False_ if name == "input_mask" else kept_scale(threshold, model.dtype)
            kinds[name] = numbers, threshold, kept
    return kinds


def steps_at_once(shapes: Shapes) -> int:
    """Return for how many steps masks of these shapes are made at a time."""
    return max(1, min(MOST_STEPS, ELEMENTS // sum(int(np.prod(shape)) for shape, _ in shapes.values())))


class Masks:
    """The masks of a run, on the device for some steps at a time, in memory that worker processes share.

    Attributes:
        has_dropout: whether there is dropout of any kind.
        candidates: how many characters the softmax has, if it is sampled; else 0.
    """

    def __init__(self, config: Config, network: Network, streams: Streams) -> None:
        model, backend, T, B = config.model, network.backend, streams.seq_length, streams.ids.shape[1]
        self.model, self.backend, self.streams = model, backend, streams
        self.seed, self.vocab_size = config.train.seed, network.vocab_size
        self.candidates = number_of_candidates(config.train.sampled_softmax, T * B, network.vocab_size)
        self.key = seeds.sequence(config.train.seed, "dropout").generate_state(2, np.uint64)
        self.has_dropout, self.kinds = model.has_dropout, dropout_kinds(model)
        self.shapes = mask_shapes(model, network, T, B, self.candidates)
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
        draw = self.backend.fused("draw_masks", draw_masks)
        for name, (numbers, threshold, kept) in self.kinds.items():
            draw(self.key, steps, numbers, threshold, kept, out=self.arrays[name], backend=self.backend)
        if any(self.streams.resets(step) for step in steps):
            for name in RESETS:
                if name in self.arrays:
                    with self.backend.written_on_host(self.arrays[name], self.shapes[name][1]) as masks:
                        for mask, step in zip(masks, steps, strict=True):
                            mask[...] = self.streams.begins(step) if name == "begins" else self.streams.keep(step)
        if self.candidates:
            self.draw_candidates(steps)

    def draw_candidates(self, steps: range) -> None:
        """Draw the candidates of these steps."""
        with ExitStack() as stack:
            fields = [
                stack.enter_context(self.backend.written_on_host(self.arrays[name], self.shapes[name][1]))
                for name in CANDIDATES
            ]
            for i, step in enumerate(steps):
                _, p = self.streams.chunk(step)
                targets = self.streams.ids[p + 1 : p + 1 + self.streams.seq_length]
                rng = seeds.stream(self.seed, "candidates", step)
                drawn = draw_candidates(rng, targets, self.vocab_size, self.candidates)
                for field, array in zip(fields, drawn, strict=True):
                    field[i] = array

    def of(self, step: int, columns: slice) -> dict[str, Any]:
        """Return the masks of update number `step` + 1 for the streams in `columns`, as fields of `Chunk`.

        `prepare` must have made them.
        """
        index, masks = step % self.count, dict[str, Any]()
        if self.candidates:
            ids, shift, targets = (self.arrays[name][index, ...] for name in CANDIDATES)
            xp, indices = self.backend.xp, self.backend.indices
            masks["candidates"] = Candidates(indices(ids), shift, xp.reshape(indices(targets[:, columns]), (-1,)))
        for name, array in self.arrays.items():
            if name in CANDIDATES or (name in RESETS and not self.streams.resets(step)):
                continue
            if name == "input_mask":  # (B, V)
                masks[name] = array[index, columns, :]
            elif name == "recurrent_masks":  # (L, H, G·H), for all streams
                masks[name] = array[index, ...]
            else:  # (T, B); (L, B, H)
                masks[name] = array[index, :, columns, ...]
        return masks
