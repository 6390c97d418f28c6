"""The recurrence kernels on a GPU: compiled once for a shape, and launched instead of a loop of operations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from charrnn.backend.base import Array, Backend, Series
from charrnn.backend.kernels import Card, Plan, dtype_name, loop_cost, plan, source

OPTIONS = ("-std=c++17",)
NULL = np.uint64(0)
"""A null pointer, as an argument of a kernel."""
MOST_KERNELS = 32
"""Shapes whose kernels are kept: of more, those that were compiled first are dropped."""


class Recurrence:
    """`recurrence_forward` and `recurrence_backward` of a cell: one launch each, or the cell's own loop if none fits.

    For tests, `residence` limits the choices of `plan`, and `definitions` are macros besides those of the layout.
    """

    def __init__(
        self,
        cupy: Any,
        cell: Any,
        card: Card,
        *,
        residence: tuple[bool, ...] = (True, False),
        definitions: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.cupy, self.cell, self.card = cupy, cell, card
        self.residence, self.definitions = residence, definitions
        self.kernels: dict[tuple[int, int, str], Kernel | None] = {}

    def layout(self, B: int, H: int, itemsize: int) -> Plan | None:
        """Return how blocks share B streams of H units; None if the cell's own loop runs."""
        loop = loop_cost(self.cell.OPERATIONS, self.cell.GATES, B, H, self.card)
        return plan(self.cell.GATES, B, H, itemsize, self.card, self.residence, loop=loop)

    def reason(self, B: int, H: int, itemsize: int) -> str:
        """Say why there is no layout for B streams of H units."""
        if plan(self.cell.GATES, B, H, itemsize, self.card, self.residence):
            return f"for {B} streams of {H} units a product of cuBLAS at each step is estimated to be faster"
        return f"{H} hidden units are too many for a kernel on this card"

    def compile(self, B: int, H: int, dtype: str) -> Kernel | None:
        """Return the kernels for B streams of H units; None if no layout fits."""
        layout = self.layout(B, H, np.dtype(dtype).itemsize)
        if layout is None:
            return None
        code = source(f"{self.cell.NAME}.cu", dtype, {**layout.definitions, **self.definitions})
        kernel = Kernel(self.cupy, self.cell, code, layout, (B, H), dtype)
        return kernel if kernel.fits else None

    def kernel(self, tape: Any) -> Kernel | None:
        """Return the kernels for a tape, compiled once."""
        (_, B, H), dtype = tape.hidden.shape, dtype_name(tape.hidden.dtype)
        if (B, H, dtype) not in self.kernels:
            if len(self.kernels) == MOST_KERNELS:
                del self.kernels[next(iter(self.kernels))]
            self.kernels[B, H, dtype] = self.compile(B, H, dtype)
        return self.kernels[B, H, dtype]

    def recurrence_forward(self, tape: Any, keep: Array | None, *, backend: Backend) -> None:
        """Run the forward pass over a tape: see the cells."""
        kernel = self.kernel(tape)
        if kernel is None:
            self.cell.recurrence_forward(tape, keep, backend=backend)
        else:
            kernel.launch("recurrence_forward", tape, tape.by_W.matrix, keep, None)

    def recurrence_backward(self, tape: Any, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
        """Run the backward pass over a tape: see the cells."""
        kernel = self.kernel(tape)
        if kernel is None:
            self.cell.recurrence_backward(tape, dhidden, keep, backend=backend)
        else:
            kernel.launch("recurrence_backward", tape, tape.by_W_T.matrix.T, keep, dhidden.whole)


class Kernel:
    """Both passes of a cell for one shape (B, H), with their scratch memory, so they must not run concurrently."""

    def __init__(self, cupy: Any, cell: Any, code: str, layout: Plan, shape: tuple[int, int], dtype: str) -> None:
        module = cupy.RawModule(code=code, options=OPTIONS, enable_cooperative_groups=True)
        self.cupy, self.cell, self.layout = cupy, cell, layout
        self.functions = {name: module.get_function(name) for name in ("recurrence_forward", "recurrence_backward")}
        for function in self.functions.values():
            function.max_dynamic_shared_size_bytes = layout.shared
        self.counters = cupy.zeros(layout.stream_tiles * 32, np.uint32)
        self.carry = cupy.empty(shape, dtype)

    @property
    def fits(self) -> bool:
        """Whether each multiprocessor has room for a block of the compiled kernels, as the layout assumes."""
        room, layout = self.cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor, self.layout
        return all(room(f.kernel.ptr, layout.threads, layout.shared) >= 1 for f in self.functions.values())

    def launch(self, name: str, tape: Any, W: Array, keep: Array | None, dhidden: Array | None) -> None:
        """Launch one pass over the tape. All blocks run at once, or the launch fails: no block waits forever."""
        (T, B, _), (_, _, H), layout = tape.z.shape, tape.hidden.shape, self.layout
        sizes = (np.int32(n) for n in (T, B, H, layout.stream_tiles))
        bias = next((tape.bias[gate, 0, :] for gate in self.cell.BIASES.values()), NULL)
        cell_state = tape.cell_state if "cell_state" in self.cell.STATES else NULL
        keep = NULL if keep is None else self.cupy.ascontiguousarray(keep)
        states = (tape.z, tape.z_hidden, tape.hidden, cell_state, NULL if dhidden is None else dhidden)
        self.counters.fill(0)
        arguments = (*sizes, W, bias, keep, *states, self.carry, self.counters)
        self.functions[name]((layout.blocks,), (layout.threads,), arguments, shared_mem=layout.shared)
