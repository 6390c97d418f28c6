"""What steps need besides characters: where states are dropped, and the masks of locked dropout.

Both are functions of the step, made on the host and brought to the device between steps, for several of them at once
where they are small (recurrent dropout of a large network is not: a mask has as many elements as W_hh). Dropout is
drawn for the whole batch from (seed, step, layer) alone, so any number of workers, an interrupted run and every device
see the same, and nothing about it is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charrnn import seeds
from charrnn.backend import Array
from charrnn.config import Config, ModelConfig
from charrnn.model import Network
from charrnn.text import Streams

AHEAD, LONGEST = 2**18, 100
"""Elements of all masks that are made together, and most steps: enough for a device, little enough for a cache."""

HostArray = np.ndarray[Any, np.dtype[Any]]


class Mask(NamedTuple):
    """The masks of one chunk, for a slice of the batch; None for what is not masked.

    Attributes:
        keep: (T, B), 0 where a stream's state is dropped before reading its character.
        characters: (B, V) booleans, true for a character that a stream does not see.
        outputs: (L, B, H), 0 or 1 / (1 - p) for each output of a layer.
        connections: (L, H, G·H), the same for each recurrent weight.
    """

    keep: Array | None
    characters: Array | None
    outputs: Array | None
    connections: Array | None


Shapes = dict[str, tuple[tuple[int, ...], str]]


def shapes_of(model: ModelConfig, network: Network, T: int, B: int) -> Shapes:
    """Shape and dtype of each mask of a step."""
    H, L = model.hidden_size, model.num_layers
    shapes: Shapes = {"keep": ((T, B), model.dtype)}
    shapes |= {"characters": ((B, network.vocab_size), "bool")} if model.input_dropout else {}
    shapes |= {"outputs": ((L, B, H), model.dtype)} if model.dropout else {}
    shapes |= {"connections": ((L, H, network.cell.GATES * H), model.dtype)} if model.recurrent_dropout else {}
    return shapes


def ahead(shapes: Shapes) -> int:
    """For how many steps masks of these shapes are made together."""
    return max(1, min(LONGEST, AHEAD // sum(int(np.prod(shape)) for shape, _ in shapes.values())))


class Masks:
    """The masks of a run, on the device for some steps; in memory that helper processes see."""

    def __init__(self, config: Config, network: Network, streams: Streams) -> None:
        model, backend, B = config.model, network.backend, streams.ids.shape[1]
        self.model, self.backend, self.streams = model, backend, streams
        self.key = seeds.sequence(config.train.seed, "dropout").generate_state(2, np.uint64)
        self.active = model.has_dropout
        shapes = shapes_of(model, network, streams.seq_length, B)
        self.ahead = ahead(shapes)
        self.arrays = {n: backend.shared_zeros((self.ahead, *shape), dtype) for n, (shape, dtype) in shapes.items()}
        self.block = -1

    def reach(self, step: int) -> None:
        """See to it that the masks of update number `step` + 1 are on the device."""
        if step // self.ahead == self.block:
            return
        self.block = step // self.ahead
        steps = range(self.block * self.ahead, (self.block + 1) * self.ahead)
        for name, array in self.arrays.items():
            if name == "keep" and not any(self.streams.resets(step) for step in steps):
                continue
            made = [getattr(self, name)(step) for step in steps]
            array[...] = self.backend.resident(np.stack(made) if len(made) > 1 else made[0][None, ...])

    def of(self, step: int, columns: slice) -> Mask:
        """The masks of update number `step` + 1, which `reach` has reached, for the streams in `columns`."""
        index, arrays = step % self.ahead, self.arrays
        return Mask(
            arrays["keep"][index, :, columns] if self.streams.resets(step) else None,
            arrays["characters"][index, columns, :] if "characters" in arrays else None,
            arrays["outputs"][index, :, columns, :] if "outputs" in arrays else None,
            arrays["connections"][index, ...] if "connections" in arrays else None,
        )

    def keep(self, step: int) -> HostArray:
        """(T, B) of 0 and 1."""
        return self.streams.keep(step).astype(self.model.dtype)

    def characters(self, step: int) -> HostArray:
        """(B, V) booleans."""
        return ~self.kept(self.model.input_dropout, step, 0, self.arrays["characters"].shape[1:])

    def outputs(self, step: int) -> HostArray:
        """(L, B, H): each layer has numbers of its own."""
        p, (L, *shape) = self.model.dropout, self.arrays["outputs"].shape[1:]
        return self.scaled([self.kept(p, step, 2 * layer + 1, shape) for layer in range(L)], p)

    def connections(self, step: int) -> HostArray:
        """(L, H, G·H): the same."""
        p, (L, *shape) = self.model.recurrent_dropout, self.arrays["connections"].shape[1:]
        return self.scaled([self.kept(p, step, 2 * layer + 2, shape) for layer in range(L)], p)

    def scaled(self, kept: list[HostArray], p: float) -> HostArray:
        """Each layer's booleans as 0 and 1 / (1 - p), p being that of `kept`."""
        scale = np.array(65536 / (65536 - drawn(p)), self.model.dtype)
        result = np.empty((len(kept), *kept[0].shape), self.model.dtype)
        for row, flags in zip(result, kept, strict=True):
            np.multiply(flags, scale, out=row)
        return result

    def kept(self, p: float, step: int, layer: int, shape: Sequence[int]) -> HostArray:
        """Booleans, true with probability 1 - p, from a generator (Philox; Salmon et al., 2011) at (step, layer).

        Each takes 16 random bits, so that p is rounded to a 65,536th.
        """
        counter, count = np.array([0, 0, layer, step], np.uint64), int(np.prod(shape))
        words = np.random.Philox(counter=counter, key=self.key).random_raw(-(-count // 4)).astype("<u8")
        return (words.view("<u2")[:count] >= drawn(p)).reshape(shape)


def drawn(p: float) -> int:
    """How many of the 65,536 values of 16 random bits drop something; never all of them."""
    return min(65535, round(p * 65536))
