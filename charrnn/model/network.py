"""The network: characters in, L recurrent layers, logits out; its loss and, by backpropagation through time, gradient.

Everything that can stands outside the time loop: the input projection is a gather of rows for all T·B characters, the
output projection and every weight gradient is one product over T·B rows. Only h @ W_hh and the cell's elementwise part
are inside it (`charrnn.model.cells`).

Names of the parameters, for layer l: `layer{l}.W_xh` (V or H, G·H), `layer{l}.W_hh` (H, G·H), `layer{l}.b_h` (G·H,);
then `output.W_hy` (H, V), `output.b_y` (V,).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from charrnn.backend import Array, Backend
from charrnn.config import ModelConfig
from charrnn.model.cells import CELLS
from charrnn.model.layout import Layout
from charrnn.model.loss import cross_entropy, cross_entropy_backward

Views = dict[str, Array]
State = dict[str, Array]


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

    def zero_state(self, B: int) -> State:
        """The state before a text begins: for each of the cell's states (L, B, H) zeros."""
        shape = (self.num_layers, B, self.hidden_size)
        return {name: self.backend.zeros(shape, self.dtype) for name in self.cell.STATES}


def build(model: ModelConfig, vocab_size: int, backend: Backend) -> Network:
    """The network that a configuration describes, for V characters."""
    cell, H, V = CELLS[model.cell], model.hidden_size, vocab_size
    G = cell.GATES
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for layer in range(model.num_layers):
        inputs = H if layer else V
        shapes += [(f"layer{layer}.W_xh", (inputs, G * H)), (f"layer{layer}.W_hh", (H, G * H))]
        shapes += [(f"layer{layer}.b_h", (G * H,))]
    shapes += [("output.W_hy", (H, V)), ("output.b_y", (V,))]
    return Network(V, H, model.num_layers, cell, model.dtype, Layout(tuple(shapes)), backend)


class Chunk(NamedTuple):
    """One stretch of B streams, on the device.

    Attributes:
        inputs: (T·B,) ids, time-major.
        targets: (T·B,) ids: the character after each input.
        keep: (T, B), 0 where a stream's state is dropped before reading its character; None for all ones.
    """

    inputs: Array
    targets: Array
    keep: Array | None


class Workspace:
    """The memory of one pass over (T, B), made once and written again at every step. Nothing outside keeps a view."""

    def __init__(self, network: Network, T: int, B: int) -> None:
        backend, dtype, H, V = network.backend, network.dtype, network.hidden_size, network.vocab_size
        self.T, self.B = T, B
        self.table = backend.empty((V, network.cell.GATES * H), dtype)
        self.tapes: list[Any] = [network.cell.tape(T, B, H, dtype, backend=backend) for _ in range(network.num_layers)]
        self.logits = backend.empty((T * B, V), dtype)
        self.dhidden = backend.empty((T, B, H), dtype)
        self.before = backend.empty((T, B, H), dtype)


def forward(network: Network, params: Views, inputs: Array, keep: Array | None, state: State, work: Workspace) -> Array:
    """Read a chunk from `state`; leave each layer's history in `work.tapes`. Returns `work.logits` (T·B, V)."""
    backend, xp = network.backend, network.backend.xp
    run = backend.recurrence(network.cell)
    for layer, tape in enumerate(work.tapes):
        W_xh, b_h = params[f"layer{layer}.W_xh"], params[f"layer{layer}.b_h"]
        if layer == 0:  # x is one-hot, so x @ W + b is a row of W + b
            xp.add(W_xh, b_h, out=work.table)
            backend.take_rows(work.table, inputs, out=flat(tape.z))
        else:
            backend.matmul(flat(work.tapes[layer - 1].hidden[1:, ...]), W_xh, out=flat(tape.z))
            xp.add(tape.z, b_h, out=tape.z)
        for name in network.cell.STATES:
            getattr(tape, name)[0, ...] = state[name][layer, ...]
        run.recurrence_forward(tape, params[f"layer{layer}.W_hh"], keep, backend=backend)
    backend.matmul(flat(work.tapes[-1].hidden[1:, ...]), params["output.W_hy"], out=work.logits)
    xp.add(work.logits, params["output.b_y"], out=work.logits)
    return work.logits


def backward(network: Network, params: Views, grads: Views, chunk: Chunk, work: Workspace) -> None:
    """The adjoint of `forward`: from the gradient in `work.logits` write that of every parameter into `grads`."""
    backend, xp = network.backend, network.backend.xp
    run = backend.recurrence(network.cell)
    dlogits = work.logits
    backend.matmul(flat(work.tapes[-1].hidden[1:, ...]).T, dlogits, out=grads["output.W_hy"])
    grads["output.b_y"][...] = xp.sum(dlogits, axis=0)
    backend.matmul(dlogits, params["output.W_hy"].T, out=flat(work.dhidden))
    for layer, tape in reversed(list(enumerate(work.tapes))):
        run.recurrence_backward(tape, work.dhidden, params[f"layer{layer}.W_hh"], chunk.keep, backend=backend)
        dz = flat(tape.z)
        before = tape.hidden[:-1, ...]
        if chunk.keep is not None:
            before = xp.multiply(before, chunk.keep[..., None], out=work.before)
        backend.matmul(flat(before).T, dz, out=grads[f"layer{layer}.W_hh"])
        grads[f"layer{layer}.b_h"][...] = xp.sum(dz, axis=0)
        if layer == 0:
            backend.sum_rows(chunk.inputs, dz, out=grads["layer0.W_xh"])
        else:
            backend.matmul(flat(work.tapes[layer - 1].hidden[1:, ...]).T, dz, out=grads[f"layer{layer}.W_xh"])
            backend.matmul(dz, params[f"layer{layer}.W_xh"].T, out=flat(work.dhidden))


def loss_and_grad(
    network: Network, params: Views, grads: Views, chunk: Chunk, state: State, work: Workspace, *, scale: float
) -> Array:
    """One step of truncated backpropagation through time, without the update.

    Args:
        network: the shape of everything.
        params: the weights.
        grads: views that receive the gradient of `scale` times the summed loss.
        chunk: the characters.
        state: before the chunk; no gradient flows into it.
        work: of this (T, B).
        scale: 1/B of the whole batch gives the loss summed over time and averaged over streams.

    Returns:
        The loss (0-d), nats summed over the chunk's T·B characters.
    """
    logits = forward(network, params, chunk.inputs, chunk.keep, state, work)
    nats, sums = cross_entropy(logits, chunk.targets, backend=network.backend)
    loss = network.backend.xp.sum(nats)
    cross_entropy_backward(logits, sums, chunk.targets, scale, backend=network.backend)
    backward(network, params, grads, chunk, work)
    return loss


def next_state(network: Network, work: Workspace, *, out: State) -> None:
    """Copy the state after the last forward pass in `work` to `out`: what is kept is never a view of a workspace."""
    for name in network.cell.STATES:
        for layer, tape in enumerate(work.tapes):
            out[name][layer, ...] = getattr(tape, name)[-1, ...]


def flat(array: Array) -> Array:
    """(T, B, X) as the (T·B, X) view of the same contiguous memory."""
    return array.reshape((array.shape[0] * array.shape[1], array.shape[2]))
