"""The tanh cell (Elman, 1990): h[t] = tanh(z[t] + keep[t] · h[t-1] @ W), where z is the projected input plus bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.backend import steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend, PackedWeights, Series

NAME = "rnn"
GATES = 1
STATES = ("hidden",)
BIASES: dict[str, int] = {}
FORGET: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tape:
    """What one layer writes in a forward pass over (T, B) and reads in the backward pass; allocated once.

    Attributes:
        z: (T, B, H) the projected input; the adjoint leaves dz here.
        hidden: (T+1, B, H); slot 0 is the state before the chunk, slot t+1 the state after step t.
        slope: (T, B, H) scratch of the adjoint.
        kept: (B, H) scratch: what is kept of the state, or of its gradient, between two steps.
        forth: multiplies by the recurrent weights.
        back: multiplies by their transpose.
        steps: T times the views z[t], hidden[t], hidden[t+1].
        z_steps: the T views z[t].
        slope_steps: the T views slope[t].
    """

    z: Array
    hidden: Array
    slope: Array
    kept: Array
    by_W: PackedWeights
    by_W_T: PackedWeights
    steps: tuple[tuple[Array, Array, Array], ...]
    z_steps: tuple[Array, ...]
    slope_steps: tuple[Array, ...]

    @property
    def z_hidden(self) -> Array:
        """Where the adjoint leaves the gradient by the recurrent product: that is dz."""
        return self.z


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """An empty tape."""
    z, hidden = backend.empty((T, B, GATES * H), dtype), backend.empty((T + 1, B, H), dtype)
    slope, kept = backend.empty((T, B, H), dtype), backend.empty((B, H), dtype)
    by_W, by_W_T = (backend.packed_weights(shape, dtype, rows=B) for shape in ((H, GATES * H), (GATES * H, H)))
    inputs, states = steps(z), steps(hidden)
    walk = tuple(zip(inputs, states, states[1:], strict=False))
    return Tape(z, hidden, slope, kept, by_W, by_W_T, walk, inputs, steps(slope))


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Fill `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: of this layer; `forth` multiplies by W (H, H), `z` is read, `hidden` written.
        keep: (T, B) of the arrays' dtype, 0 where a stream's state is dropped before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, tanh = tape.by_W.affine, backend.xp.multiply, backend.xp.tanh
    for t, (z, before, after) in enumerate(tape.steps):
        if keep is not None:
            before = multiply(before, keep[t, :, None], out=tape.kept)
        affine(before, z, after)
        tanh(after, out=after)


def recurrence_backward(tape: Tape, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
    """Write dz[t] = (1 - h[t]²) · (dh[t] + (keep[t+1] · dz[t+1]) @ Wᵀ) into `tape.z`, from the last step to the first.

    Args:
        tape: as the forward pass left it; `back` multiplies by Wᵀ.
        dhidden: T arrays (B, H) in one, the gradient of the loss by each h[t] from the layer above.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, dz = tape.by_W_T.affine, backend.xp.multiply, tape.z_steps
    after = tape.hidden[1:, ...]
    multiply(after, after, out=tape.slope)
    backend.xp.subtract(1.0, tape.slope, out=tape.slope)
    last = len(dz) - 1
    multiply(dhidden.steps[last], tape.slope_steps[last], out=dz[last])
    for t in range(last - 1, -1, -1):
        later = dz[t + 1] if keep is None else multiply(dz[t + 1], keep[t + 1, :, None], out=tape.kept)
        affine(later, dhidden.steps[t], dz[t])
        multiply(dz[t], tape.slope_steps[t], out=dz[t])
