"""The gated recurrent unit (Cho et al., 2014) as PyTorch has it: the reset gate acts on the recurrent product.

    r, y = sigmoid(a_r), sigmoid(a_y);  (a_r, a_y) = z + keep[t] * h[t-1] @ W     reset and update gate (PyTorch's r, z)
    n = tanh(z_n + r * u);              u = keep[t] * h[t-1] @ W_n + b_hn         candidate
    h[t] = (1 - y) * n + y * keep[t] * h[t-1]                                     hidden state

where z = x @ W_xh + b_h has the three parts (r, y, n). sigmoid(x) = (1 + tanh(x/2)) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from charrnn.backend import gate_steps, steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend, PackedWeights, Series

NAME = "gru"
GATES = 3
STATES = ("hidden",)
BIASES = {"b_hn": 2}
FORGET_GATES: tuple[int, ...] = ()
OPERATIONS = 38


class Step(NamedTuple):
    """The views of one time step: z and dz_hidden with the gates apart (G, B, H), r y n, u, the states, dz_hidden."""

    z_gates: Array
    z_hidden_gates: Array
    gates: Array
    u: Array
    h_before: Array
    h: Array
    z_hidden: Array


@dataclass(frozen=True)
class Tape:
    """What the forward pass of one layer saves for the backward pass: arrays for T steps of B streams.

    Attributes:
        z: (T, B, 3H) the projected input in the order r, y, n. The forward pass overwrites it with the gates' values as
            (T, 3, B, H), each gate contiguous; the backward pass overwrites those with dz.
        z_hidden: (T, B, 3H) where the backward pass leaves the gradient of the recurrent product: dz, its last third
            times r. The forward pass keeps u at the start of each step's memory.
        hidden: (T+1, B, H); hidden[0] is the state before the chunk, hidden[t+1] is h[t] of the formulas.
        bias: (3, B, H) of the recurrent product: 0, 0, b_hn.
        scratch: (3, B, H): the gates being computed; in the backward pass their slopes.
        product: (B, H) scratch.
        dh_later: (B, H) scratch: y[t+1] * dh[t+1], the gradient that reaches h[t] past the gates of step t+1.
        kept: (B, H) scratch: keep[t] * h[t-1].
        kept_dz: (B, 3H) scratch: keep[t+1] * dz_hidden[t+1].
        by_W: multiplies by the recurrent weights W (H, 3H).
        by_W_T: multiplies by their transpose.
        steps: the views of each time step.
    """

    z: Array
    z_hidden: Array
    hidden: Array
    bias: Array
    scratch: Array
    product: Array
    dh_later: Array
    kept: Array
    kept_dz: Array
    by_W: PackedWeights
    by_W_T: PackedWeights
    steps: tuple[Step, ...]


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """Return an empty tape."""
    z, z_hidden = (backend.empty((T, B, GATES * H), dtype) for _ in range(2))
    hidden, bias = backend.empty((T + 1, B, H), dtype), backend.zeros((GATES, B, H), dtype)
    scratch, kept_dz = backend.empty((GATES, B, H), dtype), backend.empty((B, GATES * H), dtype)
    product, dh_later, kept = (backend.empty((B, H), dtype) for _ in range(3))
    by_W = backend.packed_weights((H, GATES * H), dtype, rows=B, blocks=GATES)
    by_W_T = backend.packed_weights((GATES * H, H), dtype, rows=B)
    z_gates, z_hidden_gates = (gate_steps(a, GATES, xp=backend.xp) for a in (z, z_hidden))
    gates, halves = (steps(backend.xp.reshape(a, (T, GATES, B, H))) for a in (z, z_hidden))
    h, u = steps(hidden), (block[0, ...] for block in halves)
    views = tuple(map(Step._make, zip(z_gates, z_hidden_gates, gates, u, h, h[1:], steps(z_hidden), strict=False)))
    return Tape(z, z_hidden, hidden, bias, scratch, product, dh_later, kept, kept_dz, by_W, by_W_T, views)


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Compute `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: the arrays of this layer.
        keep: (T, B) of the arrays' dtype, 0 where the state of a stream is reset before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, add = tape.by_W.affine, backend.xp.multiply, backend.xp.add
    subtract, tanh = backend.xp.subtract, backend.xp.tanh
    a, product = tape.scratch, tape.product
    for t, (z, _, gates, u, h_before, h, _) in enumerate(tape.steps):
        if keep is not None:
            h_before = multiply(h_before, keep[t, :, None], out=tape.kept)  # keep[t] * h[t-1]
        affine(h_before, tape.bias, a)  # keep[t] * h[t-1] @ W, plus b_hn for the candidate
        sigmoids, n = a[:2, ...], a[2, ...]
        u[...] = n
        add(sigmoids, z[:2, ...], out=sigmoids)  # a_r, a_y
        multiply(sigmoids, 0.5, out=sigmoids)
        tanh(sigmoids, out=sigmoids)
        multiply(sigmoids, 0.5, out=sigmoids)
        add(sigmoids, 0.5, out=sigmoids)  # r, y = (1 + tanh(a/2)) / 2
        multiply(n, a[0, ...], out=n)
        add(n, z[2, ...], out=n)
        tanh(n, out=n)  # n = tanh(z_n + r * u)
        subtract(h_before, n, out=product)
        multiply(product, a[1, ...], out=product)
        add(product, n, out=h)  # h[t] = n + y * (h[t-1] - n)
        gates[...] = a


def recurrence_backward(tape: Tape, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
    """Compute dz = dL/dz and dz_hidden from the last step to the first, into `tape.z` and `tape.z_hidden`.

        dh[t] = dhidden[t] + keep[t+1] * (y[t+1] * dh[t+1] + dz_hidden[t+1] @ W.T)
        dz_n = (1 - y) * (1 - n^2) * dh
        dz_y = y * (1 - y) * (keep[t] * h[t-1] - n) * dh
        dz_r = r * (1 - r) * u * dz_n
        dz_hidden = dz_r, dz_y, r * dz_n

    Args:
        tape: as the forward pass left it.
        dhidden: (T, B, H) the gradient by h[t] that comes from the layer above; overwritten with dh.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, add, subtract = tape.by_W_T.affine, backend.xp.multiply, backend.xp.add, backend.xp.subtract
    slope, product, dh_later, last = tape.scratch, tape.product, tape.dh_later, len(dhidden.steps) - 1
    for t in range(last, -1, -1):
        dz, dz_hidden, gates, u, h_before, _, _ = tape.steps[t]
        dh, (r, y, n) = dhidden.steps[t], (gates[i, ...] for i in range(GATES))
        if t < last:
            later = tape.steps[t + 1].z_hidden
            # dh[t] += keep[t+1] * dz_hidden[t+1] @ W.T
            affine(later if keep is None else multiply(later, keep[t + 1, :, None], out=tape.kept_dz), dh, dh)
            add(dh, dh_later, out=dh)
        if keep is not None:
            h_before = multiply(h_before, keep[t, :, None], out=tape.kept)
        multiply(gates[:2, ...], gates[:2, ...], out=slope[:2, ...])
        subtract(gates[:2, ...], slope[:2, ...], out=slope[:2, ...])  # r * (1 - r), y * (1 - y)
        subtract(h_before, n, out=product)
        multiply(slope[1, ...], product, out=slope[1, ...])  # dz_y / dh
        multiply(n, n, out=product)
        subtract(1.0, product, out=product)
        subtract(1.0, y, out=slope[2, ...])
        multiply(slope[2, ...], product, out=slope[2, ...])  # dz_n / dh
        multiply(slope[0, ...], u, out=slope[0, ...])
        multiply(slope[0, ...], slope[2, ...], out=slope[0, ...])  # dz_r / dh
        multiply(dh, y, out=dh_later)  # for step t-1
        multiply(slope[2, ...], r, out=product)  # r * dz_n / dh; the last use of a gate, as dz overwrites them
        multiply(slope, dh, out=dz)
        slope[2, ...] = product
        multiply(slope, dh, out=dz_hidden)
        if keep is not None:
            multiply(dh_later, keep[t, :, None], out=dh_later)
