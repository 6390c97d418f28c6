"""Every cell on every namespace: loss and gradients are those of a textbook loop (`textbook.py`), states carry on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import textbook
from helpers.namespaces import CASES
from helpers.networks import close, problem

from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import Chunk, Workspace, build, forward, loss_and_grad, next_state, prepare, surprise


def step(net: SimpleNamespace, scale: float = 0.25) -> float:
    """Loss of one pass; the gradient is left in `net.grads`."""
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=scale)
    return float(net.backend.to_host(loss))


def test_loss_agrees_with_the_textbook(net: SimpleNamespace) -> None:
    """Two layers, a non-zero state and a dropped stream give the loss of a loop over single characters."""
    assert step(net) == pytest.approx(textbook.loss(net.host, net.host.weights, 1.0), rel=net.case.tolerance)


def test_every_gradient_agrees_with_complex_steps(net: SimpleNamespace) -> None:
    """Each named gradient equals the complex-step derivative of the textbook loss, and none is zero."""
    step(net)
    for name, expected in textbook.example_gradient(net.host.cell, 0.25).items():
        actual = net.backend.to_host(net.grads[name])
        assert close(actual, expected, net.case.tolerance), name
        assert np.max(np.abs(expected)) > 1e-3, name


def test_keeping_everything_is_no_mask(net: SimpleNamespace) -> None:
    """A mask of ones and no mask give the same loss and gradients."""
    results = []
    for keep in (net.chunk.keep * 0 + 1, None):
        net.chunk = net.chunk._replace(keep=keep)
        results.append([step(net), net.backend.to_host(net.gradient).copy()])
    assert results[0][0] == pytest.approx(results[1][0], rel=net.case.tolerance)
    assert close(results[0][1], results[1][1], net.case.tolerance)


@pytest.mark.parametrize("rows", [1, 6, 7])
def test_logits_in_blocks_change_nothing(net: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """With so many characters that only some rows of logits fit into memory, nats, loss and gradients are the same."""
    loss, whole = step(net), net.backend.to_host(net.gradient).copy()
    nats = net.backend.to_host(surprise(net.network, net.params, net.work.layers[-1].h, net.chunk.targets, net.work))
    monkeypatch.setattr("charrnn.model.network.MOST_LOGITS", rows * net.network.vocab_size + 1)
    net.work = Workspace(net.network, net.T, net.B)
    assert net.work.logits.shape[0] == max(rows, net.network.hidden_size) < net.T * net.B
    assert step(net) == pytest.approx(loss, rel=net.case.tolerance)
    assert close(net.backend.to_host(net.gradient), whole, net.case.tolerance)
    again = surprise(net.network, net.params, net.work.layers[-1].h, net.chunk.targets, net.work)
    assert close(net.backend.to_host(again), nats, net.case.tolerance)


def test_gradient_is_written_not_added(net: SimpleNamespace) -> None:
    """A second pass over the same workspace and gradient vector gives the same bits; the padding stays zero."""
    step(net)
    first = net.backend.to_host(net.gradient)
    step(net)
    assert np.array_equal(first, net.backend.to_host(net.gradient))
    used = np.zeros(net.network.layout.size)
    for view in net.network.layout.views(used, xp=np).values():
        view[...] = 1
    assert not np.any(first[used == 0])
    assert np.all(first[used == 1] != 0) or np.count_nonzero(first) > 0.9 * used.sum()


def test_namespace_device_and_dtype_are_kept(net: SimpleNamespace) -> None:
    """Whatever comes in goes out: the loss, the gradients and the state are of the network's kind."""
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=1.0)
    wanted = net.params["output.b_y"]
    state = net.network.zero_state(net.B)
    next_state(net.work, out=state)
    assert set(state) == set(net.host.state)
    for array in (loss, net.grads["layer0.W_xh"], *state.values(), net.work.logits):
        assert array.dtype == wanted.dtype
        if not isinstance(array, np.generic):  # a scalar of an older NumPy has no device
            assert getattr(array, "device", None) == getattr(wanted, "device", None)


def test_two_chunks_with_carried_state_equal_one(net: SimpleNamespace) -> None:
    """Reading T characters and then T more from the carried state gives the hidden states of reading 2T."""
    half, n = net.T // 2, net.T // 2 * net.B
    prepare(net.network, net.params, net.work)
    whole = net.backend.to_host(
        forward(net.network, net.params, net.chunk.inputs, net.chunk.keep, net.state, net.work)
    ).copy()
    state = {name: array + 0.0 for name, array in net.state.items()}
    work, parts = Workspace(net.network, half, net.B), []
    prepare(net.network, net.params, work)
    for i in range(2):
        keep = net.chunk.keep[i * half : (i + 1) * half, :]
        hidden = forward(net.network, net.params, net.chunk.inputs[i * n : (i + 1) * n], keep, state, work)
        parts.append(net.backend.to_host(hidden).copy())
        next_state(work, out=state)
    assert close(np.concatenate(parts), whole, net.case.tolerance)


def test_kept_state_is_no_view_of_the_workspace(net: SimpleNamespace) -> None:
    """Nothing that a step returns or keeps changes when the workspace is written again."""
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=1.0)
    state = net.network.zero_state(net.B)
    next_state(net.work, out=state)
    before = {name: net.backend.to_host(array).copy() for name, array in state.items()}
    value = float(net.backend.to_host(loss))
    for layer in net.work.layers:
        for name in state:
            getattr(layer.tape, name)[...] = net.backend.zeros((), net.case.dtype)
    net.work.logits[...] = net.backend.zeros((), net.case.dtype)
    for name, array in before.items():
        assert np.array_equal(array, net.backend.to_host(state[name]))
        assert np.max(np.abs(array)) > 0.1
    assert value == float(net.backend.to_host(loss))


def test_float32_agrees_with_float64(cell: str) -> None:
    """The same network in float32 has the loss and gradients of float64 to single precision."""
    double, single = (problem(next(c for c in CASES if c.name == f"numpy-{d}"), cell) for d in ("float64", "float32"))
    assert step(single) == pytest.approx(step(double), rel=1e-6)
    for name in double.grads:
        assert close(single.grads[name], double.grads[name], 1e-5), name


def test_gates_saturate_without_a_warning(cell: str) -> None:
    """Weights so large that every gate is 0 or 1 give a finite loss and gradient, and no overflow on the way."""
    net = problem(next(c for c in CASES if c.name == "numpy-float32"), cell)
    net.network.backend.quiet = lambda: np.errstate(all="raise", under="ignore")
    for name, weights in net.params.items():
        if name.startswith("layer"):
            weights *= np.float32(1e4)
    assert np.isfinite(step(net))
    assert np.all(np.isfinite(net.gradient))


@pytest.mark.parametrize("rows", [5, 8])
def test_panels_of_gates_change_only_rounding(cell: str, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A recurrent product in panels of gates, as for large layers, gives the gradient of the whole product."""
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    network = build(ModelConfig(cell=cell, hidden_size=48, dtype="float64"), 9, NumpyBackend())
    rng, T = np.random.default_rng(4), 5
    params = network.views(rng.standard_normal(network.layout.size) / 5)
    chunk = Chunk(rng.integers(0, 9, T * rows), rng.integers(0, 9, T * rows), None)
    state = {name: rng.standard_normal((1, rows, 48)) for name in network.cell.STATES}
    gradients = []
    for most in (10**9, 10**4):
        monkeypatch.setattr("charrnn.backend.numpy.UNPACKED_MOST", most)
        work, gradient = Workspace(network, T, rows), np.zeros(network.layout.size)
        assert (work.layers[0].tape.by_W.products is None) == (most == 10**9)
        loss_and_grad(network, params, network.views(gradient), chunk, state, work, scale=1.0)
        gradients.append(gradient)
    assert close(gradients[1], gradients[0], 1e-12)


def test_gradients_need_only_what_a_kernel_emits(net: SimpleNamespace) -> None:
    """With the rest of the tape poisoned after the adjoint, z, z_hidden and h alone give every gradient."""
    step(net)
    expected, nan = net.backend.to_host(net.gradient), float("nan")
    cell = net.backend.recurrence(net.network.cell)

    def recurrence_backward(tape: Any, *args: Any, **options: Any) -> None:
        cell.recurrence_backward(tape, *args, **options)
        for name, value in vars(tape).items():
            if hasattr(value, "shape") and name not in ("z", "z_hidden", "hidden", "scale", "shift", "bias"):
                value[...] = nan

    kernel = SimpleNamespace(recurrence_forward=cell.recurrence_forward, recurrence_backward=recurrence_backward)
    net.backend.recurrence = lambda _: kernel
    for _ in range(2):  # nothing of the scratch is read before it is written
        step(net)
        assert np.array_equal(net.backend.to_host(net.gradient), expected)
