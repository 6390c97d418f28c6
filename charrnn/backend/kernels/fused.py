"""Kernels that replace functions of other rooms by one or two launches. Each is called like its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from charrnn.backend.base import Array, Backend
from charrnn.backend.kernels import REALS, Card, dtype_name, source
from charrnn.backend.kernels.loader import NULL, OPTIONS

HostArray = np.ndarray[Any, Any]
FUNCTIONS = ("cross_entropy", "apply_update", "draw_masks")
"""The functions that kernels replace; `Fused` has a method for each."""
MASKS = {"bool": "unsigned char"} | {name: real for name, (real, _) in REALS.items()}
"""dtype of a mask -> its name in C."""
TILE_BYTES = 32
"""Bytes of random numbers that a thread of `masks.cu` has in shared memory."""
BLOCKS_EACH = 8
"""Most blocks of `masks.cu` for each multiprocessor."""


class Fused:
    """One method for each function that kernels replace, with the kernels that were compiled so far."""

    def __init__(self, cupy: Any, card: Card) -> None:
        self.cupy, self.threads, self.blocks = cupy, card.threads, card.multiprocessors
        self.compiled: dict[Any, Any] = {}

    def function(self, name: str) -> Callable[..., Any] | None:
        """Return the method that replaces the function `name`, if there is one."""
        return getattr(self, name) if name in FUNCTIONS else None

    def kernel(self, file: str, name: str, dtype: str, **definitions: int | str) -> Any:
        """Return a kernel of a source file, compiled once."""
        key = (file, name, dtype, *definitions.items())
        if key not in self.compiled:
            code = source(file, dtype, {"THREADS": self.threads, **definitions})
            self.compiled[key] = self.cupy.RawModule(code=code, options=OPTIONS).get_function(name)
        return self.compiled[key]

    def cross_entropy(self, logits: Array, targets: Array, scale: float, *, backend: Backend) -> Array:
        """Replace `charrnn.model.bptt.cross_entropy_and_grad`: one launch, a block for each row."""
        del backend
        (N, V), dtype = logits.shape, dtype_name(logits.dtype)
        nats, kernel = self.cupy.empty(N, dtype), self.kernel("loss.cu", "cross_entropy", dtype)
        arguments = (np.int32(V), logits.dtype.type(scale), targets, logits, nats)
        kernel((N,), (self.threads,), arguments, shared_mem=self.threads * REALS[dtype][1])
        return nats

    def draw_masks(
        self, key: HostArray, steps: range, numbers: range, threshold: int, kept: Any, *, out: Array, backend: Backend
    ) -> None:
        """Replace `charrnn.model.dropout.draw_masks`: one launch, the same bits."""
        del backend
        rows, dtype = len(steps) * len(numbers), dtype_name(kept.dtype)
        size, element = out.size // rows, np.uint8 if dtype == "bool" else kept.dtype.type
        sizes, values = (np.uint64(size), np.int32(rows), np.int32(len(numbers))), (element(kept), element(not kept))
        place = (*key, np.uint64(steps[0]), np.int32(numbers[0]), np.int32(threshold))
        blocks = min(rows * -(-size // (16 * self.threads)), BLOCKS_EACH * self.blocks)
        kernel = self.kernel("masks.cu", "draw_masks", "float32", MASK=MASKS[dtype])
        kernel((blocks,), (self.threads,), (*sizes, *place, *values, out), shared_mem=TILE_BYTES * self.threads)

    def apply_update(
        self,
        arrays: Any,
        grad: Array,
        loss: Array,
        inputs: Any,
        *,
        trace: Array,
        rule: Any,
        config: Any,
        backend: Backend,
    ) -> None:
        """Replace `charrnn.optim.apply_update`: one launch for the norm, and one for everything that depends on it.

        A prototype with `cupy.fuse` for Adam made four launches (norm, guard, vectors, states) and took 51 µs of
        Python's time; these two took 31, on a device that does nothing.
        """
        del backend
        P, real, guard, dtype = len(grad), grad.dtype.type, arrays.guard, dtype_name(grad.dtype)
        blocks, shared = min(self.blocks, -(-P // self.threads)), self.threads * REALS[dtype][1]
        kernel, parts = self.kernel, self.cupy.empty(blocks, dtype)
        rules = {"RULE": type(rule).__name__, "LIMIT": guard.limit}
        square_sums, update = (kernel("update.cu", name, dtype, **rules) for name in ("square_sums", "apply_update"))
        square_sums((blocks,), (self.threads,), (np.int32(P), grad, parts), shared_mem=shared)

        beta1, beta2, share = getattr(rule, "beta1", 0.0), getattr(rule, "beta2", 0.0), inputs.average_share
        corrections = (1 / (1 - beta1**inputs.number), (1 - beta2**inputs.number) ** -0.5)
        clips, betas = (config.clip_norm, config.clip_value), (rule.eps, 1 - beta1, 1 - beta2, *corrections)
        numbers = (1 / inputs.characters, inputs.learning_rate, *clips, config.weight_decay, share, *betas)
        states = [array for pair in arrays.states for array in pair]
        sizes = (P, states[0].size if states else 0, blocks)
        judged = self.cupy.empty(2, dtype)
        judge = (loss, parts, guard.scale, guard.bad, judged[:1], judged[1:], trace)
        slots, average = [*arrays.slots.values(), NULL], arrays.average if share else NULL
        vectors = (grad, arrays.vector, *slots[:2], average, NULL if arrays.decayed is None else arrays.decayed)
        arguments = (*map(np.int32, sizes), *map(real, numbers), *judge, *vectors, *(states + [NULL] * 4)[:4])
        update((blocks,), (self.threads,), arguments, shared_mem=shared)
        guard.scale, guard.bad = judged[0], judged[1]
