"""The network: characters in, L recurrent layers, hidden states out; and back through time to every weight.

Everything that can stands outside the time loop: the input projection is a gather of rows for all T·B characters, the
output projection and every weight gradient is one product over T·B rows. Only h @ W_hh and the cell's elementwise part
are inside it (`charrnn.model.cells`).

Names of the parameters, for layer l: `layer{l}.W_xh` (V or H, G·H), `layer{l}.W_hh` (H, G·H), `layer{l}.b_h` (G·H,),
for the GRU `layer{l}.b_hn` (H,); then `output.W_hy` (H, V), `output.b_y` (V,).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from charrnn.backend import Array, Backend, series
from charrnn.config import ModelConfig
from charrnn.model.cells import CELLS
from charrnn.model.dropout import drop_outputs
from charrnn.model.layout import Layout

Views = dict[str, Array]
State = dict[str, Array]

LOGITS_MOST = 2**22
"""Most logits in memory at once, or as many as the output layer has weights. A chunk has T·B·V of them, half a gigabyte
at 60,000 characters, so it is cut."""


@dataclass(frozen=True)
class Network:
    """The shape of a network on a device; its weights are elsewhere, in a flat vector that `layout` reads."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    cell: ModuleType
    dtype: str
    layout: Layout
    backend: Backend

    def views(self, vector: Array) -> Views:
        """name -> the parameter's view of a flat vector (P,) on the device."""
        return self.layout.views(vector, xp=self.backend.xp)

    def zero_state(self, B: int) -> State:
        """The state before a text begins: for each of the cell's states (L, B, H) zeros."""
        shape = (self.num_layers, B, self.hidden_size)
        return {name: self.backend.zeros(shape, self.dtype) for name in self.cell.STATES}


def build(model: ModelConfig, vocab_size: int, backend: Backend) -> Network:
    """The network that a configuration describes, for V characters."""
    cell = CELLS[model.cell]
    shape = vocab_size, model.hidden_size, model.num_layers
    return Network(*shape, cell, model.dtype, layout_of(model, vocab_size), backend)


def layout_of(model: ModelConfig, vocab_size: int) -> Layout:
    """The names and shapes of its parameters."""
    cell, H, V = CELLS[model.cell], model.hidden_size, vocab_size
    G = cell.GATES
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for layer in range(model.num_layers):
        inputs = H if layer else V
        shapes += [(f"layer{layer}.W_xh", (inputs, G * H)), (f"layer{layer}.W_hh", (H, G * H))]
        shapes += [(f"layer{layer}.b_h", (G * H,)), *((f"layer{layer}.{name}", (H,)) for name in cell.BIASES)]
    shapes += [("output.W_hy", (H, V)), ("output.b_y", (V,))]
    return Layout(tuple(shapes))


class Chunk(NamedTuple):
    """One stretch of B streams, on the device.

    Attributes:
        inputs: (T·B,) ids, time-major; V, where the workspace is one for `dropout`, is a character that is hidden.
        targets: (T·B,) ids: the character after each input.
        keep: (T, B), 0 where a stream's state is dropped before reading its character; None for all ones.
        output_mask: (L, B, H), what each layer's output is multiplied by at every step; None for all ones.
        recurrent_mask: (L, H, G·H), what each layer's recurrent weights are multiplied by; None for all ones.
    """

    inputs: Array
    targets: Array
    keep: Array | None
    output_mask: Array | None = None
    recurrent_mask: Array | None = None


@dataclass(frozen=True)
class Layer:
    """One layer's part of a workspace: the cell's tape, and some of its arrays with time and streams as one axis.

    Attributes:
        tape: see the cell.
        z: (T·B, G·H), the projected input, then its gradient.
        z_hidden: (T·B, G·H), the gradient by the recurrent product.
        before: (T·B, H), the hidden state before each step.
        after: (T·B, H), the hidden state after each step: the layer's output.
        thinned: (T·B, H), the same after dropout; None in a workspace without.
        ends: of each of the cell's states its name, and the views (B, H) before the first step and after the last.
    """

    tape: Any
    z: Array
    z_hidden: Array
    before: Array
    after: Array
    thinned: Array
    ends: tuple[tuple[str, Array, Array], ...]

    def output(self, mask: Array | None) -> Array:
        """(T·B, H), what the layer above reads, with dropout or without."""
        return self.after if mask is None else self.thinned


class Workspace:
    """The memory of one pass over (T, B), made once and written again at every step. Nothing outside keeps a view.

    Attributes:
        blocks: slices of the T·B rows whose logits are in memory together: one, unless V is large.
        logits: (rows of a block, V).
        dhidden: (T·B, H), the gradient of the loss by the output of the layer in work.
        dhidden_series: the same as T arrays (B, H) in one.
        block_grads: where there are several blocks, the output layer's gradients by one of them.
        layers: the layers' own memory.
        table: (V + 1, G·H), what each character adds to the first layer's gates; the last row is for a character that
            is hidden, the bias alone.
        dtable: its gradient, where there is `dropout`.
        masked_W_hh: (L, H, G·H), there too: the recurrent weights of which some are dropped.
        ones: (1, at least T·B), what sums rows up by a product.
        kept: (T·B, H) scratch: what is kept of the states before each step.
    """

    def __init__(self, network: Network, T: int, B: int, *, dropout: bool = False) -> None:
        backend, dtype, H, V = network.backend, network.dtype, network.hidden_size, network.vocab_size
        self.T, self.B = T, B
        self.table = backend.empty((V + 1, network.cell.GATES * H), dtype)
        self.dtable = backend.empty(self.table.shape, dtype) if dropout else None
        self.masked_W_hh = backend.empty((network.num_layers, H, network.cell.GATES * H), dtype) if dropout else None
        rows = min(T * B, max(H, LOGITS_MOST // V))
        self.blocks = tuple(slice(first, min(first + rows, T * B)) for first in range(0, T * B, rows))
        self.logits = backend.empty((rows, V), dtype)
        outputs = [(name, shape) for name, shape in network.layout.shapes if name.startswith("output.")]
        self.block_grads = {name: backend.empty(shape, dtype) for name, shape in outputs if len(self.blocks) > 1}
        self.dhidden = backend.empty((T * B, H), dtype)
        self.dhidden_series = series(backend.xp.reshape(self.dhidden, (T, B, H)))
        self.ones = backend.zeros((1, max(T * B, V + 1)), dtype) + 1.0
        self.kept = backend.empty((T * B, H), dtype)
        self.layers = []
        for _ in range(network.num_layers):
            tape = network.cell.tape(T, B, H, dtype, backend=backend)
            parts = (tape.z, tape.z_hidden, tape.hidden[:-1, ...], tape.hidden[1:, ...])
            ends = tuple((n, getattr(tape, n)[0, ...], getattr(tape, n)[-1, ...]) for n in network.cell.STATES)
            z, z_hidden, before, after = (backend.xp.reshape(a, (T * B, a.shape[2])) for a in parts)
            thinned = backend.empty((T * B, H), dtype) if dropout else None
            self.layers.append(Layer(tape, z, z_hidden, before, after, thinned, ends))


def prepare(network: Network, params: Views, work: Workspace) -> None:
    """What passes derive from the weights alone: once for all `read` until the weights change."""
    network.backend.xp.add(params["layer0.W_xh"], params["layer0.b_h"], out=work.table[: network.vocab_size, ...])
    work.table[network.vocab_size, ...] = params["layer0.b_h"]
    for i, layer in enumerate(work.layers):
        layer.tape.by_W.use(params[f"layer{i}.W_hh"])
        for name, gate in network.cell.BIASES.items():
            layer.tape.bias[gate, ...] = params[f"layer{i}.{name}"]


def forward(network: Network, params: Views, inputs: Array, keep: Array | None, state: State, work: Workspace) -> Array:
    """`prepare` and `read`."""
    prepare(network, params, work)
    return read(network, params, inputs, keep, state, work)


def read(
    network: Network,
    params: Views,
    inputs: Array,
    keep: Array | None,
    state: State | None,
    work: Workspace,
    output_mask: Array | None = None,
) -> Array:
    """Read a chunk after `prepare`; leave each layer's history in `work.layers`. Returns the last output: (T·B, H).

    Args:
        network: the shape of everything.
        params: the weights.
        inputs: (T·B,) ids, time-major.
        keep: see `Chunk`.
        state: before the chunk; None for that after the last pass in `work`.
        work: of this (T, B).
        output_mask: see `Chunk`; then `work` must be one for `dropout`.
    """
    backend, xp = network.backend, network.backend.xp
    recurrence, output = backend.recurrence(network.cell), inputs
    for i, layer in enumerate(work.layers):
        if i == 0:  # x is one-hot, so x @ W + b is a row of W + b
            backend.take_rows(work.table, inputs, out=layer.z)
        else:
            backend.matmul(output, params[f"layer{i}.W_xh"], out=layer.z)
            xp.add(layer.z, params[f"layer{i}.b_h"], out=layer.z)
        for name, first, last in layer.ends:
            first[...] = last if state is None else state[name][i, ...]
        recurrence.recurrence_forward(layer.tape, keep, backend=backend)
        if output_mask is not None:
            drop_outputs(layer.after, output_mask[i, ...], out=layer.thinned, backend=backend)
        output = layer.output(output_mask)
    return output


def backward(network: Network, params: Views, grads: Views, chunk: Chunk, work: Workspace) -> None:
    """The adjoint of `read`: from the gradient in `work.dhidden` write that of every layer into `grads`."""
    backend, xp, keep, mask = network.backend, network.backend.xp, chunk.keep, chunk.output_mask
    recurrence, ones = backend.recurrence(network.cell), work.ones[:, : work.T * work.B]
    for i, layer in reversed(list(enumerate(work.layers))):
        if mask is not None:
            drop_outputs(work.dhidden, mask[i, ...], out=work.dhidden, backend=backend)
        layer.tape.by_W_T.use(params[f"layer{i}.W_hh"].T)
        recurrence.recurrence_backward(layer.tape, work.dhidden_series, keep, backend=backend)
        before, dz, dz_hidden, H = layer.before, layer.z, layer.z_hidden, network.hidden_size
        if keep is not None:
            before = xp.multiply(before, xp.reshape(keep, (-1, 1)), out=work.kept)
        backend.matmul(before.T, dz_hidden, out=grads[f"layer{i}.W_hh"])
        for name, gate in network.cell.BIASES.items():
            backend.matmul(ones, dz_hidden[:, gate * H : (gate + 1) * H], out=grads[f"layer{i}.{name}"][None, :])
        if i == 0:  # every row of dz is in one row of W_xh's gradient
            into = grads["layer0.W_xh"] if work.dtable is None else work.dtable
            dtable = backend.sum_rows(chunk.inputs, dz, out=into)
            backend.matmul(work.ones[:, : dtable.shape[0]], dtable, out=grads["layer0.b_h"][None, :])
            if work.dtable is not None:
                grads["layer0.W_xh"][...] = dtable[: network.vocab_size, ...]
        else:
            backend.matmul(ones, dz, out=grads[f"layer{i}.b_h"][None, :])
            backend.matmul(work.layers[i - 1].output(mask).T, dz, out=grads[f"layer{i}.W_xh"])
            backend.matmul(dz, params[f"layer{i}.W_xh"].T, out=work.dhidden)


def next_state(work: Workspace, *, out: State) -> None:
    """Copy the state after the last forward pass in `work` to `out`: what is kept is never a view of a workspace."""
    for i, layer in enumerate(work.layers):
        for name, _, last in layer.ends:
            out[name][i, ...] = last
