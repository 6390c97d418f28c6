"""The output layer with the loss, a block of rows at a time: hidden states to logits to nats, and the whole way back.

Usually there is one block. With a wide vocabulary the logits of a whole chunk would not fit into memory.
"""

from __future__ import annotations

from charrnn.backend import Array
from charrnn.model.dropout import drop_recurrent, drop_recurrent_backward
from charrnn.model.loss import cross_entropy, cross_entropy_and_grad
from charrnn.model.network import Chunk, Network, State, Views, Workspace, backward, prepare, read


def project(network: Network, params: Views, hidden: Array, *, out: Array) -> Array:
    """The logits (N, V) of hidden states (N, H), in `out`."""
    network.backend.matmul(hidden, params["output.W_hy"], out=out)
    return network.backend.xp.add(out, params["output.b_y"], out=out)


def project_backward(
    network: Network, params: Views, grads: Views, hidden: Array, dlogits: Array, *, ones: Array, out: Array
) -> None:
    """The adjoint of `project`: the output layer's gradients into `grads`, that of `hidden` (N, H) into `out`.

    `ones` is (1, N).
    """
    matmul = network.backend.matmul
    matmul(hidden.T, dlogits, out=grads["output.W_hy"])
    matmul(ones, dlogits, out=grads["output.b_y"][None, :])
    matmul(dlogits, params["output.W_hy"].T, out=out)


def surprise(network: Network, params: Views, hidden: Array, targets: Array, work: Workspace) -> Array:
    """The nats (N,) of targets (N,), each after its hidden state (N, H), for the N = T·B characters of `work`."""
    parts = []
    for block in work.blocks:
        logits = project(network, params, hidden[block, :], out=work.logits[: block.stop - block.start, :])
        parts.append(cross_entropy(logits, targets[block], backend=network.backend)[0])
    return network.backend.xp.concat(parts) if len(parts) > 1 else parts[0]


def surprise_and_grad(
    network: Network, params: Views, grads: Views, hidden: Array, targets: Array, work: Workspace, *, scale: float
) -> Array:
    """The sum (0-d) of `surprise`, and the gradients of `scale` times it: in `grads`, and in `work.dhidden`."""
    backend, total = network.backend, list[Array]()
    nats_and_grad = backend.fused("cross_entropy", cross_entropy_and_grad)
    for block in work.blocks:
        here, rows, into = hidden[block, :], block.stop - block.start, work.block_grads if total else grads
        logits = project(network, params, here, out=work.logits[:rows, :])
        nats = nats_and_grad(logits, targets[block], scale, backend=backend)  # logits are their own gradient now
        project_backward(network, params, into, here, logits, ones=work.ones[:, :rows], out=work.dhidden[block, :])
        if total:
            for name, part in into.items():
                backend.xp.add(grads[name], part, out=grads[name])
        total.append(backend.total(nats))
    return sum(total[1:], total[0])


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
    backend, masks = network.backend, chunk.recurrent_mask
    with backend.quiet():
        if masks is not None:
            params = drop_recurrent(params, masks, out=work.masked_W_hh, backend=backend)
        prepare(network, params, work)
        hidden = read(network, params, chunk.inputs, chunk.keep, state, work, chunk.output_mask)
        loss = surprise_and_grad(network, params, grads, hidden, chunk.targets, work, scale=scale)
        backward(network, params, grads, chunk, work)
        if masks is not None:
            drop_recurrent_backward(grads, masks, backend=backend)
        return loss
