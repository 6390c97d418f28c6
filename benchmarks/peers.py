"""The peers, in the fastest form that their users would write. They are imported only when they are measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from systems import Run, V, Work, ids, timed

LEARNING_RATE = 0.01


def torch(work: Work, *, embedding: bool = False, compiled: bool = False, tf32: bool = False) -> Run:
    """Return PyTorch's RNN, GRU or LSTM with one-hot or embedded input, cross-entropy, clipping by norm and Adagrad.

    On a GPU they run in cuDNN. Without `tf32` they use float32, as all systems, and not PyTorch's default TF32.
    """
    import torch
    from torch import nn

    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    device = torch.device(work.device)
    inputs = nn.Embedding(V, work.H) if embedding else nn.Identity()
    recurrent = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[work.cell](work.H if embedding else V, work.H)
    output = nn.Linear(work.H, V)
    model = nn.ModuleList([inputs, recurrent, output]).to(device)
    data = torch.from_numpy(ids(work.B)).to(device)

    def encode(x: Any) -> Any:
        return inputs(x) if embedding else nn.functional.one_hot(x, V).to(torch.float32)

    if work.kind == "sampling":
        return timed(sampler(torch, work, encode, recurrent, output, data))
    optimizer = torch.optim.Adagrad(model.parameters(), LEARNING_RATE)

    def loss_of(x: Any, y: Any, state: Any) -> tuple[Any, Any]:
        hidden, state = recurrent(encode(x), state)
        return nn.functional.cross_entropy(output(hidden).reshape(-1, V), y.reshape(-1)), state

    loss_function: Callable[..., Any] = torch.compile(loss_of) if compiled else loss_of
    now: dict[str, Any] = {"state": None, "p": 0}

    def train(n: int) -> None:
        for _ in range(n):
            if now["p"] + work.T + 1 > len(data):
                now["p"] = 0
            p = now["p"]
            loss, state = loss_function(data[p : p + work.T], data[p + 1 : p + work.T + 1], now["state"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            now["state"] = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            now["p"] = p + work.T

    return cuda_timed(torch, train) if work.device != "cpu" else timed(train)


def sampler(torch: Any, work: Work, encode: Any, recurrent: Any, output: Any, data: Any) -> Callable[[int], None]:
    """Return a loop that samples single characters with `torch.multinomial`."""
    now: dict[str, Any] = {"x": data[:1, : work.B], "state": None}

    def sample(n: int) -> None:
        with torch.inference_mode():
            for _ in range(n):
                hidden, now["state"] = recurrent(encode(now["x"]), now["state"])
                probabilities = torch.softmax(output(hidden[0]), dim=1)
                now["x"] = torch.multinomial(probabilities, 1).T
                now["x"].tolist()  # the text is printed character by character

    return sample


def cuda_timed(torch: Any, work: Callable[[int], object]) -> Run:
    """Return `work`, timed by PyTorch's device events."""

    def run(n: int) -> float:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work(n)
        ended.record()
        torch.cuda.synchronize()
        return began.elapsed_time(ended) / 1000

    return run


def rnn_cell(p: Any, state: Any, z: Any) -> tuple[Any, Any]:
    """Compute the tanh cell. A state is a list of arrays (B, H); z is the projected input of a step (B, G·H)."""
    from jax import numpy as jnp

    h = jnp.tanh(z + state[0] @ p["Whh"])
    return [h], h


def gru_cell(p: Any, state: Any, z: Any) -> tuple[Any, Any]:
    """Compute the GRU, with PyTorch's equations and order of gates."""
    import jax
    from jax import numpy as jnp

    (h,), H = state, state[0].shape[1]
    product = h @ p["Whh"]
    r, y = jnp.split(jax.nn.sigmoid(z[:, : 2 * H] + product[:, : 2 * H]), 2, axis=1)
    n = jnp.tanh(z[:, 2 * H :] + r * (product[:, 2 * H :] + p["bhn"]))
    h = n + y * (h - n)
    return [h], h


def lstm_cell(p: Any, state: Any, z: Any) -> tuple[Any, Any]:
    """Compute the LSTM, with PyTorch's equations and order of gates."""
    import jax
    from jax import numpy as jnp

    h, c = state
    i, f, g, o = jnp.split(z + h @ p["Whh"], 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return [h, c], h


def jax(work: Work) -> Run:
    """Return JAX: one jitted step, `lax.scan` over time, gathered inputs, donated buffers, as many threads as cores.

    JAX has no device events, so the wall clock measures until the last step is done.
    """
    import jax
    import jax.numpy as jnp

    if work.device != "cpu":
        if jax.default_backend() != "gpu":
            raise RuntimeError(f"JAX computes on {jax.default_backend()}")
        jax.config.update("jax_default_matmul_precision", "highest")  # float32, as all systems; the default is TF32

    rng = np.random.default_rng(0)
    H, T, B = work.H, work.T, work.B
    G, cell, states = {"rnn": (1, rnn_cell, "h"), "gru": (3, gru_cell, "h"), "lstm": (4, lstm_cell, "hc")}[work.cell]
    shapes = {"Wxh": (V, G * H), "Whh": (H, G * H), "Why": (H, V), "bh": (G * H,), "by": (V,)}
    shapes |= {"bhn": (H,)} if work.cell == "gru" else {}
    params = {k: jnp.asarray(rng.standard_normal(s) * 0.05, dtype=work.dtype) for k, s in shapes.items()}
    data = jnp.asarray(ids(B))

    def loss_of(p: Any, x: Any, y: Any, h: Any) -> tuple[Any, Any]:
        last, hidden = jax.lax.scan(partial(cell, p), h, p["Wxh"][x] + p["bh"])
        logits = hidden.reshape(T * B, H) @ p["Why"] + p["by"]
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y.reshape(-1, 1), axis=1)
        return -jnp.mean(picked), last

    def step(p: Any, memory: Any, h: Any, position: Any) -> tuple[Any, Any, Any]:
        chunk = jax.lax.dynamic_slice_in_dim(data, position, T + 1)
        grads, last = jax.grad(loss_of, has_aux=True)(p, chunk[:-1], chunk[1:], h)
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 5.0 / norm), grads)
        memory = jax.tree.map(lambda m, g: m + g * g, memory, grads)
        p = jax.tree.map(lambda w, g, m: w - LEARNING_RATE * g / jnp.sqrt(m + 1e-8), p, grads, memory)
        return p, memory, last

    jitted = jax.jit(step, donate_argnums=(0, 1, 2))
    now = [params, jax.tree.map(jnp.zeros_like, params), [jnp.zeros((B, H), work.dtype) for _ in states]]
    position = {"p": 0}

    def run(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            position["p"] = 0 if position["p"] + T + 1 > len(data) else position["p"]
            now[:] = jitted(*now, position["p"])
            position["p"] += T
        jax.block_until_ready(now)
        return time.perf_counter() - began

    return run
