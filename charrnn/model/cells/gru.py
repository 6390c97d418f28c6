"""The gated recurrent unit (Cho et al., 2014) as PyTorch has it: the reset gate acts on the recurrent product.

    r, y = σ(zr), σ(zy);  (zr, zy)[t] = z[t] + k[t] · h[t-1] @ W
    n = tanh(zn + r ⊙ u);  u = k[t] · h[t-1] @ Wn + bn
    h[t] = (1 - y) ⊙ n + y ⊙ k[t] · h[t-1]

z is the projected input plus bias, k is keep, y the update gate (PyTorch's z). σ(x) = (1 + tanh(x/2)) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from charrnn.backend import gate_steps, steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend, Factor

NAME = "gru"
GATES = 3
STATES = ("hidden",)
BIASES = {"b_hn": 2}
FORGET: tuple[int, ...] = ()


class Step(NamedTuple):
    """The views of one time step, made once: the state before and after it, the gates apart, dz_hidden as rows too."""

    z_gates: Array
    z_hidden: Array
    z_hidden_gates: Array
    gates: Array
    hidden: Array
    after: Array


@dataclass(frozen=True)
class Tape:
    """What one layer writes in a forward pass over (T, B) and reads in the backward pass; allocated once.

    Attributes:
        z: (T, B, 3H) the projected input, gates r, y, n; the adjoint leaves dz here.
        z_hidden: (T, B, 3H) where the adjoint leaves the gradient by the recurrent product: dz, its last third times r.
        gates: (T, 4, B, H) r, y, u, n, each contiguous, for the elementwise passes.
        hidden: (T+1, B, H) h; slot 0 is the state before the chunk, slot t+1 the state after step t.
        bias: (3, B, H) of the recurrent product: 0, 0, bn.
        slope: (3, B, H) scratch of the adjoint.
        product: (B, H) scratch.
        carry: (B, H) scratch: the gradient that reaches h past the gates of the later step.
        kept: (B, H) scratch: what is kept of h.
        kept_dz: (B, 3H) scratch: what is kept of dz_hidden.
        forth: multiplies by the recurrent weights.
        back: multiplies by their transpose.
        steps: the views of each time step.
    """

    z: Array
    z_hidden: Array
    gates: Array
    hidden: Array
    bias: Array
    slope: Array
    product: Array
    carry: Array
    kept: Array
    kept_dz: Array
    forth: Factor
    back: Factor
    steps: tuple[Step, ...]


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """An empty tape."""
    z, z_hidden = (backend.empty((T, B, GATES * H), dtype) for _ in range(2))
    gates, hidden = backend.empty((T, GATES + 1, B, H), dtype), backend.empty((T + 1, B, H), dtype)
    bias, slope = backend.zeros((GATES, B, H), dtype), backend.empty((GATES, B, H), dtype)
    scratch = (*(backend.empty((B, H), dtype) for _ in range(3)), backend.empty((B, GATES * H), dtype))
    forth = backend.factor((H, GATES * H), dtype, rows=B, blocks=GATES)
    back = backend.factor((GATES * H, H), dtype, rows=B)
    apart, h = (gate_steps(a, GATES, xp=backend.xp) for a in (z, z_hidden)), steps(hidden)
    z_gates, z_hidden_gates = apart
    views = zip(z_gates, steps(z_hidden), z_hidden_gates, steps(gates), h, h[1:], strict=False)
    return Tape(z, z_hidden, gates, hidden, bias, slope, *scratch, forth, back, tuple(map(Step._make, views)))


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Fill `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: of this layer; `forth` multiplies by W (H, 3H), `z` and `bias` are read, the rest written.
        keep: (T, B) of the arrays' dtype, 0 where a stream's state is dropped before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, add = tape.forth.affine, backend.xp.multiply, backend.xp.add
    subtract, tanh = backend.xp.subtract, backend.xp.tanh
    for t, (z, _, _, gates, h, after) in enumerate(tape.steps):
        if keep is not None:
            h = multiply(h, keep[t, :, None], out=tape.kept)
        affine(h, tape.bias, gates[:3, ...])
        sigmoids, y, n = gates[:2, ...], gates[1, ...], gates[3, ...]
        add(sigmoids, z[:2, ...], out=sigmoids)
        multiply(sigmoids, 0.5, out=sigmoids)
        tanh(sigmoids, out=sigmoids)
        multiply(sigmoids, 0.5, out=sigmoids)
        add(sigmoids, 0.5, out=sigmoids)
        multiply(gates[0, ...], gates[2, ...], out=n)
        add(n, z[2, ...], out=n)
        tanh(n, out=n)
        subtract(h, n, out=after)
        multiply(after, y, out=after)
        add(after, n, out=after)


def recurrence_backward(tape: Tape, dhidden: tuple[Array, ...], keep: Array | None, *, backend: Backend) -> None:
    """Write dz into `tape.z` and dz_hidden into `tape.z_hidden`, from the last step to the first:

        dh[t] += k[t+1] · (y[t+1] ⊙ dh[t+1] + dz_hidden[t+1] @ Wᵀ)
        dzn = (1-y) (1-n²) ⊙ dh;  dzy = y (1-y) (k · h[t-1] - n) ⊙ dh;  dzr = r (1-r) u ⊙ dzn
        dz_hidden = dzr, dzy, r ⊙ dzn

    Args:
        tape: as the forward pass left it; `back` multiplies by Wᵀ.
        dhidden: T arrays (B, H), the gradient of the loss by each h[t] from the layer above; added to in place.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, add, subtract = tape.back.affine, backend.xp.multiply, backend.xp.add, backend.xp.subtract
    slope, product, carry, last = tape.slope, tape.product, tape.carry, len(dhidden) - 1
    for t in range(last, -1, -1):
        dz, _, dz_hidden, gates, h, _ = tape.steps[t]
        dh, (r, y, u, n) = dhidden[t], (gates[i, ...] for i in range(GATES + 1))
        if t < last:
            later = tape.steps[t + 1].z_hidden
            affine(later if keep is None else multiply(later, keep[t + 1, :, None], out=tape.kept_dz), dh, dh)
            add(dh, carry, out=dh)
        if keep is not None:
            h = multiply(h, keep[t, :, None], out=tape.kept)
        multiply(gates[:2, ...], gates[:2, ...], out=slope[:2, ...])
        subtract(gates[:2, ...], slope[:2, ...], out=slope[:2, ...])
        subtract(h, n, out=product)
        multiply(slope[1, ...], product, out=slope[1, ...])
        multiply(n, n, out=product)
        subtract(1.0, product, out=product)
        subtract(1.0, y, out=slope[2, ...])
        multiply(slope[2, ...], product, out=slope[2, ...])
        multiply(slope[0, ...], u, out=slope[0, ...])
        multiply(slope[0, ...], slope[2, ...], out=slope[0, ...])
        multiply(slope, dh, out=dz)
        multiply(slope[2, ...], r, out=slope[2, ...])
        multiply(slope, dh, out=dz_hidden)
        multiply(dh, y, out=carry)
        if keep is not None:
            multiply(carry, keep[t, :, None], out=carry)
