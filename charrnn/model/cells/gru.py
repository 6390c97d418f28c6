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
    from charrnn.backend import Array, Backend, PackedWeights, Series

NAME = "gru"
GATES = 3
STATES = ("hidden",)
BIASES = {"b_hn": 2}
FORGET: tuple[int, ...] = ()


class Step(NamedTuple):
    """The views of one time step, made once: z and z_hidden with gates apart, r, y, n and u, the states, dz_hidden."""

    z_gates: Array
    z_hidden_gates: Array
    values: Array
    inner: Array
    hidden: Array
    after: Array
    z_hidden: Array


@dataclass(frozen=True)
class Tape:
    """What one layer writes in a forward pass over (T, B) and reads in the backward pass; allocated once.

    Attributes:
        z: (T, B, 3H) the projected input, gates r, y, n; the adjoint leaves dz here. In between the same memory holds
            the gates' values as (T, 3, B, H), each gate contiguous, for the elementwise passes.
        z_hidden: (T, B, 3H) where the adjoint leaves the gradient by the recurrent product: dz, its last third times r.
            In between u stands at the beginning of each step's memory.
        hidden: (T+1, B, H) h; slot 0 is the state before the chunk, slot t+1 the state after step t.
        bias: (3, B, H) of the recurrent product: 0, 0, bn.
        scratch: (3, B, H): the gates on their way, then their slopes in the adjoint.
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
    hidden: Array
    bias: Array
    scratch: Array
    product: Array
    carry: Array
    kept: Array
    kept_dz: Array
    by_W: PackedWeights
    by_W_T: PackedWeights
    steps: tuple[Step, ...]


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """An empty tape."""
    z, z_hidden = (backend.empty((T, B, GATES * H), dtype) for _ in range(2))
    hidden, bias = backend.empty((T + 1, B, H), dtype), backend.zeros((GATES, B, H), dtype)
    gates, product, carry, kept = (backend.empty((*n, B, H), dtype) for n in ((GATES,), (), (), ()))
    by_W = backend.packed_weights((H, GATES * H), dtype, rows=B, blocks=GATES)
    by_W_T = backend.packed_weights((GATES * H, H), dtype, rows=B)
    apart = (gate_steps(a, GATES, xp=backend.xp) for a in (z, z_hidden))
    values, inner = (steps(backend.xp.reshape(a, (T, GATES, B, H))) for a in (z, z_hidden))
    h, u = steps(hidden), (block[0, ...] for block in inner)
    views = zip(*apart, values, u, h, h[1:], steps(z_hidden), strict=False)
    scratch = (gates, product, carry, kept, backend.empty((B, GATES * H), dtype))
    return Tape(z, z_hidden, hidden, bias, *scratch, by_W, by_W_T, tuple(map(Step._make, views)))


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Fill `tape.hidden[1:]` from `tape.hidden[0]` and `tape.z`.

    Args:
        tape: of this layer; `forth` multiplies by W (H, 3H), `z` and `bias` are read, the rest written.
        keep: (T, B) of the arrays' dtype, 0 where a stream's state is dropped before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, add = tape.by_W.affine, backend.xp.multiply, backend.xp.add
    subtract, tanh = backend.xp.subtract, backend.xp.tanh
    gates, product = tape.scratch, tape.product
    for t, (z, _, values, u, h, after, _) in enumerate(tape.steps):
        if keep is not None:
            h = multiply(h, keep[t, :, None], out=tape.kept)
        affine(h, tape.bias, gates)
        sigmoids, n = gates[:2, ...], gates[2, ...]
        u[...] = n
        add(sigmoids, z[:2, ...], out=sigmoids)
        multiply(sigmoids, 0.5, out=sigmoids)
        tanh(sigmoids, out=sigmoids)
        multiply(sigmoids, 0.5, out=sigmoids)
        add(sigmoids, 0.5, out=sigmoids)
        multiply(n, gates[0, ...], out=n)
        add(n, z[2, ...], out=n)
        tanh(n, out=n)
        subtract(h, n, out=product)
        multiply(product, gates[1, ...], out=product)
        add(product, n, out=after)
        values[...] = gates


def recurrence_backward(tape: Tape, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
    """Write dz into `tape.z` and dz_hidden into `tape.z_hidden`, from the last step to the first:

        dh[t] += k[t+1] · (y[t+1] ⊙ dh[t+1] + dz_hidden[t+1] @ Wᵀ)
        dzn = (1-y) (1-n²) ⊙ dh;  dzy = y (1-y) (k · h[t-1] - n) ⊙ dh;  dzr = r (1-r) u ⊙ dzn
        dz_hidden = dzr, dzy, r ⊙ dzn

    Args:
        tape: as the forward pass left it; `back` multiplies by Wᵀ.
        dhidden: T arrays (B, H) in one, the gradient of the loss by each h[t] from the layer above; added to in place.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, add, subtract = tape.by_W_T.affine, backend.xp.multiply, backend.xp.add, backend.xp.subtract
    slope, product, carry, last = tape.scratch, tape.product, tape.carry, len(dhidden.steps) - 1
    for t in range(last, -1, -1):
        dz, dz_hidden, gates, u, h, _, _ = tape.steps[t]
        dh, (r, y, n) = dhidden.steps[t], (gates[i, ...] for i in range(GATES))
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
        multiply(dh, y, out=carry)
        multiply(slope[2, ...], r, out=product)  # the last look at a gate: dz is written over them
        multiply(slope, dh, out=dz)
        slope[2, ...] = product
        multiply(slope, dh, out=dz_hidden)
        if keep is not None:
            multiply(carry, keep[t, :, None], out=carry)
