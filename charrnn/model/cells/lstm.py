"""Long short-term memory (Hochreiter & Schmidhuber, 1997) with forget gates (Gers et al., 2000), as PyTorch has it.

    i, f, o = σ(zi), σ(zf), σ(zo);  g = tanh(zg);  (zi, zf, zg, zo)[t] = z[t] + keep[t] · h[t-1] @ W
    c[t] = f ⊙ keep[t] · c[t-1] + i ⊙ g
    h[t] = o ⊙ tanh(c[t])

z is the projected input plus bias. σ(x) = (1 + tanh(x/2)) / 2, so that all gates are one pass of tanh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from charrnn.backend import gate_steps, steps

if TYPE_CHECKING:
    from charrnn.backend import Array, Backend, PackedWeights, Series

NAME = "lstm"
GATES = 4
STATES = ("hidden", "memory")
BIASES: dict[str, int] = {}
FORGET = (1,)


class Step(NamedTuple):
    """The views of one time step, made once: the states before and after it, the gates apart, and z for its adjoint."""

    z: Array
    z_gates: Array
    values: Array
    hidden: Array
    memory: Array
    after: Array
    memory_after: Array
    squashed: Array


@dataclass(frozen=True)
class Tape:
    """What one layer writes in a forward pass over (T, B) and reads in the backward pass; allocated once.

    Attributes:
        z: (T, B, 4H) the projected input, gates i, f, g, o; the adjoint leaves dz here. In between the same memory
            holds the gates' values as (T, 4, B, H), each gate contiguous, for the elementwise passes.
        hidden: (T+1, B, H) h; slot 0 is the state before the chunk, slot t+1 the state after step t.
        memory: (T+1, B, H) c, in the same way.
        scratch: (4, B, H): the gates on their way, then their slopes in the adjoint.
        product: (B, H) scratch.
        dmemory: (B, H) scratch: the gradient that reaches c from the later steps.
        kept: (B, H) scratch: what is kept of h, and `kept_memory` of c.
        kept_dz: (B, 4H) scratch: what is kept of dz.
        half: (4, 1, 1) 1/2 for sigmoids, 1 for g.
        lift: (4, 1, 1) 1/2 for sigmoids, 0 for g.
        forth: multiplies by the recurrent weights.
        back: multiplies by their transpose.
        steps: the views of each time step.
    """

    z: Array
    hidden: Array
    memory: Array
    scratch: Array
    product: Array
    dmemory: Array
    kept: Array
    kept_memory: Array
    kept_dz: Array
    half: Array
    lift: Array
    by_W: PackedWeights
    by_W_T: PackedWeights
    steps: tuple[Step, ...]

    @property
    def z_hidden(self) -> Array:
        """Where the adjoint leaves the gradient by the recurrent product: that is dz."""
        return self.z


def tape(T: int, B: int, H: int, dtype: str, *, backend: Backend) -> Tape:
    """An empty tape."""
    z, gates = backend.empty((T, B, GATES * H), dtype), backend.empty((GATES, B, H), dtype)
    hidden, memory = (backend.empty((T + 1, B, H), dtype) for _ in STATES)
    product, dmemory, kept, kept_memory = (backend.empty((B, H), dtype) for _ in range(4))
    half, lift = (backend.zeros((GATES, 1, 1), dtype) + 0.5 for _ in range(2))
    half[2, ...], lift[2, ...] = 1.0, 0.0
    by_W = backend.packed_weights((H, GATES * H), dtype, rows=B, blocks=GATES)
    by_W_T = backend.packed_weights((GATES * H, H), dtype, rows=B)
    h, c, squashed = steps(hidden), steps(memory), steps(backend.empty((T, B, H), dtype))
    apart, values = gate_steps(z, GATES, xp=backend.xp), steps(backend.xp.reshape(z, (T, GATES, B, H)))
    views = zip(steps(z), apart, values, h, c, h[1:], c[1:], squashed, strict=False)
    scratch = (product, dmemory, kept, kept_memory, backend.empty((B, GATES * H), dtype))
    return Tape(z, hidden, memory, gates, *scratch, half, lift, by_W, by_W_T, tuple(map(Step._make, views)))


def recurrence_forward(tape: Tape, keep: Array | None, *, backend: Backend) -> None:
    """Fill `tape.hidden[1:]` and `tape.memory[1:]` from their slots 0 and `tape.z`.

    Args:
        tape: of this layer; `forth` multiplies by W (H, 4H), `z` is read, the rest written.
        keep: (T, B) of the arrays' dtype, 0 where a stream's states are dropped before step t; None for all ones.
        backend: of the arrays.
    """
    affine, multiply, add, tanh = tape.by_W.affine, backend.xp.multiply, backend.xp.add, backend.xp.tanh
    half, lift, new, product = tape.half, tape.lift, tape.scratch, tape.product
    for t, (_, z, gates, h, c, h_after, c_after, squashed) in enumerate(tape.steps):
        if keep is not None:
            h = multiply(h, keep[t, :, None], out=tape.kept)
            c = multiply(c, keep[t, :, None], out=tape.kept_memory)
        affine(h, z, new)
        multiply(new, half, out=new)
        tanh(new, out=new)
        multiply(new, half, out=new)
        add(new, lift, out=gates)
        multiply(gates[1, ...], c, out=c_after)
        multiply(gates[0, ...], gates[2, ...], out=product)
        add(c_after, product, out=c_after)
        tanh(c_after, out=squashed)
        multiply(gates[3, ...], squashed, out=h_after)


def recurrence_backward(tape: Tape, dhidden: Series, keep: Array | None, *, backend: Backend) -> None:
    """Write dz into `tape.z`, from the last step to the first, where with k = keep

        dh[t] += (k[t+1] · dz[t+1]) @ Wᵀ
        dc[t] = k[t+1] · f[t+1] ⊙ dc[t+1] + o (1 - tanh²c[t]) ⊙ dh[t]
        dzi, dzf, dzg = i (1-i) g ⊙ dc, f (1-f) k · c[t-1] ⊙ dc, (1-g²) i ⊙ dc;  dzo = o (1-o) tanh c[t] ⊙ dh

    Args:
        tape: as the forward pass left it; `back` multiplies by Wᵀ.
        dhidden: T arrays (B, H) in one, the gradient of the loss by each h[t] from the layer above; added to in place.
        keep: as in the forward pass.
        backend: of the arrays.
    """
    affine, multiply, add, subtract = tape.by_W_T.affine, backend.xp.multiply, backend.xp.add, backend.xp.subtract
    slope, dc, dmemory, last = tape.scratch, tape.product, tape.dmemory, len(dhidden.steps) - 1
    dmemory[...] = 0.0
    for t in range(last, -1, -1):
        _, dz, gates, _, c, after, _, squashed = tape.steps[t]
        dh, (i, f, g, o) = dhidden.steps[t], (gates[n, ...] for n in range(GATES))
        if t < last:
            later = tape.steps[t + 1].z
            affine(later if keep is None else multiply(later, keep[t + 1, :, None], out=tape.kept_dz), dh, dh)
        if keep is not None:
            c = multiply(c, keep[t, :, None], out=tape.kept_memory)
        multiply(gates, gates, out=slope)
        subtract(gates[:2, ...], slope[:2, ...], out=slope[:2, ...])
        subtract(1.0, slope[2, ...], out=slope[2, ...])
        subtract(o, slope[3, ...], out=slope[3, ...])
        for n, factor in enumerate((g, c, i, squashed)):
            multiply(slope[n, ...], factor, out=slope[n, ...])
        multiply(after, squashed, out=dc)  # h tanh c = o tanh²c
        subtract(o, dc, out=dc)
        multiply(dc, dh, out=dc)
        add(dc, dmemory, out=dc)
        multiply(dc, f, out=dmemory)  # the last look at a gate: dz is written over them
        multiply(slope[:3, ...], dc, out=dz[:3, ...])
        multiply(slope[3, ...], dh, out=dz[3, ...])
        if keep is not None:
            multiply(dmemory, keep[t, :, None], out=dmemory)
