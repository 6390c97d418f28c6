"""The shape of a network, and the arrays that a pass over a chunk writes.

Names of the parameters, for layer l: `layer{l}.W_xh` (V or H, G·H), `layer{l}.W_hh` (H, G·H), `layer{l}.b_h` (G·H,),
for the GRU `layer{l}.b_hn` (H,); then `output.W_hy` (H, V) and `output.b_y` (V,).

With an embedding (Bengio et al., 2003), a character is not a one-hot vector but a row of `embedding.table` (V, E), and
`layer0.W_xh` is (E, G·H). With tied weights (Press & Wolf, 2017; Inan et al., 2017), the transpose of the table takes
the place of `output.W_hy`, and `output.W_he` (H, E) projects the hidden state; if E = H, it is not needed. The logits:

    y = h @ W_hy + b_y              one-hot characters, or an embedding
    y = h @ W_he @ table.T + b_y    tied weights
    y = h @ table.T + b_y           tied weights, E = H
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from charrnn.backend import Array, Backend, series
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
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

    With `start_symbol`, a document begins with the id V, "no character", which is read from a zero state. It adds
    nothing to the bias of the first layer, so it has no parameters.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    cell: ModuleType
    dtype: str
    layout: Layout
    backend: Backend
    start_symbol: bool = False
    embedding_size: int = 0
    tie_weights: bool = False

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
    ends = model.start_symbol, model.embedding_size, model.tie_weights
    return Network(*shape, cell, model.dtype, layout_of(model, vocab_size), backend, *ends)


def layout_of(model: ModelConfig, vocab_size: int) -> Layout:
    """Return the names and shapes of the parameters. Raise `ConfigError` for tied weights without an embedding."""
    cell, H, V, E = CELLS[model.cell], model.hidden_size, vocab_size, model.embedding_size
    if model.tie_weights and not E:
        raise ConfigError("model.tie_weights needs an embedding: set model.embedding_size, for instance to 128")
    G = cell.GATES
    shapes: list[tuple[str, tuple[int, ...]]] = [("embedding.table", (V, E))] if E else []
    for layer in range(model.num_layers):
        inputs = H if layer else E or V
        shapes += [(f"layer{layer}.W_xh", (inputs, G * H)), (f"layer{layer}.W_hh", (H, G * H))]
        shapes += [(f"layer{layer}.b_h", (G * H,)), *((f"layer{layer}.{name}", (H,)) for name in cell.BIASES)]
    if not model.tie_weights:
        shapes += [("output.W_hy", (H, V))]
    elif E != H:
        shapes += [("output.W_he", (H, E))]
    return Layout((*shapes, ("output.b_y", (V,))))


def character_axes(layout: Layout) -> dict[str, int]:
    """Return name -> axis for the parameters in which each character has a row, a column or an element."""
    names = dict(layout.shapes)
    first = "embedding.table" if "embedding.table" in names else "layer0.W_xh"
    return {first: 0} | ({"output.W_hy": 1} if "output.W_hy" in names else {}) | {"output.b_y": 0}


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
        logits: (rows, V), or (rows, K) for a sampled softmax.
        dhidden: (rows, H), a part of the workspace's.
        ones: (1, rows).
        embedded: (rows, E), h @ W_he, then its gradient; None in a network without W_he.
    """

    rows: slice
    logits: Array
    dhidden: Array
    ones: Array
    embedded: Array | None


class Workspace:
    """The arrays of a pass over (T, B), allocated once and overwritten at every step. No result is a view of them.

    Attributes:
        layers: the arrays of each layer.
        table: the row of each character, and at last that of the input "no character", of a dropped character and of
            the start of a document. One-hot: (V+1, G·H), the row of W_xh plus b_h that a character adds to the first
            layer's gates; the last row is the bias alone. With an embedding: (V+1, E), its table and a row of zeros.
        x: (T·B, E), the rows of the characters that are read, then their gradient; None without an embedding.
        no_character: V, a 0-d array of ids.
        dtable: the gradient of `table`; only with `dropout`, a start symbol or tied weights.
        masked_W_hh: (L, H, G·H), the recurrent weights times their masks; only with `dropout`.
        blocks: the T·B rows in blocks. One block unless V is large.
        logits: (rows of a block, V), or (rows of a block, K) with `candidates`.
        embedded: (rows of a block, E), see `Block`.
        block_grads: the output layer's gradients of one block, if there are several.
        few: the weights of the characters of a sampled softmax, `few_grads` their gradients; empty without one.
        dhidden: (T·B, H), the gradient of the loss by the current layer's output.
        dhidden_series: the same as T arrays (B, H).
        ones: (1, T·B): a product with it sums rows.
        ones_of_dtable: (1, V+1), or (1, V) without `dtable`: the same for its rows, or those of W_xh.
        kept: (T·B, H) scratch: keep[t] * h[t-1].
    """

    def __init__(self, network: Network, T: int, B: int, *, dropout: bool = False, candidates: int = 0) -> None:
        backend, dtype, H, V = network.backend, network.dtype, network.hidden_size, network.vocab_size
        self.T, self.B = T, B
        E = network.embedding_size
        self.table = backend.empty((V + 1, E or network.cell.GATES * H), dtype)
        self.x = backend.empty((T * B, E), dtype) if E else None
        self.no_character = backend.zeros((), "int64") + V
        apart = dropout or network.start_symbol or network.tie_weights  # from the gradient of the parameter
        self.dtable = backend.empty(self.table.shape, dtype) if apart else None
        self.masked_W_hh = backend.empty((network.num_layers, H, network.cell.GATES * H), dtype) if dropout else None
        characters = candidates or V  # of the softmax
        rows = min(T * B, max(H, MOST_LOGITS // characters))
        self.logits = backend.empty((rows, characters), dtype)
        shapes = dict(network.layout.shapes)
        few = {name: (candidates, *shapes[name][1:]) for name in ("embedding.table", "output.b_y") if candidates}
        self.few, self.few_grads = ({n: backend.empty(shape, dtype) for n, shape in few.items()} for _ in range(2))
        self.embedded = backend.empty((rows, E), dtype) if "output.W_he" in shapes else None
        shared = ["embedding.table"] if network.tie_weights else []
        outputs = [(n, few.get(n, shapes[n])) for n in shapes if n.startswith("output.") or n in shared]
        self.block_grads = {name: backend.empty(shape, dtype) for name, shape in outputs if rows < T * B}
        self.dhidden = backend.empty((T * B, H), dtype)
        self.dhidden_series = series(backend.xp.reshape(self.dhidden, (T, B, H)))
        self.ones, self.ones_of_dtable = (
            backend.zeros((1, n), dtype) + 1.0 for n in (T * B, V + (self.dtable is not None))
        )
        slices = (slice(first, min(first + rows, T * B)) for first in range(0, T * B, rows))
        self.blocks = tuple(self.block(rows) for rows in slices)
        self.kept = backend.empty((T * B, H), dtype)
        self.layers = [layer_workspace(network, T, B, dropout=dropout) for _ in range(network.num_layers)]

    def block(self, rows: slice) -> Block:
        """Return the views for some rows."""
        n, e = rows.stop - rows.start, self.embedded
        return Block(
            rows, self.logits[:n, :], self.dhidden[rows, :], self.ones[:, rows], None if e is None else e[:n, :]
        )


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
