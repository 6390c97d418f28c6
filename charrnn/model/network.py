"""The shape of a network, and the arrays that a pass over a chunk writes.

Names of the parameters, for layer l: `layer{l}.W_xh` (V or H, G·H), `layer{l}.W_hh` (H, G·H), `layer{l}.b_h` (G·H,),
for the GRU `layer{l}.b_hn` (H,); then `output.W_hy` (H, V) and `output.b_y` (V,).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from charrnn.backend import Array, Backend, series
from charrnn.config import ModelConfig
from charrnn.model.cells import CELLS
from charrnn.model.layout import Layout

Views = dict[str, Array]
"""name -> array, for instance a parameter or its gradient."""
State = dict[str, Array]
"""Name of a cell's state -> its values (L, B, H)."""

MOST_LOGITS = 2**22
"""Logits in memory at a time, or as many as the output layer has weights if that is more. A chunk has T·B·V logits,
half a gigabyte at V = 60,000, so they are computed for a block of rows at a time."""


@dataclass(frozen=True)
class Network:
    """The shape of a network on a device. Its weights are in a flat vector (P,), which `layout` divides.

    With `start_symbol`, a document begins with the id V, "no character", which is read from a zero state. Its row of
    the table is the bias alone, so it has no parameters.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    cell: ModuleType
    dtype: str
    layout: Layout
    backend: Backend
    start_symbol: bool = False

    def views(self, vector: Array) -> Views:
        """Return name -> the parameter's view of a flat vector (P,) on the device."""
        return self.layout.views(vector, xp=self.backend.xp)

    def zero_state(self, B: int) -> State:
        """Return the state at the start of a text: zeros (L, B, H) for each of the cell's states."""
        shape = (self.num_layers, B, self.hidden_size)
        return {name: self.backend.zeros(shape, self.dtype) for name in self.cell.STATES}


def build(model: ModelConfig, vocab_size: int, backend: Backend) -> Network:
    """Return the network that a configuration describes, for V characters."""
    cell = CELLS[model.cell]
    shape = vocab_size, model.hidden_size, model.num_layers
    return Network(*shape, cell, model.dtype, layout_of(model, vocab_size), backend, model.start_symbol)


def layout_of(model: ModelConfig, vocab_size: int) -> Layout:
    """Return the names and shapes of the parameters."""
    cell, H, V = CELLS[model.cell], model.hidden_size, vocab_size
    G = cell.GATES
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for layer in range(model.num_layers):
        inputs = H if layer else V
        shapes += [(f"layer{layer}.W_xh", (inputs, G * H)), (f"layer{layer}.W_hh", (H, G * H))]
        shapes += [(f"layer{layer}.b_h", (G * H,)), *((f"layer{layer}.{name}", (H,)) for name in cell.BIASES)]
    shapes += [("output.W_hy", (H, V)), ("output.b_y", (V,))]
    return Layout(tuple(shapes))


@dataclass(frozen=True)
class LayerWorkspace:
    """The arrays of one layer: the cell's tape, and views of some of its arrays with time and streams as one axis.

    Attributes:
        tape: see the cell.
        z: (T·B, G·H), the projected input, then its gradient.
        z_hidden: (T·B, G·H), the gradient of the recurrent product.
        h_before: (T·B, H), the hidden state before each step.
        h: (T·B, H), the hidden state after each step, which is the layer's output.
        dropped: (T·B, H), the output after dropout; None in a workspace without dropout.
        boundary_states: for each of the cell's states its name, and the views (B, H) before the first step and after
            the last.
    """

    tape: Any
    z: Array
    z_hidden: Array
    h_before: Array
    h: Array
    dropped: Array
    boundary_states: tuple[tuple[str, Array, Array], ...]


class Block(NamedTuple):
    """Some of a chunk's T·B rows, whose logits are in memory at a time, and the views of a workspace for them.

    Attributes:
        rows: a slice of the T·B rows.
        logits: (rows, V).
        dhidden: (rows, H), a part of the workspace's.
        ones: (1, rows).
    """

    rows: slice
    logits: Array
    dhidden: Array
    ones: Array


class Workspace:
    """The arrays of a pass over (T, B), allocated once and overwritten at every step. No result is a view of them.

    Attributes:
        layers: the arrays of each layer.
        table: (V+1, G·H), the row of W_xh plus b_h that each character adds to the first layer's gates. The last row is
            the bias alone: the input "no character", of a dropped character and of the start of a document.
        no_character: V, a 0-d array of ids.
        dtable: the gradient of `table`; only with `dropout` or a start symbol.
        masked_W_hh: (L, H, G·H), the recurrent weights times their masks; only with `dropout`.
        blocks: the T·B rows in blocks. One block unless V is large.
        logits: (rows of a block, V).
        block_grads: the output layer's gradients of one block, if there are several.
        dhidden: (T·B, H), the gradient of the loss by the current layer's output.
        dhidden_series: the same as T arrays (B, H).
        ones: (1, T·B): a product with it sums rows.
        ones_of_dtable: (1, V+1), or (1, V) without `dtable`: the same for its rows, or those of W_xh.
        kept: (T·B, H) scratch: keep[t] * h[t-1].
    """

    def __init__(self, network: Network, T: int, B: int, *, dropout: bool = False) -> None:
        backend, dtype, H, V = network.backend, network.dtype, network.hidden_size, network.vocab_size
        self.T, self.B = T, B
        self.table = backend.empty((V + 1, network.cell.GATES * H), dtype)
        self.no_character = backend.zeros((), "int64") + V
        self.dtable = backend.empty(self.table.shape, dtype) if dropout or network.start_symbol else None
        self.masked_W_hh = backend.empty((network.num_layers, H, network.cell.GATES * H), dtype) if dropout else None
        rows = min(T * B, max(H, MOST_LOGITS // V))
        self.logits = backend.empty((rows, V), dtype)
        outputs = [(name, shape) for name, shape in network.layout.shapes if name.startswith("output.")]
        self.block_grads = {name: backend.empty(shape, dtype) for name, shape in outputs if rows < T * B}
        self.dhidden = backend.empty((T * B, H), dtype)
        self.dhidden_series = series(backend.xp.reshape(self.dhidden, (T, B, H)))
        self.ones, self.ones_of_dtable = (
            backend.zeros((1, n), dtype) + 1.0 for n in (T * B, V + (self.dtable is not None))
        )
        slices = (slice(first, min(first + rows, T * B)) for first in range(0, T * B, rows))
        self.blocks = tuple(
            Block(s, self.logits[: s.stop - s.start, :], self.dhidden[s, :], self.ones[:, s]) for s in slices
        )
        self.kept = backend.empty((T * B, H), dtype)
        self.layers = [layer_workspace(network, T, B, dropout=dropout) for _ in range(network.num_layers)]


def layer_workspace(network: Network, T: int, B: int, *, dropout: bool) -> LayerWorkspace:
    """Return the arrays of one layer for a pass over (T, B)."""
    backend, H = network.backend, network.hidden_size
    tape = network.cell.tape(T, B, H, network.dtype, backend=backend)
    arrays = (tape.z, tape.z_hidden, tape.hidden[:-1, ...], tape.hidden[1:, ...])
    z, z_hidden, h_before, h = (backend.xp.reshape(a, (T * B, a.shape[2])) for a in arrays)
    dropped = backend.empty((T * B, H), network.dtype) if dropout else None
    states = ((name, getattr(tape, name)) for name in network.cell.STATES)
    boundaries = tuple((name, state[0, ...], state[-1, ...]) for name, state in states)
    return LayerWorkspace(tape, z, z_hidden, h_before, h, dropped, boundaries)
