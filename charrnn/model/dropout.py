"""Locked dropout (Gal & Ghahramani, 2016; Merity et al., 2018): a chunk has one mask, the same at all its time steps.

Three kinds, each with its forward and backward function: characters vanish from the input of a stream, units from the
output of a layer, and single weights from a layer's recurrent matrix. `draw_masks` and the functions below it make the
masks. Evaluation and sampling have no masks and call nothing of this file.
"""

from __future__ import annotations

from itertools import product
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
    nothing = xp.asarray(V, dtype=ids.dtype, device=backend.device)
    return xp.where(dropped, nothing, inputs)


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


def draw_masks(
    key: HostArray, steps: range, numbers: range, threshold: int, kept: Any, *, out: Array, backend: Backend
) -> None:
    """Draw the masks of consecutive steps on the host and write them into `out`, on the device.

    A device may have a kernel that draws the same bits: `Backend.fused`.

    Args:
        key: see `draw`.
        steps: the numbers of updates done before the steps.
        numbers: of the masks of one step: `INPUT_NUMBERS`, or those of `output_numbers` or `recurrent_numbers`.
        threshold: of the probability to drop, from `drop_threshold`.
        kept: a NumPy scalar, what a mask has for what is kept: the number that `kept_scale` returns, and then dropped
            is 0; or false, and then dropped is true. Its dtype is that of the masks.
        out: for all steps and all numbers of a step one mask, in this order.
        backend: of `out`.
    """
    with backend.written_on_host(out, kept.dtype) as host:
        masks = host.reshape(len(steps) * len(numbers), -1)
        for mask, (step, number) in zip(masks, product(steps, numbers), strict=True):
            booleans = draw(key, step, number, threshold, mask.size)
            if kept:
                np.multiply(booleans, kept, out=mask)
            else:
                np.logical_not(booleans, out=mask)


INPUT_NUMBERS = range(1)
"""The number of the mask (B, V) of `drop_inputs` among those of a step."""


def output_numbers(L: int) -> range:
    """Return the numbers of the masks (L, B, H) of `drop_outputs` among those of a step, one a layer."""
    return range(1, 2 * L + 1, 2)


def recurrent_numbers(L: int) -> range:
    """Return the numbers of the masks (L, H, G·H) of `drop_recurrent` among those of a step, one a layer."""
    return range(2, 2 * L + 2, 2)


def draw(key: HostArray, step: int, number: int, threshold: int, count: int) -> HostArray:
    """Return booleans (count,), true with probability 1 - p, that depend on the arguments alone.

    They come from the counter-based generator Philox (Salmon et al., 2011) at (step, number). A boolean uses 16 random
    bits, so p is rounded to a multiple of 1 / 65,536.

    Args:
        key: (2,) uint64, of the run.
        step: updates done.
        number: of the mask among those of a step.
        threshold: of the probability p to drop, from `drop_threshold`.
        count: of booleans.
    """
    counter = np.array([0, 0, number, step], np.uint64)
    words = np.random.Philox(counter=counter, key=key).random_raw(-(-count // 4)).astype("<u8", copy=False)
    return words.view("<u2")[:count] >= threshold


def drop_threshold(p: float) -> int:
    """Return how many of the 65,536 values of 16 random bits mean "drop"; never all of them."""
    return min(65535, round(p * 65536))


def kept_scale(threshold: int, dtype: str) -> Any:
    """Return 1 / (1 - p) as a NumPy scalar: what is kept is multiplied by it, so that the mean stays."""
    return np.dtype(dtype).type(65536 / (65536 - threshold))
