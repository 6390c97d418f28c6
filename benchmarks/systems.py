"""The measured systems: each is a function of a `Work` that returns `run(n)`, which does n units of this work.

A unit is a training step, or one character of each sampled stream. `run` returns the seconds, after the work is done;
on a GPU, device events measure them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

V = 65
"""Distinct characters, as in tinyshakespeare."""
TEXT = 400_000
"""Characters of the random text that all systems train on. The speed does not depend on the characters."""

COPIED = 2**28
"""Bytes of the array whose copy measures a GPU's bandwidth."""

Run = Callable[[int], float]


@dataclass(frozen=True)
class Work:
    """The work: `kind` is training, workers, ranks, sampling or encoding (of `text`). DESIGN.md lists the letters."""

    kind: str
    cell: str = "rnn"
    H: int = 128
    T: int = 50
    B: int = 50
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    text: str = ""


def random_text() -> str:
    """Return a text of V distinct characters."""
    letters = np.array([chr(48 + i) for i in range(V)])
    return "".join(letters[np.random.default_rng(0).integers(0, V, TEXT)])


def ids(B: int = 1) -> np.ndarray:
    """Return the same text as ids (N, B)."""
    return np.random.default_rng(0).integers(0, V, TEXT)[: TEXT // B * B].reshape(B, -1).T.copy()


def timed(work: Callable[[int], object]) -> Run:
    """Return `work`, timed by the wall clock, for devices that work synchronously."""

    def run(n: int) -> float:
        began = time.perf_counter()
        work(n)
        return time.perf_counter() - began

    return run


PLAIN = {
    "model": {"dropout": 0.0},
    "train": {"random_offset": False},
    "optimizer": {"name": "adagrad", "learning_rate": 0.02, "schedule": "constant", "warmup": 0.0},
}
"""The settings of all systems: no dropout, Adagrad with a constant rate."""


def charrnn(work: Work, *, workers: int | None = None, kernels: bool = True, ranks: Any = None) -> Run:
    """Return this project: the code of `charrnn train` and `charrnn sample`, with a worker for each thread.

    Without `kernels` a GPU runs the loop of operations that the kernels replace. `ranks` share the training.
    """
    from charrnn import backend, config, text
    from charrnn.backend import ThreadPool, one_thread
    from charrnn.model import build
    from charrnn.run.resolve import start

    if work.kind == "encoding":

        def encode(n: int) -> None:
            for _ in range(n):
                text.from_files([work.text])

        return timed(encode)
    device = backend.choose(work.device, fallback=False, kernels="auto" if kernels else "off").backend
    table = {
        "model": {"cell": work.cell, "hidden_size": work.H, "dtype": work.dtype},
        "train": {"batch_size": work.B, "seq_length": work.T, "shards": min(work.threads, work.B)},
    }
    settings = config.build(config.merged(PLAIN, config.checked(table, "benchmark")))
    corpus = text.from_text(random_text())
    network = build(settings.model, len(corpus.vocabulary), device)
    trainer = start(settings, network, corpus.part(0, TEXT), ThreadPool(workers or work.threads), ranks)
    if work.kind == "sampling":
        return timed(sampler(network, trainer.params, corpus.ids[: work.B][None, :]))

    def train(n: int) -> None:
        with one_thread:
            for _ in range(n):
                trainer.step()
                if trainer.full:
                    trainer.drain()
            trainer.drain()

    return timed(train) if work.device == "cpu" else device_timed(train)


def charrnn_on_ranks(work: Work) -> Run:
    """Return this project on ranks of MPI, with one shard for each. `run` tells the other ranks what to do.

    These sleep between two runs, so that they do not disturb other systems; so a run may begin a millisecond late.
    """
    from charrnn import backend

    ranks = backend.world()
    train = charrnn(work, workers=1, ranks=ranks)
    backend.check_installed(ranks.size)
    ranks.meet({})
    while not ranks.is_first:
        while not ranks.comm.Iprobe():
            time.sleep(0.001)
        train(ranks.comm.recv())

    def run(n: int) -> float:
        for other in range(1, ranks.size):
            ranks.comm.send(n, other)
        return train(n)

    return run


def sampler(network: Any, params: Any, prompts: np.ndarray) -> Callable[[int], None]:
    """Return a function that samples n characters, in whole blocks. Characters beyond n count for the next call."""
    from charrnn.sampling import Settings, generate

    stream = generate(network, params, prompts, Settings(temperature=1.0), np.random.default_rng(0))
    ahead = [0]

    def sample(n: int) -> None:
        while ahead[0] < n:
            ahead[0] += len(next(stream).tolist())  # as the peers, which convert ids to text
        ahead[0] -= n

    return sample


def device_timed(work: Callable[[int], object]) -> Run:
    """Return `work`, timed by CuPy's events."""
    import cupy

    def run(n: int) -> float:
        began, ended = cupy.cuda.Event(), cupy.cuda.Event()
        began.record()
        work(n)
        ended.record()
        ended.synchronize()
        return cupy.cuda.get_elapsed_time(began, ended) / 1000

    return run


def min_char_rnn(work: Work) -> Run:
    """Return an independent implementation of min-char-rnn's loop: one stream, one character at a time."""
    if work.kind == "encoding":

        def encode(n: int) -> None:
            for _ in range(n):
                source = Path(work.text).read_text(encoding="utf-8")
                table = {c: i for i, c in enumerate(sorted(set(source)))}
                _ = [table[c] for c in source]

        return timed(encode)
    H, T, dtype, data = work.H, work.T, work.dtype, ids()[:, 0].tolist()
    rng = np.random.default_rng(0)
    Wxh, Whh, Why = ((rng.standard_normal(s) * 0.01).astype(dtype) for s in ((H, V), (H, H), (V, H)))
    bh, by = np.zeros((H, 1), dtype), np.zeros((V, 1), dtype)
    weights = [Wxh, Whh, Why, bh, by]
    memories = [np.zeros_like(w) for w in weights]
    state = {"h": np.zeros((H, 1), dtype), "p": 0}

    def train(n: int) -> None:
        for _ in range(n):
            if state["p"] + T + 1 >= len(data):
                state.update(h=np.zeros((H, 1), dtype), p=0)
            p = state["p"]
            xs, hs, ps, loss = {}, {-1: state["h"]}, {}, 0.0
            for t in range(T):
                xs[t] = np.zeros((V, 1), dtype)
                xs[t][data[p + t]] = 1
                hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1] + bh)
                y = np.exp(Why @ hs[t] + by)
                ps[t] = y / np.sum(y)
                loss += -np.log(ps[t][data[p + t + 1], 0])
            dWxh, dWhh, dWhy, dbh, dby = grads = [np.zeros_like(w) for w in weights]
            dhnext = np.zeros_like(hs[0])
            for t in reversed(range(T)):
                dy = np.copy(ps[t])
                dy[data[p + t + 1]] -= 1
                dWhy += dy @ hs[t].T
                dby += dy
                draw = (1 - hs[t] * hs[t]) * (Why.T @ dy + dhnext)
                dbh += draw
                dWxh += draw @ xs[t].T
                dWhh += draw @ hs[t - 1].T
                dhnext = Whh.T @ draw
            for w, g, m in zip(weights, grads, memories, strict=True):
                np.clip(g, -5, 5, out=g)
                m += g * g
                w -= np.asarray(0.1, dtype) * g / np.sqrt(m + np.asarray(1e-8, dtype))
            state.update(h=hs[T - 1], p=p + T)

    return timed(train)


def sgemm(work: Work) -> Run:
    """Return the product of two 2048² float32 matrices, which measures the possible operations a second."""
    if work.device != "cpu":
        import cupy as xp
    else:
        xp = np
    a = xp.ones((2048, 2048), dtype=xp.float32)
    out = xp.empty_like(a)

    def multiply(n: int) -> None:
        for _ in range(n):
            xp.dot(a, a, out=out)

    return device_timed(multiply) if work.device != "cpu" else timed(multiply)


def copy(work: Work) -> Run:
    """Return a copy of 256 MB, which moves twice as much and measures the bandwidth of a GPU."""
    del work
    import cupy

    a = cupy.ones(COPIED // 4, dtype=cupy.float32)
    out = cupy.empty_like(a)

    def repeat(n: int) -> None:
        for _ in range(n):
            cupy.copyto(out, a)

    return device_timed(repeat)
