"""Sampled softmax: a training step normalizes over some of the characters, not over all of a wide alphabet.

These candidates are the characters that a step must predict, and others drawn at random. Every other candidate stands
for several characters that were not drawn, so its logit is raised by the logarithm of their number: the sum of
exponentials is then right on average (Bengio & Senécal, 2003; Jean et al., 2015). Evaluation and sampling use all
characters and call nothing of this file.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.model.network import Views

HostArray = np.ndarray[Any, np.dtype[Any]]


class Candidates(NamedTuple):
    """The characters of a step's softmax.

    Attributes:
        ids: (K,), all different.
        shift: (K,), what is added to the logit of each.
        targets: (T·B,), the positions in `ids` of the characters to predict.
    """

    ids: Array
    shift: Array
    targets: Array


def number_of_candidates(others: int, characters: int, V: int) -> int:
    """Return K for a step of `characters` with at least so many `others`; 0 if the softmax is over all V characters."""
    K = others + characters
    return K if others and K < V else 0


def draw_candidates(
    rng: np.random.Generator, targets: HostArray, V: int, K: int
) -> tuple[HostArray, HostArray, HostArray]:
    """Return `Candidates` on the host: the different `targets` first, and others drawn without replacement.

    Args:
        rng: draws the others, all with the same probability.
        targets: ids below V; fewer than K are different.
        V: characters of the vocabulary.
        K: candidates, fewer than V.

    Returns:
        `ids` and `shift` (K,), and the positions of the targets, in their shape.
    """
    present, positions = np.unique(targets, return_inverse=True)
    absent = np.delete(np.arange(V), present)
    drawn = rng.choice(absent, K - len(present), replace=False, shuffle=False)
    shift = np.zeros(K)
    shift[len(present) :] = np.log(len(absent) / len(drawn))
    return np.concatenate([present, drawn]), shift, positions.reshape(targets.shape)


def candidate_weights(params: Views, candidates: Candidates, *, out: Views, backend: Backend) -> Views:
    """Return the parameters with the table (K, E) and the bias (K,) of the candidates alone, for tied weights.

    `out` has both, and is overwritten.
    """
    table, bias = out["embedding.table"], out["output.b_y"]
    backend.take_rows(params["embedding.table"], candidates.ids, out=table)
    backend.xp.add(backend.xp.take(params["output.b_y"], candidates.ids, axis=0), candidates.shift, out=bias)
    return params | out


def candidate_weights_backward(grads: Views, candidates: Candidates, *, out: Views, backend: Backend) -> None:
    """The adjoint of `candidate_weights`: from the gradients (K, E) and (K,) write those of all characters to `out`."""
    backend.put_rows(candidates.ids, grads["embedding.table"], out=out["embedding.table"])
    backend.put_rows(candidates.ids, grads["output.b_y"][:, None], out=out["output.b_y"][:, None])
