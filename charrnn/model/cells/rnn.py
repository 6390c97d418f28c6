"""The tanh cell (Elman, 1990): h[t] = tanh(z[t] + keep[t] · h[t-1] @ W), where z is the projected input plus bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.backend import steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend

NAME = "rnn"
GATES = 1
STATES = ("hidden",)


@dataclass(frozen=True)
class Tape:
    """What one layer writes in a forward pass over (T, B) and reads in the backward pass; allocated once.

    Attributes:
        z: (T, B, H) the projected input; the adjoint leaves dz here.
        hidden: (T+1, B, H); slot 0 is the state before the chunk, slot t+1 the state after step t.
        slope: (T, B, H) scratch of the adjoint.
        carried: (B, H) scratch: what flows between two steps.
        transposed: (H, H) scratch of the adjoint: the recurrent weights, transposed.
        z_steps: the T views z[t].
        hidden_steps: the T+1 views hidden[t].
        slope_steps: the T views slope[t].
    """

    z: Array
    hidden: Array
    slope: Array
    carried: Array
    transposed: Array
    z_steps: tuple[Array, ...]
    hidden_steps: tuple[Array, ...]
    slope_steps: tuple[Array, ...]


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """An empty tape."""
    z, hidden = backend.empty((T, B, GATES * H), dtype), backend.empty((T + 1, B, H), dtype)
    slope, carried, transposed = (backend.empty(shape, dtype) for shape in ((T, B, H), (B, H), (H, GATES * H)))
    return Tape(z, hidden, slope, carried, transposed, *map(steps, (z, hidden, slope)))


def recurrence_forward(tape: Tape, W: Array, keep: Array | None, *, backend: Backend) -> None:
    """Fill `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: of this layer; `z` is read, `hidden` written.
        W: (H, H) recurrent weights, applied as h @ W.
        keep: (T, B) of the arrays' dtype, 0 where a stream's state is dropped before step t; None for all ones.
        backend: of the arrays.
    """
    matmul, add, multiply, tanh = backend.matmul, backend.xp.add, backend.xp.multiply, backend.xp.tanh
    for t, (z, before, after) in enumerate(zip(tape.z_steps, tape.hidden_steps, tape.hidden_steps[1:], strict=False)):
        if keep is not None:
            before = multiply(before, keep[t, :, None], out=tape.carried)
        matmul(before, W, out=after)
        add(after, z, out=after)
        tanh(after, out=after)


def recurrence_backward(
    tape: Tape, dhidden: tuple[Array, ...], W: Array, keep: Array | None, *, backend: Backend
) -> None:
    """Write dz[t] = (1 - h[t]²) · (dh[t] + keep[t+1] · dz[t+1] @ Wᵀ) into `tape.z`, from the last step to the first.

    Args:
        tape: as the forward pass left it.
        dhidden: T arrays (B, H), the gradient of the loss by each h[t] from the layer above; overwritten.
        W: (H, H), as in the forward pass.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    matmul, add, multiply = backend.matmul, backend.xp.add, backend.xp.multiply
    after = tape.hidden[1:, ...]
    multiply(after, after, out=tape.slope)
    backend.xp.subtract(1.0, tape.slope, out=tape.slope)
    W_T = backend.transposed(W, rows=dhidden[0].shape[0], out=tape.transposed)
    carried, last = tape.carried, len(dhidden) - 1
    for t in range(last, -1, -1):
        if t < last:
            matmul(tape.z_steps[t + 1], W_T, out=carried)
            if keep is not None:
                multiply(carried, keep[t + 1, :, None], out=carried)
            add(dhidden[t], carried, out=dhidden[t])
        multiply(dhidden[t], tape.slope_steps[t], out=tape.z_steps[t])
