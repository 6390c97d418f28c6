"""The shipped configuration `min-char-rnn` against the ancestor's loop, written again in an own hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.networks import close
from helpers.trainers import one_document, trainer

from charrnn import config, text
from charrnn.training.step import Trainer


def min_char_rnn(data: list[int], V: int, seed: int, steps: int, lr: float = 0.1) -> tuple[list[float], list[dict]]:
    """min-char-rnn's loop in an own hand: column vectors, one character at a time; step losses and gradients.

    After A. Karpathy, 2015: forward, backward and Adagrad exactly, with the weights drawn as the configuration says.
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


def ancestor(corpus: text.Corpus, **train: int) -> Trainer:
    """The configuration `min-char-rnn` as it ships."""
    settings = config.build(config.read("min-char-rnn"))
    return trainer(replace(settings, train=replace(settings.train, **train)), corpus)


NAMES = ("layer0.W_xh", "layer0.W_hh", "output.W_hy", "layer0.b_h", "output.b_y")


def test_min_char_rnn_losses_are_the_ancestors(text: str) -> None:
    """The shipped configuration has the ancestor's first ten step losses to 1e-9 relative."""
    corpus = one_document(text)
    subject = ancestor(corpus, seed=5)
    for _ in range(10):
        subject.step()
    expected, _ = min_char_rnn(corpus.ids.tolist(), len(corpus.vocabulary), 5, 10)
    assert [m.loss for m in subject.drain()] == pytest.approx(expected, rel=1e-9)


def test_min_char_rnn_gradients_are_the_ancestors_from_equal_states(text: str) -> None:
    """Put into the ancestor's weights and state at each of 50 steps, over two resets, the gradient agrees to 1e-10."""
    corpus = one_document(text)
    assert len(corpus.ids) // 25 < 25
    _, history = min_char_rnn(corpus.ids.tolist(), len(corpus.vocabulary), 5, 50)
    subject = ancestor(corpus, seed=5)
    for step, then in enumerate(history):
        for name, weight in zip(NAMES, then["weights"], strict=True):
            subject.params[name][...] = weight.T.reshape(subject.params[name].shape)
        subject.done = subject.drained = step
        subject.shards[0].state["hidden"][0, 0, :] = then["h"][:, 0]
        subject.masks.prepare(step)
        subject.compute(0, subject.done)
        for name, gradient in zip(NAMES, then["grads"], strict=True):
            actual = subject.shards[0].grads[name]
            assert close(actual, gradient.T.reshape(actual.shape), 1e-10), (step, name)
