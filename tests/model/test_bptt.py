"""Loss and gradients of every cell on every namespace, against a textbook loop (`helpers/textbook.py`)."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import textbook
from helpers.namespaces import CASES, Case
from helpers.networks import close, problem

from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import Chunk, Workspace, build, forward, loss_and_grad, next_state, prepare, surprise
from charrnn.model.bptt import cross_entropy, cross_entropy_and_grad


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_cross_entropy_of_huge_logits_is_finite_and_exact(case: Case, size: float) -> None:
    """Logits of ±1e4 have finite losses and gradients that equal the mathematical definition."""
    backend, rng = case.make(), np.random.default_rng(3)
    logits = rng.choice([-1.0, 0.5, 1.0], (5, 7)) * size
    logits[4] = -size
    targets = np.array([0, 6, 2, 1, 1])
    exact = [[Decimal(z).exp() for z in row] for row in logits]
    expected = [float((sum(row) / row[t]).ln()) for row, t in zip(exact, targets, strict=True)]
    on_device, ids = backend.from_host(logits, case.dtype) + 0.0, backend.indices(backend.from_host(targets))
    loss_and_gradient, gradient = backend.fused("cross_entropy", cross_entropy_and_grad), on_device + 0.0
    for nats in (
        cross_entropy(on_device, ids, backend=backend)[0],
        loss_and_gradient(gradient, ids, 0.5, backend=backend),
    ):
        assert np.allclose(backend.to_host(nats), expected, rtol=1e-5, atol=1e-6)
    gradient = backend.to_host(gradient)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    assert np.allclose(gradient, 0.5 * (probabilities - np.eye(7)[targets]), rtol=1e-5, atol=1e-7)


def step(net: SimpleNamespace, scale: float = 0.25) -> float:
    """Return the loss of one pass, which writes the gradient to `net.grads`."""
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=scale)
    return float(net.backend.to_host(loss))


def test_loss_agrees_with_the_textbook(net: SimpleNamespace) -> None:
    """With two layers, a non-zero state and reset streams, the loss equals that of a loop over single characters."""
    assert step(net) == pytest.approx(textbook.loss(net.host, net.host.weights, 1.0), rel=net.case.tolerance)


def test_every_gradient_agrees_with_complex_steps(net: SimpleNamespace) -> None:
    """Each gradient equals the complex-step derivative of the textbook loss, and none is zero."""
    step(net)
    for name, expected in textbook.example_gradient(net.host.cell, 0.25).items():
        actual = net.backend.to_host(net.grads[name])
        assert close(actual, expected, net.case.tolerance), name
        assert np.max(np.abs(expected)) > 1e-3, name


def test_documents_begin_with_a_symbol(case: Case, cell: str) -> None:
    """Loss and gradients equal those of a textbook that reads no character where a document begins."""
    net = problem(case, cell, start_symbol=True)
    assert step(net) == pytest.approx(textbook.loss(net.host, net.host.weights, 1.0), rel=case.tolerance)
    for name, expected in textbook.example_gradient(cell, 0.25, start_symbol=True).items():
        assert close(net.backend.to_host(net.grads[name]), expected, case.tolerance), name


def test_a_mask_of_ones_equals_no_mask(net: SimpleNamespace) -> None:
    """A `keep` of ones and no `keep` give the same loss and gradients."""
    results = []
    for keep in (net.chunk.keep * 0 + 1, None):
        net.chunk = net.chunk._replace(keep=keep)
        results.append([step(net), net.backend.to_host(net.gradient).copy()])
    assert results[0][0] == pytest.approx(results[1][0], rel=net.case.tolerance)
    assert close(results[0][1], results[1][1], net.case.tolerance)


@pytest.mark.parametrize("rows", [1, 6, 7])
def test_blocks_of_logits_change_nothing(net: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """If the logits are computed for a block of rows at a time, the losses and gradients are the same."""
    loss, whole = step(net), net.backend.to_host(net.gradient).copy()
    nats = net.backend.to_host(surprise(net.network, net.params, net.work.layers[-1].h, net.chunk.targets, net.work))
    monkeypatch.setattr("charrnn.model.network.MOST_LOGITS", rows * net.network.vocab_size + 1)
    net.work = Workspace(net.network, net.T, net.B)
    assert net.work.logits.shape[0] == max(rows, net.network.hidden_size) < net.T * net.B
    assert step(net) == pytest.approx(loss, rel=net.case.tolerance)
    assert close(net.backend.to_host(net.gradient), whole, net.case.tolerance)
    again = surprise(net.network, net.params, net.work.layers[-1].h, net.chunk.targets, net.work)
    assert close(net.backend.to_host(again), nats, net.case.tolerance)


def test_a_pass_overwrites_the_gradient(net: SimpleNamespace) -> None:
    """A second pass with the same workspace and gradient vector gives the same bits, and the padding stays zero."""
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
    """The loss, the gradients and the state have the namespace, device and dtype of the parameters."""
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=1.0)
    parameter = net.params["output.b_y"]
    state = net.network.zero_state(net.B)
    next_state(net.work, out=state)
    assert set(state) == set(net.host.state)
    for array in (loss, net.grads["layer0.W_xh"], *state.values(), net.work.logits):
        assert array.dtype == parameter.dtype
        if not isinstance(array, np.generic):  # a scalar of an older NumPy has no device
            assert getattr(array, "device", None) == getattr(parameter, "device", None)


def test_two_chunks_with_a_carried_state_equal_one(net: SimpleNamespace) -> None:
    """Two chunks of T/2 characters with a carried state have the hidden states of one chunk of T characters."""
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


def test_no_result_is_a_view_of_the_workspace(net: SimpleNamespace) -> None:
    """The returned loss and the next state do not change when the workspace is overwritten."""
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
    """In float32 a network has the loss and gradients of float64, to single precision."""
    double, single = (problem(next(c for c in CASES if c.name == f"numpy-{d}"), cell) for d in ("float64", "float32"))
    assert step(single) == pytest.approx(step(double), rel=1e-6)
    for name in double.grads:
        assert close(single.grads[name], double.grads[name], 1e-5), name


def test_saturated_gates_do_not_overflow(cell: str) -> None:
    """With weights so large that every gate is 0 or 1, loss and gradient are finite, and no operation overflows."""
    net = problem(next(c for c in CASES if c.name == "numpy-float32"), cell)
    net.network.backend.quiet = lambda: np.errstate(all="raise", under="ignore")
    for name, weights in net.params.items():
        if name.startswith("layer"):
            weights *= np.float32(1e4)
    assert np.isfinite(step(net))
    assert np.all(np.isfinite(net.gradient))


@pytest.mark.parametrize("rows", [5, 8])
def test_panels_change_only_rounding(cell: str, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A recurrent product in panels of columns, as for large layers, gives the gradient of the whole product."""
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


def test_gradients_need_only_the_outputs_of_a_kernel(net: SimpleNamespace) -> None:
    """With every other array of the tape set to NaN after the backward pass, z, z_hidden and h give all gradients."""
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
    for _ in range(2):  # the second pass begins with NaN: no scratch memory is read before it is written
        step(net)
        assert np.array_equal(net.backend.to_host(net.gradient), expected)
