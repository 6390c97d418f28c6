"""Sampled softmax: a training step normalizes over some of the characters, not over all of a wide alphabet.

The candidates of a step are the characters that it must predict (Jean et al., 2015, share them in the same way), and
others drawn at random. If n of the A characters that it need not predict are drawn, each of these stands for A/n,
with itself, so log(A/n) is added to its logit. The sum of exponentials is then right on average (Bengio & Senécal,
2003); its logarithm, and so the loss, is slightly too low. Evaluation and the writing of text use all characters and
call nothing of this file.
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
        ids: (K,), all distinct.
        shift: (K,), what is added to the logit of each.
        targets: (T·B,), the positions in `ids` of the characters to predict.
    """

    ids: Array
    shift: Array
    targets: Array


def number_of_candidates(others: int, characters: int, V: int) -> int:
    """Return K, or 0 if the softmax is over all V characters.

    A step has to predict up to `characters` distinct ones, and at least as many as `others` says are drawn. K is the
    sum, so that the arrays of all steps have one shape.
    """
    K = others + characters
    return K if others and K < V else 0


def draw_candidates(
    rng: np.random.Generator, targets: HostArray, V: int, K: int
) -> tuple[HostArray, HostArray, HostArray]:
    """Return `Candidates` on the host: the distinct `targets` first, and others drawn without replacement.

    Args:
        rng: draws the others, all with the same probability.
        targets: ids below V, with fewer than K distinct ones.
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
    """Return the parameters for the output layer alone: table (K, E) and bias (K,), with `shift`, of the candidates.

    The weights are tied. `out` has both arrays, and they are overwritten.
    """
    table, bias = out["embedding.table"], out["output.b_y"]
    backend.take_rows(params["embedding.table"], candidates.ids, out=table)
    backend.xp.add(backend.xp.take(params["output.b_y"], candidates.ids, axis=0), candidates.shift, out=bias)
    return params | out


def candidate_weights_backward(grads: Views, candidates: Candidates, *, out: Views, backend: Backend) -> None:
    """The backward pass of `candidate_weights`: from gradients (K, E) and (K,) write those of all V characters."""
    backend.put_rows(candidates.ids, grads["embedding.table"], out=out["embedding.table"])
    backend.put_rows(candidates.ids, grads["output.b_y"][:, None], out=out["output.b_y"][:, None])
