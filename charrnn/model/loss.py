"""Softmax cross-entropy by shifted log-sum-exp: value and gradient from one pass, finite for any finite logits."""

from __future__ import annotations

from charrnn.backend import Array, Backend


def cross_entropy(logits: Array, targets: Array, *, backend: Backend) -> tuple[Array, Array]:
    """The surprise of each target, -log softmax(logits)[target].

    Args:
        logits: (N, V); overwritten with exp(logits - their row's maximum), which lies in [0, 1].
        targets: (N,) ids.
        backend: of the arrays.

    Returns:
        nats (N,), and the row sums (N, 1) of the exponentials, for the adjoint.
    """
    xp = backend.xp
    xp.subtract(logits, backend.row_max(logits), out=logits)
    shifted = backend.pick(logits, targets)
    xp.exp(logits, out=logits)
    sums = backend.row_sums(logits)
    return xp.log(sums[:, 0]) - shifted, sums


def cross_entropy_backward(
    exponentials: Array, sums: Array, targets: Array, scale: float, *, backend: Backend
) -> Array:
    """The gradient of `scale` times the sum of nats: scale · (softmax - one_hot(target)).

    Args:
        exponentials: (N, V), as `cross_entropy` left them; overwritten with the gradient, which is returned.
        sums: (N, 1), from `cross_entropy`.
        targets: (N,) ids.
        scale: the factor of the loss.
        backend: of the arrays.
    """
    backend.xp.multiply(exponentials, scale / sums, out=exponentials)
    backend.subtract_at(exponentials, targets, scale)
    return exponentials


def cross_entropy_and_grad(logits: Array, targets: Array, scale: float, *, backend: Backend) -> Array:
    """Both: the nats (N,), and the gradient of `scale` times their sum in the place of the logits (N, V)."""
    nats, sums = cross_entropy(logits, targets, backend=backend)
    cross_entropy_backward(logits, sums, targets, scale, backend=backend)
    return nats
