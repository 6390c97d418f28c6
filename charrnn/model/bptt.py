"""Backpropagation through time: the forward pass, the loss and the backward pass of a chunk, in reading order.

Where the parts of min-char-rnn.py are:

    chars, char_to_ix                        text/vocabulary.py
    Wxh, Whh, Why, bh, by                    model/initial.py; their names and shapes: model/network.py
    lossFun                                  `loss_and_grad`
      xs[t][inputs[t]] = 1; dot(Wxh, xs[t])  `read_characters`: a one-hot product is a row of W_xh
      hs[t] = tanh(...)                      model/cells/rnn.py, `recurrence_forward`
      ys[t] = dot(Why, hs[t]) + by           `project`
      ps[t], loss                            `cross_entropy`
      dy = ps[t]; dy[targets[t]] -= 1        `cross_entropy_backward`
      dWhy, dby, dot(Why.T, dy)              `project_backward`
      dh, dhraw, dhnext                      model/cells/rnn.py, `recurrence_backward`
      dbh, dWhh; dWxh                        `backward`; `read_characters_backward`
      np.clip(dparam, -5, 5)                 optim/rules.py, `clip`
    sample                                   sampling/generate.py
    p                                        text/streams.py, `Streams.chunk`
    hprev                                    `next_state`; set to zero by `Chunk.keep`
    while True, smooth_loss                  training/loop.py; one pass through it: training/step.py
    mem += dparam * dparam; param += ...     optim/rules.py, `Adagrad`

Everything that can be is outside the loop over time. The input projection is a gather of rows for all T·B characters,
with an embedding a gather and a product; the output projection and every weight gradient are single products over T·B
rows. Only h @ W_hh and the elementwise part of the cell are inside it (`charrnn.model.cells`).

The arrays that a pass writes are in a `Workspace` (model/network.py). The important ones, for each layer: `layer.z`
(T·B, G·H), the projected input and later its gradient dz; `layer.h` and `layer.h_before` (T·B, H), h[t] and h[t-1];
`layer.dropped` (T·B, H), h after dropout. For all layers: `work.table` (V+1, G·H), the rows of W_xh plus b_h, or
(V+1, E), those of the embedding; `work.x` (T·B, E), the embedded characters and later their gradient; `work.dhidden`
(T·B, H), the gradient by the output of the current layer; `work.logits` (rows, V).
"""

from __future__ import annotations

from typing import NamedTuple

from charrnn.backend import Array, Backend
from charrnn.model.dropout import drop_inputs, drop_outputs, drop_recurrent, drop_recurrent_backward
from charrnn.model.network import Network, State, Views, Workspace
from charrnn.model.sampled_softmax import Candidates, candidate_weights, candidate_weights_backward


class Chunk(NamedTuple):
    """T characters of each of B streams, on the device, with everything that masks them.

    Attributes:
        inputs: (T·B,) ids, time-major.
        targets: (T·B,) ids: the character after each input.
        keep: (T, B), 0 where the state of a stream is reset before it reads the character; None for all ones.
        begins: (T, B) booleans, true where the next character begins a document: it is predicted from the start symbol,
            the id V, in place of the character at hand; None for no document.
        input_mask: (B, V) booleans, true for a character of the vocabulary that the stream does not see in this chunk;
            None for no dropout.
        output_masks: (L, B, H), what the output of each layer is multiplied by; None for no dropout.
        recurrent_masks: (L, H, G·H), what the recurrent weights are multiplied by; None for no dropout.
        candidates: the characters of a sampled softmax, whose `targets` then count; None for all characters.
    """

    inputs: Array
    targets: Array
    keep: Array | None = None
    begins: Array | None = None
    input_mask: Array | None = None
    output_masks: Array | None = None
    recurrent_masks: Array | None = None
    candidates: Candidates | None = None


def loss_and_grad(
    network: Network, params: Views, grads: Views, chunk: Chunk, state: State, work: Workspace, *, scale: float
) -> Array:
    """Compute the loss of a chunk and its gradient: one step of truncated backpropagation through time.

    Args:
        network: the sizes, the cell and the backend.
        params: the weights.
        grads: overwritten with the gradient of `scale` times the summed loss.
        chunk: the characters and masks.
        state: before the chunk; no gradient flows into it.
        work: for (T, B); made with `dropout` if the chunk has masks, and for the number of its candidates.
        scale: 1/B, for the B of the whole batch and not of a shard: the gradient is summed over time, as in
            min-char-rnn, and averaged over streams.

    Returns:
        The loss (0-d), nats summed over the chunk's T·B characters.
    """
    backend = network.backend
    with backend.quiet():
        if chunk.input_mask is not None:
            chunk = chunk._replace(inputs=drop_inputs(chunk.inputs, chunk.input_mask, backend=backend))
        if chunk.begins is not None:
            begins = backend.xp.reshape(chunk.begins, (-1,))
            chunk = chunk._replace(inputs=backend.xp.where(begins, work.no_character, chunk.inputs))
        if chunk.recurrent_masks is not None:
            params = drop_recurrent(params, chunk.recurrent_masks, out=work.masked_W_hh, backend=backend)
        prepare(network, params, work)
        hidden = forward(network, params, chunk.inputs, chunk.keep, state, work, chunk.output_masks)
        if chunk.candidates is None:
            loss = output_loss_and_grad(network, params, grads, hidden, chunk.targets, work, scale=scale)
        else:
            few, few_grads = candidate_weights(params, chunk.candidates, out=work.few, backend=backend), work.few_grads
            loss = output_loss_and_grad(
                network, few, grads | few_grads, hidden, chunk.candidates.targets, work, scale=scale
            )
            candidate_weights_backward(few_grads, chunk.candidates, out=grads, backend=backend)
        backward(network, params, grads, chunk, work)
        if chunk.recurrent_masks is not None:
            drop_recurrent_backward(grads, chunk.recurrent_masks, backend=backend)
        return loss


# -- forward ----------------------------------------------------------------------------------------------------------


def prepare(network: Network, params: Views, work: Workspace) -> None:
    """Compute what depends on the weights alone. Call it before the first `forward`, and when the weights change."""
    V, W_xh, b_h = network.vocab_size, params["layer0.W_xh"], params["layer0.b_h"]
    if network.embedding_size:
        work.table[:V, ...] = params["embedding.table"]
        work.table[V, ...] = 0.0  # "no character" is x = 0
    else:
        network.backend.xp.add(W_xh, b_h, out=work.table[:V, ...])
        if work.dtable is not None:
            work.table[V, ...] = b_h  # "no character" adds only the bias
    for i, layer in enumerate(work.layers):
        layer.tape.by_W.use(params[f"layer{i}.W_hh"])
        for name, gate in network.cell.BIASES.items():
            layer.tape.bias[gate, ...] = params[f"layer{i}.{name}"]


def forward(
    network: Network,
    params: Views,
    inputs: Array,
    keep: Array | None,
    state: State | None,
    work: Workspace,
    output_masks: Array | None = None,
) -> Array:
    """Read a chunk and return the last layer's output (T·B, H). The tapes in `work` hold what `backward` needs.

    Args:
        network: the shape of the network.
        params: the same weights that `prepare` got.
        inputs: (T·B,) ids, time-major.
        keep: see `Chunk`.
        state: before the chunk; None continues from the end of the last pass in `work`.
        work: for (T, B).
        output_masks: see `Chunk`.
    """
    backend, recurrence, output = network.backend, network.backend.recurrence(network.cell), inputs
    for i, layer in enumerate(work.layers):
        if i == 0:
            read_characters(network, params, inputs, work)
        else:
            project_input(network, params, i, output, out=layer.z)
        for name, first, last in layer.boundary_states:
            first[...] = last if state is None else state[name][i, ...]
        recurrence.recurrence_forward(layer.tape, keep, backend=backend)
        output = layer.h
        if output_masks is not None:
            output = drop_outputs(layer.h, output_masks[i, ...], out=layer.dropped, backend=backend)
    return output


def next_state(work: Workspace, *, out: State) -> None:
    """Copy the state after the last forward pass in `work` to `out`."""
    for i, layer in enumerate(work.layers):
        for name, _, last in layer.boundary_states:
            out[name][i, ...] = last


# -- input of a layer -------------------------------------------------------------------------------------------------


def read_characters(network: Network, params: Views, inputs: Array, work: Workspace) -> None:
    """Write the projected input z (T·B, G·H) of the first layer for ids (T·B,)."""
    if work.x is None:  # x is one-hot, so x @ W_xh + b_h is a row of the table
        network.backend.take_rows(work.table, inputs, out=work.layers[0].z)
    else:
        x = network.backend.take_rows(work.table, inputs, out=work.x)
        project_input(network, params, 0, x, out=work.layers[0].z)


def read_characters_backward(network: Network, params: Views, grads: Views, inputs: Array, work: Workspace) -> None:
    """The adjoint of `read_characters`: from dz of the first layer compute the gradients of the weights that it uses.

    With tied weights the gradient of the table is added to that of the output layer, which is in `grads` already.
    """
    backend, dz = network.backend, work.layers[0].z
    name, rows = "layer0.W_xh", dz
    if work.x is not None:
        project_input_backward(network, params, grads, 0, work.x, dz, ones=work.ones, out=work.x)
        name, rows = "embedding.table", work.x
    # Each row of dz, or of dL/dx, belongs to the row of the table of its character.
    dtable = grads[name] if work.dtable is None else work.dtable
    backend.sum_rows(inputs, rows, out=dtable)
    if work.x is None:  # db_h is the sum of all rows
        backend.matmul(work.ones_of_dtable, dtable, out=grads["layer0.b_h"][None, :])
    of_characters = dtable[: network.vocab_size, ...]  # without the row of "no character"
    if network.tie_weights:
        backend.xp.add(grads[name], of_characters, out=grads[name])
    elif work.dtable is not None:
        grads[name][...] = of_characters


def project_input(network: Network, params: Views, i: int, x: Array, *, out: Array) -> None:
    """Write z = x @ W_xh + b_h (T·B, G·H) of layer i into `out`; x is (T·B, H), of the first layer (T·B, E)."""
    network.backend.matmul(x, params[f"layer{i}.W_xh"], out=out)
    network.backend.xp.add(out, params[f"layer{i}.b_h"], out=out)


def project_input_backward(
    network: Network, params: Views, grads: Views, i: int, x: Array, dz: Array, *, ones: Array, out: Array
) -> None:
    """The adjoint of `project_input`: write the gradients of W_xh and b_h into `grads`, and dL/dx into `out`.

    `ones` is (1, T·B); `out` may be `x`.
    """
    matmul = network.backend.matmul
    matmul(ones, dz, out=grads[f"layer{i}.b_h"][None, :])  # db_h = sum of dz
    matmul(x.T, dz, out=grads[f"layer{i}.W_xh"])  # dW_xh = x.T @ dz
    matmul(dz, params[f"layer{i}.W_xh"].T, out=out)  # dL/dx = dz @ W_xh.T


# -- output layer and loss, a block of rows at a time -----------------------------------------------------------------


def output_loss_and_grad(
    network: Network, params: Views, grads: Views, hidden: Array, targets: Array, work: Workspace, *, scale: float
) -> Array:
    """Return the summed nats (0-d) of the targets, and compute the gradients of `scale` times the sum.

    Those of the output layer go into `grads`, dL/dh (N, H) goes into `work.dhidden`.
    """
    backend, losses = network.backend, list[Array]()
    nats_and_grad = backend.fused("cross_entropy", cross_entropy_and_grad)
    for i, block in enumerate(work.blocks):
        h = hidden[block.rows, :]
        block_grads = work.block_grads if i else grads  # the first block writes the gradients, the others are added
        logits = project(network, params, h, embedded=block.embedded, out=block.logits)
        nats = nats_and_grad(logits, targets[block.rows], scale, backend=backend)  # logits become their gradient
        project_backward(
            network, params, block_grads, h, logits, ones=block.ones, embedded=block.embedded, out=block.dhidden
        )
        if i:
            for name, gradient in block_grads.items():
                backend.xp.add(grads[name], gradient, out=grads[name])
        losses.append(backend.total(nats))
    return sum(losses[1:], losses[0])


def project(network: Network, params: Views, hidden: Array, *, embedded: Array | None = None, out: Array) -> Array:
    """Write the logits (N, V) of hidden states (N, H) into `out` and return it: h @ W_hy + b_y.

    `embedded` (N, E) is overwritten with h @ W_he, if the network has these weights.
    """
    W_hy = output_weights(network, params)
    network.backend.matmul(to_embedding(network, params, hidden, out=embedded), W_hy, out=out)
    return network.backend.xp.add(out, params["output.b_y"], out=out)


def project_backward(
    network: Network,
    params: Views,
    grads: Views,
    hidden: Array,
    dlogits: Array,
    *,
    ones: Array,
    embedded: Array | None = None,
    out: Array,
) -> None:
    """The adjoint of `project`: write the output layer's gradients into `grads` and dL/dh (N, H) into `out`.

    `ones` is (1, N). `embedded` is as `project` left it, and overwritten with its gradient.
    """
    matmul, W_hy = network.backend.matmul, output_weights(network, params)
    matmul(ones, dlogits, out=grads["output.b_y"][None, :])  # db_y = sum of dy
    if not network.tie_weights:
        matmul(hidden.T, dlogits, out=grads["output.W_hy"])  # dW_hy = h.T @ dy
    else:  # W_hy = table.T, so dtable = dW_hy.T
        matmul(dlogits.T, hidden if embedded is None else embedded, out=grads["embedding.table"])
    if embedded is None:
        matmul(dlogits, W_hy.T, out=out)  # dL/dh = dy @ W_hy.T
    else:
        de = network.backend.matmul(dlogits, W_hy.T, out=embedded)  # e = h @ W_he
        matmul(hidden.T, de, out=grads["output.W_he"])
        matmul(de, params["output.W_he"].T, out=out)


def output_weights(network: Network, params: Views) -> Array:
    """Return W_hy (H, V); with tied weights the transpose of the embedding's table, (E, V)."""
    return params["embedding.table"].T if network.tie_weights else params["output.W_hy"]


def to_embedding(network: Network, params: Views, hidden: Array, *, out: Array | None) -> Array:
    """Return what `output_weights` multiply: hidden states (N, H), or h @ W_he (N, E) in `out` if it is not None."""
    return hidden if out is None else network.backend.matmul(hidden, params["output.W_he"], out=out)


def cross_entropy(logits: Array, targets: Array, *, backend: Backend) -> tuple[Array, Array]:
    """Compute -log softmax(logits)[target] by a shifted log-sum-exp, which is finite for all finite logits.

    Args:
        logits: (N, V); overwritten with exp(logits - the maximum of their row), which lies in [0, 1].
        targets: (N,) ids.
        backend: of the arrays.

    Returns:
        The nats (N,), and the row sums (N, 1) of the exponentials, which the adjoint needs.
    """
    xp = backend.xp
    xp.subtract(logits, backend.row_max(logits), out=logits)
    shifted = backend.pick(logits, targets)
    xp.exp(logits, out=logits)
    sums = backend.row_sums(logits)
    return xp.log(sums[:, 0]) - shifted, sums


def cross_entropy_backward(
    exponentials: Array, sums: Array, targets: Array, scale: float, *, backend: Backend
) -> Array:
    """The adjoint of `cross_entropy`: compute scale * (softmax - one_hot(target)), the gradient by the logits.

    Args:
        exponentials: (N, V), as `cross_entropy` left them; overwritten with the gradient, which is returned.
        sums: (N, 1), from `cross_entropy`.
        targets: (N,) ids.
        scale: the factor of the loss.
        backend: of the arrays.
    """
    backend.xp.multiply(exponentials, scale / sums, out=exponentials)  # dy = scale * ps
    backend.subtract_at(exponentials, targets, scale)  # dy[target] -= scale
    return exponentials


def cross_entropy_and_grad(logits: Array, targets: Array, scale: float, *, backend: Backend) -> Array:
    """Return the nats (N,) and overwrite the logits (N, V) with the gradient of `scale` times their sum."""
    nats, sums = cross_entropy(logits, targets, backend=backend)
    cross_entropy_backward(logits, sums, targets, scale, backend=backend)
    return nats


# -- backward ---------------------------------------------------------------------------------------------------------


def backward(network: Network, params: Views, grads: Views, chunk: Chunk, work: Workspace) -> None:
    """The adjoint of `forward`: from dL/dh in `work.dhidden` compute the gradients of every layer into `grads`."""
    backend, keep, masks = network.backend, chunk.keep, chunk.output_masks
    recurrence, ones, H = backend.recurrence(network.cell), work.ones, network.hidden_size
    for i, layer in reversed(list(enumerate(work.layers))):
        if masks is not None:
            drop_outputs(work.dhidden, masks[i, ...], out=work.dhidden, backend=backend)
        layer.tape.by_W_T.use(params[f"layer{i}.W_hh"].T)
        recurrence.recurrence_backward(layer.tape, work.dhidden_series, keep, backend=backend)
        h_before, dz, dz_hidden = layer.h_before, layer.z, layer.z_hidden
        if keep is not None:
            h_before = backend.xp.multiply(h_before, backend.xp.reshape(keep, (-1, 1)), out=work.kept)
        # dW_hh = sum of (keep[t] * h[t-1]).T @ dz_hidden[t]
        backend.matmul(h_before.T, dz_hidden, out=grads[f"layer{i}.W_hh"])
        for name, gate in network.cell.BIASES.items():
            backend.column_sums(dz_hidden[:, gate * H : (gate + 1) * H], ones=ones, out=grads[f"layer{i}.{name}"])
        if i == 0:
            read_characters_backward(network, params, grads, chunk.inputs, work)
        else:
            below = work.layers[i - 1]
            x = below.h if masks is None else below.dropped
            project_input_backward(network, params, grads, i, x, dz, ones=ones, out=work.dhidden)  # for the layer below


# -- without gradients -------------------------------------------------------------------------------------------------


def surprise(network: Network, params: Views, hidden: Array, targets: Array, work: Workspace) -> Array:
    """Return -log p(target) in nats (N,), without gradients, for evaluation.

    Args:
        network: the sizes and the backend.
        params: the weights.
        hidden: (N, H) the last layer's output, N = T·B.
        targets: (N,) the ids that it predicts.
        work: for (T, B).
    """
    parts = []
    for block in work.blocks:
        h = hidden[block.rows, :]
        logits = project(network, params, h, embedded=block.embedded, out=block.logits)
        parts.append(cross_entropy(logits, targets[block.rows], backend=network.backend)[0])
    return network.backend.xp.concat(parts) if len(parts) > 1 else parts[0]
