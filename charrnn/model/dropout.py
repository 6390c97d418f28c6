"""Locked dropout (Gal & Ghahramani, 2016; Merity et al., 2018): a chunk has one mask, the same at all its time steps.

Three kinds, each with its forward and backward function: characters vanish from the input of a stream, units from the
output of a layer, and single weights from a layer's recurrent matrix. `draw` and the functions below it make the masks
on the host. Evaluation and sampling have no masks and call nothing of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.model.network import Views

HostArray = np.ndarray[Any, np.dtype[Any]]


def drop_inputs(inputs: Array, mask: Array, *, backend: Backend) -> Array:
    """Return the ids (T·B,) with V, the id of "no character", in place of the characters that `mask` drops.

    The others are not scaled: an input is one character, not a sum in which others could replace it.

    Args:
        inputs: (T·B,) ids below V, time-major.
        mask: (B, V) booleans, true for a character that the stream does not see.
        backend: of the arrays.
    """
    xp, (B, V) = backend.xp, mask.shape
    ids = xp.reshape(inputs, (-1, B))
    rows = xp.arange(B, dtype=ids.dtype, device=backend.device) * V
    dropped = xp.take(xp.reshape(mask, (-1,)), xp.reshape(ids + rows[None, :], (-1,)), axis=0)
    return no_character_where(dropped, inputs, V, backend=backend)


def no_character_where(mask: Array, inputs: Array, V: int, *, backend: Backend) -> Array:
    """Return the ids (T·B,) with V, the id of "no character", where `mask` (T·B,) is true."""
    xp = backend.xp
    return xp.where(mask, xp.asarray(V, dtype=inputs.dtype, device=backend.device), inputs)


def drop_outputs(outputs: Array, mask: Array, *, out: Array, backend: Backend) -> Array:
    """Write outputs (T·B, H) times `mask` (B, H) at every time step into `out` and return it. It is its own adjoint.

    `mask` is 0 for a dropped unit and 1 / (1 - p) for the others, so that the mean stays.
    """
    xp, shape = backend.xp, (-1, *mask.shape)
    result = xp.reshape(out, shape)
    operand = result if outputs is out else xp.reshape(outputs, shape)  # CuPy would copy another view of `out`
    xp.multiply(operand, mask[None, ...], out=result)
    return out


def drop_recurrent(params: Views, masks: Array, *, out: Array, backend: Backend) -> Views:
    """Return the parameters with each layer's recurrent weights times their mask: DropConnect (Wan et al., 2013).

    Args:
        params: by name; not changed.
        masks: (L, H, G·H), 0 for a dropped weight and 1 / (1 - p) for the others.
        out: (L, H, G·H), overwritten with the masked weights.
        backend: of the arrays.
    """
    layers = {f"layer{i}.W_hh": i for i in range(masks.shape[0])}
    for name, i in layers.items():
        backend.xp.multiply(params[name], masks[i, ...], out=out[i, ...])
    return params | {name: out[i, ...] for name, i in layers.items()}


def drop_recurrent_backward(grads: Views, masks: Array, *, backend: Backend) -> None:
    """The adjoint of `drop_recurrent`: turn the gradients of the masked weights into those of the parameters."""
    for i in range(masks.shape[0]):
        gradient = grads[f"layer{i}.W_hh"]
        backend.xp.multiply(gradient, masks[i, ...], out=gradient)


def draw_input_mask(key: HostArray, step: int, p: float, shape: Sequence[int]) -> HostArray:
    """Return the mask (B, V) of `drop_inputs`: true with probability `p`."""
    return ~draw(key, step, 0, p, shape)


def draw_output_masks(key: HostArray, step: int, p: float, shape: Sequence[int], dtype: str) -> HostArray:
    """Return the masks (L, B, H) of `drop_outputs`, one a layer."""
    return scaled([draw(key, step, 2 * layer + 1, p, shape[1:]) for layer in range(shape[0])], p, dtype)


def draw_recurrent_masks(key: HostArray, step: int, p: float, shape: Sequence[int], dtype: str) -> HostArray:
    """Return the masks (L, H, G·H) of `drop_recurrent`, one a layer."""
    return scaled([draw(key, step, 2 * layer + 2, p, shape[1:]) for layer in range(shape[0])], p, dtype)


def draw(key: HostArray, step: int, number: int, p: float, shape: Sequence[int]) -> HostArray:
    """Return booleans, true with probability 1 - p, that depend on the arguments alone.

    They come from the counter-based generator Philox (Salmon et al., 2011) at (step, number). A boolean uses 16 random
    bits, so p is rounded to a multiple of 1 / 65,536.

    Args:
        key: (2,) uint64, of the run.
        step: updates done.
        number: of the mask among those of a step.
        p: the probability to drop.
        shape: of the result.
    """
    counter, count = np.array([0, 0, number, step], np.uint64), int(np.prod(shape))
    words = np.random.Philox(counter=counter, key=key).random_raw(-(-count // 4)).astype("<u8")
    return (words.view("<u2")[:count] >= drop_threshold(p)).reshape(shape)


def scaled(kept: list[HostArray], p: float, dtype: str) -> HostArray:
    """Return each layer's booleans as 0 and 1 / (1 - p)."""
    scale = np.array(65536 / (65536 - drop_threshold(p)), dtype)
    result = np.empty((len(kept), *kept[0].shape), dtype)
    for mask, booleans in zip(result, kept, strict=True):
        np.multiply(booleans, scale, out=mask)
    return result


def drop_threshold(p: float) -> int:
    """Return how many of the 65,536 values of 16 random bits mean "drop"; never all of them."""
    return min(65535, round(p * 65536))
