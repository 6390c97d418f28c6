"""The tanh cell (Elman, 1990): h[t] = tanh(z[t] + keep[t] · h[t-1] @ W), where z is the projected input plus bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        carried: (B, H) scratch: the state after `keep`.
    """

    z: Array
    hidden: Array
    slope: Array
    carried: Array


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """An empty tape."""
    return Tape(
        z=backend.empty((T, B, GATES * H), dtype),
        hidden=backend.empty((T + 1, B, H), dtype),
        slope=backend.empty((T, B, H), dtype),
        carried=backend.empty((B, H), dtype),
    )


def recurrence_forward(tape: Tape, W: Array, keep: Array | None, *, backend: Backend) -> None:
    """Fill `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: of this layer; `z` is read, `hidden` written.
        W: (H, H) recurrent weights, applied as h @ W.
        keep: (T, B) of the arrays' dtype, 0 where a stream's state is dropped before step t; None for all ones.
        backend: of the arrays.
    """
    xp = backend.xp
    for t in range(tape.z.shape[0]):
        before, after = tape.hidden[t, ...], tape.hidden[t + 1, ...]
        if keep is not None:
            before = xp.multiply(before, keep[t, :, None], out=tape.carried)
        backend.matmul(before, W, out=after)
        xp.add(after, tape.z[t, ...], out=after)
        xp.tanh(after, out=after)


def recurrence_backward(tape: Tape, dhidden: Array, W: Array, keep: Array | None, *, backend: Backend) -> None:
    """Write dz[t] = (1 - h[t]²) · (dh[t] + keep[t+1] · dz[t+1] @ Wᵀ) into `tape.z`, from the last step to the first.

    Args:
        tape: as the forward pass left it.
        dhidden: (T, B, H) gradient of the loss by each h[t] from the layer above; overwritten.
        W: (H, H), as in the forward pass.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    xp = backend.xp
    T = dhidden.shape[0]
    xp.multiply(tape.hidden[1:, ...], tape.hidden[1:, ...], out=tape.slope)
    xp.subtract(1.0, tape.slope, out=tape.slope)
    for t in reversed(range(T)):
        dh, dz = dhidden[t, ...], tape.z[t, ...]
        if t + 1 < T:
            backend.matmul(tape.z[t + 1, ...], W.T, out=tape.carried)
            if keep is not None:
                xp.multiply(tape.carried, keep[t + 1, :, None], out=tape.carried)
            xp.add(dh, tape.carried, out=dh)
        xp.multiply(dh, tape.slope[t, ...], out=dz)
