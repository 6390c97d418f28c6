"""The recurrence kernels on a GPU: compiled once for a shape, and launched instead of a loop of operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    `trusted(recurrence, B, H, dtype)` returns whether the kernels may be used. `gave_up` (1,) is the flag of a barrier
    that never opens; without it the object has one of its own.
    """

    def __init__(
        self,
        cupy: Any,
        cell: Any,
        card: Card,
        *,
        residence: tuple[bool, ...] = (True, False),
        definitions: Mapping[str, int | str] = MappingProxyType({}),
        trusted: Callable[[Recurrence, int, int, str], bool] = lambda *_: True,
        gave_up: Array | None = None,
    ) -> None:
        self.cupy, self.cell, self.card = cupy, cell, card
        self.residence, self.definitions, self.trusted = residence, definitions, trusted
        self.kernels: dict[tuple[int, int, str], Kernel | None] = {}
        self.gave_up = cupy.zeros(1, np.uint32) if gave_up is None else gave_up
        self.has_waited = False  # whether a launch with a barrier came after the flag was last read

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
        """Return the kernels for B streams of H units; None if no layout fits, or they are not trusted."""
        layout = self.layout(B, H, np.dtype(dtype).itemsize)
        if layout is None or not self.trusted(self, B, H, dtype):
            return None
        code = source(f"{self.cell.NAME}.cu", dtype, {**layout.definitions, **self.definitions})
        kernel = Kernel(self.cupy, self.cell, code, layout, self.card)
        return kernel if kernel.fits else None

    def kernel(self, tape: Any) -> Kernel | None:
        """Return the kernels for a tape."""
        _, B, H = tape.hidden.shape
        return self.kernel_for(B, H, dtype_name(tape.hidden.dtype))

    def kernel_for(self, B: int, H: int, dtype: str) -> Kernel | None:
        """Return the kernels for B streams of H units, compiled once."""
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
            self.has_waited |= tape.z.shape[0] > 1
            kernel.launch("recurrence_forward", tape, tape.by_W.matrix, keep, None, self.gave_up)

    def recurrence_backward(self, tape: Any, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
        """Run the backward pass over a tape: see the cells."""
        kernel = self.kernel(tape)
        if kernel is None:
            self.cell.recurrence_backward(tape, dhidden, keep, backend=backend)
        else:
            self.has_waited |= tape.z.shape[0] > 1
            kernel.launch("recurrence_backward", tape, tape.by_W_T.matrix.T, keep, dhidden.whole, self.gave_up)


class Kernel:
    """Both passes of a cell for one layout. Threads may share it: a launch has scratch memory of its own."""

    def __init__(self, cupy: Any, cell: Any, code: str, layout: Plan, card: Card) -> None:
        module = cupy.RawModule(code=code, options=OPTIONS, enable_cooperative_groups=True)
        self.cupy, self.cell, self.layout, self.card = cupy, cell, layout, card
        self.functions = {name: module.get_function(name) for name in ("recurrence_forward", "recurrence_backward")}
        for function in self.functions.values():
            # Not the layout's size: CuPy keeps functions by their text, so layouts of other sizes may have the same.
            function.max_dynamic_shared_size_bytes = card.shared

    @property
    def fits(self) -> bool:
        """Whether the card can run all blocks at once. Of more blocks CuPy would launch only some, with a warning."""
        room, layout = self.cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor, self.layout
        most = min(room(f.kernel.ptr, layout.threads, layout.shared) for f in self.functions.values())
        return layout.blocks <= most * self.card.multiprocessors

    def launch(self, name: str, tape: Any, W: Array, keep: Array | None, dhidden: Array | None, gave_up: Array) -> None:
        """Launch one pass over the tape. The kernel `fits`, so all blocks run at once: they wait for each other."""
        (T, B, _), H, layout = tape.z.shape, tape.hidden.shape[2], self.layout
        sizes = (np.int32(n) for n in (T, B, H, layout.stream_tiles))
        bias = next((tape.bias[gate, 0, :] for gate in self.cell.BIASES.values()), NULL)
        cell_state = tape.cell_state if "cell_state" in self.cell.STATES else NULL
        keep = NULL if keep is None else self.cupy.ascontiguousarray(keep)
        states = (tape.z, tape.z_hidden, tape.hidden, cell_state, NULL if dhidden is None else dhidden)
        carry, counters = self.cupy.empty((B, H), tape.z.dtype), self.cupy.zeros(layout.stream_tiles * 32, np.uint32)
        arguments = (*sizes, W, bias, keep, *states, carry, counters, gave_up)
        self.functions[name]((layout.blocks,), (layout.threads,), arguments, shared_mem=layout.shared)
