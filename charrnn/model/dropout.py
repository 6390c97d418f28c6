"""Locked dropout (Gal & Ghahramani, 2016; Merity et al., 2018): one mask a chunk, the same at all its time steps.

Whole characters vanish from the input of a stream, units from the output of a layer, and single weights from a layer's
recurrent matrix. Masks are drawn elsewhere (`charrnn.training.masks`); without them, as in evaluation and sampling,
nothing here is called.
"""

from __future__ import annotations

from charrnn.backend import Array, Backend

Views = dict[str, Array]


def drop_inputs(ids: Array, hidden: Array, *, backend: Backend) -> Array:
    """The ids (T, B) with V, which stands for no character, in place of each that is hidden in its stream.

    What is kept is not scaled: an input is one character, not a sum in which others could make up for it.

    Args:
        ids: (T, B), below V.
        hidden: (B, V) booleans.
        backend: of the arrays.
    """
    xp, (B, V) = backend.xp, hidden.shape
    rows = xp.arange(B, dtype=ids.dtype, device=backend.device) * V
    flags = xp.take(xp.reshape(hidden, (-1,)), xp.reshape(ids + rows[None, :], (-1,)), axis=0)
    nothing = xp.asarray(V, dtype=ids.dtype, device=backend.device)
    return xp.where(xp.reshape(flags, ids.shape), nothing, ids)


def drop_outputs(outputs: Array, mask: Array, *, out: Array, backend: Backend) -> Array:
    """outputs (T·B, H) times `mask` (B, H) at every time step, in `out`; its own adjoint.

    `mask` is 0 for a unit that is dropped and 1 / (1 - p) for one that is kept, so that the mean stays.
    """
    shape = (-1, *mask.shape)
    backend.xp.multiply(backend.xp.reshape(outputs, shape), mask[None, ...], out=backend.xp.reshape(out, shape))
    return out


def drop_recurrent(params: Views, masks: Array, *, out: Array, backend: Backend) -> Views:
    """The parameters with each layer's recurrent weights times its mask: DropConnect (Wan et al., 2013) on W_hh.

    The recurrence itself knows nothing of it: it multiplies by other weights.

    Args:
        params: by name; not changed.
        masks: (L, H, G·H), 0 for a weight that is dropped and 1 / (1 - p) for one that is kept.
        out: (L, H, G·H), overwritten: the weights times the masks.
        backend: of the arrays.
    """
    layers = {f"layer{i}.W_hh": i for i in range(masks.shape[0])}
    for name, i in layers.items():
        backend.xp.multiply(params[name], masks[i, ...], out=out[i, ...])
    return params | {name: out[i, ...] for name, i in layers.items()}


def drop_recurrent_backward(grads: Views, masks: Array, *, backend: Backend) -> None:
    """The adjoint of `disconnect`: the gradients by the weights it made become those by the parameters, in place."""
    for i in range(masks.shape[0]):
        gradient = grads[f"layer{i}.W_hh"]
        backend.xp.multiply(gradient, masks[i, ...], out=gradient)
