"""What a network computes on a text: probabilities, hidden states and gradients, for teaching and research.

Letters: `T` characters, `L` layers, `H` hidden units, `G` gates of the cell, `V` characters of the vocabulary. There is
one stream (B = 1), and all results are NumPy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.backend import one_thread
from charrnn.errors import OverflowingError
from charrnn.model import Chunk, Network, Views, Workspace, forward, next_state, prepare
from charrnn.model.bptt import backward, cross_entropy, cross_entropy_backward, project, project_backward
from charrnn.sampling.generate import Writer
from charrnn.text import Ids, Part

ROWS = 256
"""Characters that are read at a time."""

HostArray = np.ndarray[Any, np.dtype[Any]]
HostArrays = dict[str, HostArray]


@dataclass(frozen=True)
class LossAndGrad:
    """The loss of a stretch of text and its gradient.

    Attributes:
        loss: the sum of the weighted surprises, in nats.
        nats: (T,) the surprise of each target, without weights.
        grads: parameter name -> the gradient of `loss` by it, in the shape of the parameter.
        state: state name -> (L, H) after the last input; the argument `state` of the next stretch.
        dhidden: (T, L, H) the gradient of `loss` by each hidden state, through everything that follows from it; None
            unless it was asked for.
    """

    loss: float
    nats: HostArray = field(repr=False)
    grads: HostArrays = field(repr=False)
    state: HostArrays = field(repr=False)
    dhidden: HostArray | None = field(repr=False)


def next_probabilities(network: Network, params: Views, ids: Ids) -> HostArray:
    """Return the probability (V,) of each character after `ids` (T,), T at least 1, read from a zero state."""
    writer = Writer(network, params, np.asarray(ids)[:, None])
    writer.check()
    logits = network.backend.to_host(writer.logits)[0].astype(np.float64)  # sync
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def hidden_states(network: Network, params: Views, part: Part) -> HostArrays:
    """Return state name -> (T, L, H): the states after each character of a text. Waits for the device.

    Each document is read from a zero state and, if the network has a start symbol, after the symbol.
    """
    starts, backend = np.concatenate([[0], part.starts]).astype(np.int64), network.backend
    ids, keep = part.ids.astype(np.int64), np.ones(len(part.ids))
    if len(ids) == 0:
        return {name: network_shape(network, 0) for name in network.cell.STATES}
    keep[starts] = 0
    if network.start_symbol:
        ids, keep = np.insert(ids, starts, network.vocab_size), np.insert(keep, starts, 0.0)
        starts += np.arange(len(starts))  # now the places of the symbols
        keep[starts + 1] = 1
    state, blocks = network.zero_state(1), []
    for first in range(0, len(ids), ROWS):
        block = ids[first : first + ROWS]
        resets = backend.from_host(keep[first : first + ROWS, None], network.dtype)
        with one_thread, backend.quiet():
            work = Workspace(network, len(block), 1)
            prepare(network, params, work)
            forward(network, params, backend.host_indices(block), resets, state, work)
        next_state(work, out=state)
        blocks.append(states_of(network, work))
    read = np.ones(len(ids), bool)
    read[starts] = not network.start_symbol
    return {name: finite(np.concatenate([block[name] for block in blocks])[read]) for name in state}


def states_of(network: Network, work: Workspace) -> HostArrays:
    """Return state name -> (T, L, H) after each character of the last pass in `work`."""
    to_host = network.backend.to_host
    return {
        name: np.stack([to_host(getattr(layer.tape, name))[1:, 0] for layer in work.layers], axis=1)  # sync
        for name in network.cell.STATES
    }


def network_shape(network: Network, T: int) -> HostArray:
    """Return zeros (T, L, H)."""
    return np.zeros((T, network.num_layers, network.hidden_size), network.dtype)


def finite(array: HostArray) -> HostArray:
    """Return `array`. Raise `OverflowingError` if it has a number that is not finite."""
    if not np.isfinite(array).all():
        raise OverflowingError
    return array


def loss_and_grad(
    network: Network, params: Views, inputs: Ids, targets: Ids, state: HostArrays, weights: HostArray, *, hidden: bool
) -> LossAndGrad:
    """Compute the loss of a stretch of text and its gradient: `lossFun` of min-char-rnn. Waits for the device.

    Args:
        network: the shape of the network.
        params: its weights.
        inputs: (T,) ids.
        targets: (T,) ids: the character after each input.
        state: state name -> (L, H) before the stretch; no gradient flows into it.
        weights: (T,) the factor of each target's surprise in the loss.
        hidden: whether to compute `LossAndGrad.dhidden`.
    """
    backend, T, to_host = network.backend, len(inputs), network.backend.to_host
    before = {name: backend.from_host(array[:, None, :], network.dtype) for name, array in state.items()}
    chunk = Chunk(backend.host_indices(inputs), backend.host_indices(targets))
    work, grads = Workspace(network, T, 1), network.views(backend.zeros((network.layout.size,), network.dtype))
    logits = backend.empty((T, network.vocab_size), network.dtype)
    embedded = backend.empty((T, network.embedding_size), network.dtype) if "output.W_he" in params else None
    with one_thread, backend.quiet():
        prepare(network, params, work)
        outputs = forward(network, params, chunk.inputs, None, before, work)
        project(network, params, outputs, embedded=embedded, out=logits)
        nats, sums = cross_entropy(logits, chunk.targets, backend=backend)
        dlogits = cross_entropy_backward(logits, sums, chunk.targets, 1.0, backend=backend)
        backend.xp.multiply(dlogits, backend.from_host(weights[:, None], network.dtype), out=dlogits)
        ones = work.ones[:, :T]
        project_backward(network, params, grads, outputs, dlogits, ones=ones, embedded=embedded, out=work.dhidden)
        from_output = to_host(work.dhidden).copy() if hidden else None  # sync
        backward(network, params, grads, chunk, work)
    surprises = finite(to_host(nats))
    return LossAndGrad(
        loss=float(np.dot(surprises.astype(np.float64), weights)),
        nats=surprises,
        grads={name: finite(to_host(array).copy()) for name, array in grads.items()},
        state={name: array[-1] for name, array in states_of(network, work).items()},
        dhidden=None if from_output is None else hidden_gradient(network, params, inputs, from_output, work)[:, 0],
    )


def last_loss_gradient(network: Network, params: Views, ids: HostArray) -> HostArray:
    """Return d loss / dh (T, B, L, H) of B texts from a zero state, where the loss is the last surprise of each.

    Waits for the device.

    Args:
        network: the shape of the network.
        params: its weights.
        ids: (T+1, B) the texts.
    """
    backend, (T, B) = network.backend, (len(ids) - 1, ids.shape[1])
    chunk = Chunk(backend.host_indices(ids[:-1].reshape(-1)), backend.host_indices(ids[-1]))
    work, grads = Workspace(network, T, B), network.views(backend.zeros((network.layout.size,), network.dtype))
    logits = backend.empty((B, network.vocab_size), network.dtype)
    with one_thread, backend.quiet():
        prepare(network, params, work)
        outputs = forward(network, params, chunk.inputs, None, network.zero_state(B), work)[-B:, :]
        project(network, params, outputs, out=logits)
        _, sums = cross_entropy(logits, chunk.targets, backend=backend)
        dlogits = cross_entropy_backward(logits, sums, chunk.targets, 1.0, backend=backend)
        work.dhidden[...] = 0.0
        project_backward(network, params, grads, outputs, dlogits, ones=work.ones[:, :B], out=work.dhidden[-B:, :])
        from_output = backend.to_host(work.dhidden).copy()  # sync
        backward(network, params, grads, chunk, work)
    return finite(hidden_gradient(network, params, ids[:-1].reshape(-1), from_output, work))


def hidden_gradient(network: Network, params: Views, inputs: Ids, from_above: HostArray, work: Workspace) -> HostArray:
    """Return dL/dh (T, B, L, H) after the backward pass, which leaves only the gradients by the gates' inputs.

    h[t] reaches the loss through the layer above, `from_above` (T·B, H) for the last layer; through the gates of step
    t+1; and in a GRU through h[t+1] itself. The T·B ids `inputs` are time-major.
    """
    to_host, shape = network.backend.to_host, (work.T, work.B, network.hidden_size)
    result = np.zeros((work.T, work.B, network.num_layers, network.hidden_size), network.dtype)
    weights = {name: to_host(array) for name, array in params.items()}
    for i in reversed(range(network.num_layers)):
        layer, W_hh = work.layers[i], weights[f"layer{i}.W_hh"]
        through_gates = (to_host(layer.z_hidden) @ W_hh.T).reshape(shape)  # dL/dh[t-1] through the gates of step t
        kept = None
        if network.cell.NAME == "gru":
            kept = update_gates(weights, i, inputs, work, network).reshape(shape)
        dh = result[:, :, i, :]
        dh[...] = from_above.reshape(shape)
        for t in range(work.T - 2, -1, -1):
            dh[t] += through_gates[t + 1] + (0 if kept is None else kept[t + 1] * dh[t + 1])
        from_above = to_host(layer.z) @ weights[f"layer{i}.W_xh"].T
    return result


def update_gates(weights: HostArrays, layer: int, inputs: Ids, work: Workspace, network: Network) -> HostArray:
    """Return the values (T·B, H) of a GRU's update gates y, the share of h[t-1] in h[t]."""
    to_host, H = network.backend.to_host, network.hidden_size
    gate = slice(H, 2 * H)  # the order of the gates is r, y, n
    W_xh = weights[f"layer{layer}.W_xh"][:, gate]
    if layer:
        from_input = to_host(work.layers[layer - 1].h) @ W_xh
    else:  # the row of "no character" is zero
        rows = weights["embedding.table"] @ W_xh if network.embedding_size else W_xh
        from_input = np.concatenate([rows, np.zeros_like(rows[:1])])[inputs]
    h_before = to_host(work.layers[layer].h_before)
    a = from_input + weights[f"layer{layer}.b_h"][gate] + h_before @ weights[f"layer{layer}.W_hh"][:, gate]
    return (1 + np.tanh(a / 2)) / 2
