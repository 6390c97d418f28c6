"""The tanh cell (Elman, 1990): h[t] = tanh(a[t]) with a[t] = z[t] + keep[t] * h[t-1] @ W and z = x @ W_xh + b_h.

keep[t] is 0 where a text starts, so that the state of the text before it is not used, and 1 elsewhere.
In min-char-rnn: `hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t-1]) + bh)`, and its backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.backend import steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend, PackedWeights, Series

NAME = "rnn"
GATES = 1
STATES = ("hidden",)
BIASES: dict[str, int] = {}  # extra biases of the recurrent product: name -> gate; see the GRU
FORGET_GATES: tuple[int, ...] = ()
OPERATIONS = 6


@dataclass(frozen=True)
class Tape:
    """What the forward pass of one layer saves for the backward pass: arrays for T steps of B streams.

    Attributes:
        z: (T, B, H) the projected input; the backward pass overwrites it with dz.
        hidden: (T+1, B, H); hidden[0] is the state before the chunk, hidden[t+1] is h[t] of the formulas.
        slope: (T, B, H) scratch of the backward pass: 1 - h^2.
        kept: (B, H) scratch: keep[t] times a state or a gradient.
        by_W: multiplies by the recurrent weights W (H, H): by_W.affine(x, b, out) writes x @ W + b into out.
        by_W_T: multiplies by their transpose.
        steps: for each of the T steps the views z[t], h[t-1] and h[t].
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
        """Where the backward pass leaves the gradient of the recurrent product. For this cell that is dz."""
        return self.z


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """Return an empty tape."""
    z, hidden = backend.empty((T, B, H), dtype), backend.empty((T + 1, B, H), dtype)
    slope, kept = backend.empty((T, B, H), dtype), backend.empty((B, H), dtype)
    by_W, by_W_T = (backend.packed_weights((H, H), dtype, rows=B) for _ in range(2))
    inputs, states = steps(z), steps(hidden)
    views = tuple(zip(inputs, states, states[1:], strict=False))
    return Tape(z, hidden, slope, kept, by_W, by_W_T, views, inputs, steps(slope))


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Compute `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: the arrays of this layer.
        keep: (T, B) of the arrays' dtype, 0 where the state of a stream is reset before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, tanh = tape.by_W.affine, backend.xp.multiply, backend.xp.tanh
    for t, (z, h_before, h) in enumerate(tape.steps):
        if keep is not None:
            h_before = multiply(h_before, keep[t, :, None], out=tape.kept)  # keep[t] * h[t-1]
        affine(h_before, z, h)  # a[t] = keep[t] * h[t-1] @ W + z[t]
        tanh(h, out=h)  # h[t] = tanh(a[t])


def recurrence_backward(tape: Tape, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
    """Compute dz[t] = dL/da[t], min-char-rnn's `dhraw`, from the last step to the first, into `tape.z`.

    dz[t] = (1 - h[t]^2) * (dhidden[t] + keep[t+1] * dz[t+1] @ W.T). The second summand is min-char-rnn's `dhnext`.

    Args:
        tape: as the forward pass left it.
        dhidden: (T, B, H) the gradient by h[t] that comes from the layer above.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, dz = tape.by_W_T.affine, backend.xp.multiply, tape.z_steps
    h = tape.hidden[1:, ...]
    multiply(h, h, out=tape.slope)
    backend.xp.subtract(1.0, tape.slope, out=tape.slope)  # tanh'(a[t]) = 1 - h[t]^2
    last = len(dz) - 1
    multiply(dhidden.steps[last], tape.slope_steps[last], out=dz[last])
    for t in range(last - 1, -1, -1):
        later = dz[t + 1] if keep is None else multiply(dz[t + 1], keep[t + 1, :, None], out=tape.kept)
        affine(later, dhidden.steps[t], dz[t])  # dh = dhidden[t] + dhnext
        multiply(dz[t], tape.slope_steps[t], out=dz[t])  # dz[t] = dh * tanh'(a[t])
