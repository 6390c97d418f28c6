"""The shipped configuration `min-char-rnn` against an independent implementation of min-char-rnn's loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.networks import close
from helpers.trainers import one_document, trainer

from charrnn import config, text
from charrnn.training.step import Trainer


def min_char_rnn(data: list[int], V: int, seed: int, steps: int, lr: float = 0.1) -> tuple[list[float], list[dict]]:
    """Return the loss of each step of min-char-rnn, and its weights, gradients and hidden state.

    An independent implementation of A. Karpathy's program of 2015, with column vectors, one character at a time. The
    forward pass, the backward pass and Adagrad are his; the weights are drawn as the configuration defines.
    """
    H, T = 100, 25
    rng = np.random.default_rng(seed)
    Wxh, Whh, Why = (rng.standard_normal(shape) * 0.01 for shape in ((H, V), (H, H), (V, H)))
    bh, by = np.zeros((H, 1)), np.zeros((V, 1))
    weights = [Wxh, Whh, Why, bh, by]
    memories = [np.zeros_like(w) for w in weights]
    n, p, losses, history = 0, 0, [], []
    h = np.zeros((H, 1))
    while n < steps:
        if p + T + 1 >= len(data) or n == 0:
            h, p = np.zeros((H, 1)), 0
        inputs, targets = data[p : p + T], data[p + 1 : p + T + 1]
        hs, ps, loss = {-1: h}, {}, 0.0
        for t, i in enumerate(inputs):
            hs[t] = np.tanh(Wxh[:, [i]] + Whh @ hs[t - 1] + bh)
            y = Why @ hs[t] + by
            ps[t] = np.exp(y) / np.sum(np.exp(y))
            loss += -np.log(ps[t][targets[t], 0])
        grads = [np.zeros_like(w) for w in weights]
        dhnext = np.zeros_like(h)
        for t in reversed(range(T)):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            dh = Why.T @ dy + dhnext
            draw = (1 - hs[t] ** 2) * dh
            grads[2] += dy @ hs[t].T
            grads[4] += dy
            grads[3] += draw
            grads[0][:, [inputs[t]]] += draw
            grads[1] += draw @ hs[t - 1].T
            dhnext = Whh.T @ draw
        history.append({"weights": [w.copy() for w in weights], "grads": [g.copy() for g in grads], "h": h.copy()})
        for w, g, m in zip(weights, grads, memories, strict=True):
            np.clip(g, -5, 5, out=g)
            m += g * g
            w += -lr * g / np.sqrt(m + 1e-8)
        losses.append(loss / T)
        h, p, n = hs[T - 1], p + T, n + 1
    return losses, history


def shipped(corpus: text.Corpus, **train: int) -> Trainer:
    """Return a trainer of the shipped configuration `min-char-rnn`."""
    settings = config.build(config.read("min-char-rnn"))
    return trainer(replace(settings, train=replace(settings.train, **train)), corpus)


NAMES = ("layer0.W_xh", "layer0.W_hh", "output.W_hy", "layer0.b_h", "output.b_y")


def test_losses_are_those_of_min_char_rnn(text: str) -> None:
    """The first ten losses of the shipped configuration are those of min-char-rnn, to 1e-9 relative."""
    corpus = one_document(text)
    subject = shipped(corpus, seed=5)
    for _ in range(10):
        subject.step()
    expected, _ = min_char_rnn(corpus.ids.tolist(), len(corpus.vocabulary), 5, 10)
    assert [m.loss for m in subject.drain()] == pytest.approx(expected, rel=1e-9)


def test_gradients_are_those_of_min_char_rnn(text: str) -> None:
    """From min-char-rnn's weights and state at each of 50 steps, with two resets, the gradient agrees to 1e-10."""
    corpus = one_document(text)
    assert len(corpus.ids) // 25 < 25
    _, history = min_char_rnn(corpus.ids.tolist(), len(corpus.vocabulary), 5, 50)
    subject = shipped(corpus, seed=5)
    for step, expected in enumerate(history):
        for name, weight in zip(NAMES, expected["weights"], strict=True):
            subject.params[name][...] = weight.T.reshape(subject.params[name].shape)
        subject.done = subject.drained = step
        subject.shards[0].state["hidden"][0, 0, :] = expected["h"][:, 0]
        subject.masks.prepare(step)
        subject.compute(0, subject.done)
        for name, gradient in zip(NAMES, expected["grads"], strict=True):
            actual = subject.shards[0].grads[name]
            assert close(actual, gradient.T.reshape(actual.shape), 1e-10), (step, name)
