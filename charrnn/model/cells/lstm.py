"""Long short-term memory (Hochreiter & Schmidhuber, 1997) with forget gates (Gers et al., 2000), as PyTorch has it.

    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o);  g = tanh(a_g)     input, forget and output gate; candidate
    c[t] = f * keep[t] * c[t-1] + i * g                                    cell state
    h[t] = o * tanh(c[t])                                                  hidden state

where a[t] = z[t] + keep[t] * h[t-1] @ W has the four parts (i, f, g, o), and z = x @ W_xh + b_h.
sigmoid(x) = (1 + tanh(x/2)) / 2, so one pass of tanh computes all gates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from charrnn.backend import gate_steps, steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend, PackedWeights, Series

NAME = "lstm"
GATES = 4
STATES = ("hidden", "cell_state")
BIASES: dict[str, int] = {}
FORGET_GATES = (1,)
OPERATIONS = 35


class Step(NamedTuple):
    """The views of one time step: the inputs, the gates apart (G, B, H), and the states before and after it."""

    z: Array
    z_gates: Array
    gates: Array
    h_before: Array
    c_before: Array
    h: Array
    c: Array
    tanh_c: Array


@dataclass(frozen=True)
class Tape:
    """What the forward pass of one layer saves for the backward pass: arrays for T steps of B streams.

    Attributes:
        z: (T, B, 4H) the projected input in the order i, f, g, o. The forward pass overwrites it with the gates' values
            as (T, 4, B, H), each gate contiguous; the backward pass overwrites those with dz.
        hidden: (T+1, B, H); hidden[0] is the state before the chunk, hidden[t+1] is h[t] of the formulas.
        cell_state: (T+1, B, H) c, in the same way.
        scratch: (4, B, H): the gates being computed; in the backward pass their slopes.
        product: (B, H) scratch.
        dc_later: (B, H) scratch: the gradient that reaches c[t] from step t+1.
        kept: (B, H) scratch: keep[t] * h[t-1].
        kept_c: (B, H) scratch: keep[t] * c[t-1].
        kept_dz: (B, 4H) scratch: keep[t+1] * dz[t+1].
        scale: (4, 1, 1) 1/2 for the sigmoids, 1 for g.
        shift: (4, 1, 1) 1/2 for the sigmoids, 0 for g.
        by_W: multiplies by the recurrent weights W (H, 4H).
        by_W_T: multiplies by their transpose.
        steps: the views of each time step.
    """

    z: Array
    hidden: Array
    cell_state: Array
    scratch: Array
    product: Array
    dc_later: Array
    kept: Array
    kept_c: Array
    kept_dz: Array
    scale: Array
    shift: Array
    by_W: PackedWeights
    by_W_T: PackedWeights
    steps: tuple[Step, ...]

    @property
    def z_hidden(self) -> Array:
        """Where the backward pass leaves the gradient of the recurrent product. For this cell that is dz."""
        return self.z


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """Return an empty tape."""
    z, scratch = backend.empty((T, B, GATES * H), dtype), backend.empty((GATES, B, H), dtype)
    hidden, cell_state = (backend.empty((T + 1, B, H), dtype) for _ in range(2))
    product, dc_later, kept, kept_c = (backend.empty((B, H), dtype) for _ in range(4))
    kept_dz = backend.empty((B, GATES * H), dtype)
    scale, shift = (backend.zeros((GATES, 1, 1), dtype) + 0.5 for _ in range(2))
    scale[2, ...], shift[2, ...] = 1.0, 0.0
    by_W = backend.packed_weights((H, GATES * H), dtype, rows=B, blocks=GATES)
    by_W_T = backend.packed_weights((GATES * H, H), dtype, rows=B)
    h, c, tanh_c = steps(hidden), steps(cell_state), steps(backend.empty((T, B, H), dtype))
    z_gates, gates = gate_steps(z, GATES, xp=backend.xp), steps(backend.xp.reshape(z, (T, GATES, B, H)))
    views = tuple(map(Step._make, zip(steps(z), z_gates, gates, h, c, h[1:], c[1:], tanh_c, strict=False)))
    buffers = (scratch, product, dc_later, kept, kept_c, kept_dz, scale, shift)
    return Tape(z, hidden, cell_state, *buffers, by_W, by_W_T, views)


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Compute `tape.hidden[1:]` and `tape.cell_state[1:]` from their slots 0 and `tape.z`.

    Args:
        tape: the arrays of this layer.
        keep: (T, B) of the arrays' dtype, 0 where the states of a stream are reset before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, add, tanh = tape.by_W.affine, backend.xp.multiply, backend.xp.add, backend.xp.tanh
    scale, shift, a, product = tape.scale, tape.shift, tape.scratch, tape.product
    for t, (_, z, gates, h_before, c_before, h, c, tanh_c) in enumerate(tape.steps):
        if keep is not None:
            h_before = multiply(h_before, keep[t, :, None], out=tape.kept)  # keep[t] * h[t-1]
            c_before = multiply(c_before, keep[t, :, None], out=tape.kept_c)  # keep[t] * c[t-1]
        affine(h_before, z, a)  # a[t] = keep[t] * h[t-1] @ W + z[t]
        multiply(a, scale, out=a)
        tanh(a, out=a)
        multiply(a, scale, out=a)
        add(a, shift, out=gates)  # i, f, o = (1 + tanh(a/2)) / 2;  g = tanh(a)
        multiply(gates[1, ...], c_before, out=c)
        multiply(gates[0, ...], gates[2, ...], out=product)
        add(c, product, out=c)  # c[t] = f * c[t-1] + i * g
        tanh(c, out=tanh_c)
        multiply(gates[3, ...], tanh_c, out=h)  # h[t] = o * tanh(c[t])


def recurrence_backward(tape: Tape, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
    """Compute dz[t] = dL/da[t] from the last step to the first and write it into `tape.z`.

        dh[t] = dhidden[t] + keep[t+1] * dz[t+1] @ W.T
        dc[t] = o * (1 - tanh(c[t])^2) * dh[t] + keep[t+1] * f[t+1] * dc[t+1]
        dz_i = i * (1 - i) * g * dc;    dz_f = f * (1 - f) * keep[t] * c[t-1] * dc
        dz_g = (1 - g^2) * i * dc;      dz_o = o * (1 - o) * tanh(c[t]) * dh

    Args:
        tape: as the forward pass left it.
        dhidden: (T, B, H) the gradient by h[t] that comes from the layer above; overwritten with dh.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, add, subtract = tape.by_W_T.affine, backend.xp.multiply, backend.xp.add, backend.xp.subtract
    slope, dc, dc_later, last = tape.scratch, tape.product, tape.dc_later, len(dhidden.steps) - 1
    dc_later[...] = 0.0
    for t in range(last, -1, -1):
        _, dz, gates, _, c_before, h, _, tanh_c = tape.steps[t]
        dh, (i, f, g, o) = dhidden.steps[t], (gates[n, ...] for n in range(GATES))
        if t < last:
            later = tape.steps[t + 1].z
            # dh[t] += keep[t+1] * dz[t+1] @ W.T
            affine(later if keep is None else multiply(later, keep[t + 1, :, None], out=tape.kept_dz), dh, dh)
        if keep is not None:
            c_before = multiply(c_before, keep[t, :, None], out=tape.kept_c)
        multiply(gates, gates, out=slope)
        subtract(gates[:2, ...], slope[:2, ...], out=slope[:2, ...])  # i * (1 - i), f * (1 - f)
        subtract(1.0, slope[2, ...], out=slope[2, ...])  # 1 - g^2
        subtract(o, slope[3, ...], out=slope[3, ...])  # o * (1 - o)
        for n, factor in enumerate((g, c_before, i, tanh_c)):
            multiply(slope[n, ...], factor, out=slope[n, ...])
        multiply(h, tanh_c, out=dc)  # h * tanh(c) = o * tanh(c)^2
        subtract(o, dc, out=dc)
        multiply(dc, dh, out=dc)  # o * (1 - tanh(c)^2) * dh
        add(dc, dc_later, out=dc)
        multiply(dc, f, out=dc_later)  # for step t-1; the last use of a gate, as dz overwrites them
        multiply(slope[:3, ...], dc, out=dz[:3, ...])  # dz_i, dz_f, dz_g
        multiply(slope[3, ...], dh, out=dz[3, ...])  # dz_o
        if keep is not None:
            multiply(dc_later, keep[t, :, None], out=dc_later)
