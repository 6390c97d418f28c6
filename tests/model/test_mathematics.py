"""The operations that networks use, on every namespace: gathers, products, loss, clipping, Adagrad, the guard."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from helpers.namespaces import Case
from helpers.networks import close

from charrnn import optim
from charrnn.backend import numpy
from charrnn.backend.numpy import panel_width
from charrnn.config import OptimizerConfig
from charrnn.model.bptt import cross_entropy, cross_entropy_and_grad
from charrnn.optim import Guard


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_cross_entropy_of_huge_logits_is_finite_and_exact(case: Case, size: float) -> None:
    """Logits of ±1e4 give the nats and gradients of the mathematical definition, finite everywhere."""
    backend, rng = case.make(), np.random.default_rng(3)
    logits = rng.choice([-1.0, 0.5, 1.0], (5, 7)) * size
    logits[4] = -size
    targets = np.array([0, 6, 2, 1, 1])
    exact = [[Decimal(z).exp() for z in row] for row in logits]
    expected = [float((sum(row) / row[t]).ln()) for row, t in zip(exact, targets, strict=True)]
    on_device, ids = backend.from_host(logits, case.dtype) + 0.0, backend.indices(backend.from_host(targets))
    both, gradient = backend.fused("cross_entropy", cross_entropy_and_grad), on_device + 0.0
    for nats in (cross_entropy(on_device, ids, backend=backend)[0], both(gradient, ids, 0.5, backend=backend)):
        assert np.allclose(backend.to_host(nats), expected, rtol=1e-5, atol=1e-6)
    gradient = backend.to_host(gradient)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    assert np.allclose(gradient, 0.5 * (probabilities - np.eye(7)[targets]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("wide", [False, True])
def test_gathers_and_their_adjoints(case: Case, monkeypatch: pytest.MonkeyPatch, wide: bool) -> None:
    """take_rows, sum_rows, pick and subtract_at equal loops over the elements, also as for a wide vocabulary."""
    if wide:
        monkeypatch.setattr("charrnn.backend.base.BLOCK", 4)
        monkeypatch.setattr("charrnn.backend.numpy.ONE_HOT_MOST", 4)
    backend, rng = case.make(), np.random.default_rng(5)
    V, H, N = 11, 3, 40
    table, rows, ids = rng.standard_normal((V, H)), rng.standard_normal((N, H)), rng.integers(0, V - 1, N)
    device_ids = backend.indices(backend.from_host(ids.astype(np.uint8)))
    out = backend.empty((N, H), case.dtype)
    backend.take_rows(backend.from_host(table, case.dtype), device_ids, out=out)
    assert close(backend.to_host(out), np.array([table[i] for i in ids]), case.tolerance)
    sums, expected = backend.empty((V, H), case.dtype), np.zeros((V, H))
    for i, row in zip(ids, rows, strict=True):
        expected[i] += row
    backend.sum_rows(device_ids, backend.from_host(rows, case.dtype), out=sums)
    assert close(backend.to_host(sums), expected, case.tolerance)
    matrix = rng.standard_normal((N, V))
    on_device = backend.from_host(matrix, case.dtype) + 0.0
    picked = backend.to_host(backend.pick(on_device, device_ids))
    assert close(picked, np.array([matrix[n, i] for n, i in enumerate(ids)]), case.tolerance)
    backend.subtract_at(on_device, device_ids, 0.75)
    for n, i in enumerate(ids):
        matrix[n, i] -= 0.75
    assert close(backend.to_host(on_device), matrix, case.tolerance)


@pytest.mark.parametrize("most", [10**6, 64 * 30 * 6, 16 * 30 * 6])
@pytest.mark.parametrize("transposed", [False, True])
def test_factor_multiplies_and_adds(case: Case, monkeypatch: pytest.MonkeyPatch, most: int, transposed: bool) -> None:
    """a @ W + b for matrices and transposed views, whole or in panels of 64 or 16 columns, also written over b."""
    monkeypatch.setattr("charrnn.backend.numpy.UNPACKED_MOST", most)
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    backend, rng = case.make(), np.random.default_rng(6)
    for rows in (1, 6):
        factor = backend.packed_weights((30, 128), case.dtype, rows=rows)
        for _ in range(2):  # another matrix takes the place of the first
            a, b = rng.standard_normal((rows, 30)), rng.standard_normal((rows, 128))
            W = rng.standard_normal((128, 30) if transposed else (30, 128))
            on_device = [backend.from_host(x, case.dtype) for x in (a, b, W)]
            out, expected = on_device[1] + 0.0, np.array([[sum(x * y) for y in (W if transposed else W.T)] for x in a])
            factor.use(on_device[2].T if transposed else on_device[2])
            factor.affine(on_device[0], on_device[1], out)
            assert close(backend.to_host(out), expected + b, case.tolerance)
            factor.affine(on_device[0], out, out)
            assert close(backend.to_host(out), 2 * expected + b, case.tolerance)


@pytest.mark.parametrize("most", [10**6, 20 * 5 * 7 + 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_tall_products_in_blocks(case: Case, monkeypatch: pytest.MonkeyPatch, most: int, transposed: bool) -> None:
    """A product of many rows, whole or in blocks, by a matrix or a transposed view, is the product."""
    monkeypatch.setattr("charrnn.backend.numpy.UNPACKED_MOST", most)
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    numpy.block_rows.cache_clear()
    backend, rng = case.make(), np.random.default_rng(8)
    a, b = rng.standard_normal((40, 5)), rng.standard_normal((7, 5) if transposed else (5, 7))
    expected = np.array([[sum(x * y) for y in (b if transposed else b.T)] for x in a])
    out, right = backend.empty((40, 7), case.dtype), backend.from_host(b, case.dtype)
    backend.matmul(backend.from_host(a, case.dtype), right.T if transposed else right, out=out)
    assert close(backend.to_host(out), expected, case.tolerance)
    if isinstance(backend, numpy.NumpyBackend):  # what could not be written in place is refused, not lost
        with pytest.raises(ValueError, match="output array"):
            numpy.NumpyBackend().matmul(a, b.T if transposed else b, out=np.empty((7, 40)).T)
    assert numpy.block_rows(40, 5, 7) == (0 if most == 10**6 else 20)
    assert numpy.block_rows(41, 5, 7) == 0
    numpy.block_rows.cache_clear()


def test_panels_are_as_wide_as_stays_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels only where the kernel has a use for them and the product is too large without; their width divides N."""
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    widths = [panel_width(*shape) for shape in ((32, 512, 512), (32, 1024, 1024), (16, 256, 256), (25, 128, 128))]
    assert widths == [16 * 2, 16, 64, 0]
    assert panel_width(32, 500, 500) == 0
    assert panel_width(64, 4096, 1024) == 0
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "Haswell")
    assert panel_width(32, 512, 512) == 0


def test_adagrad_and_clip_by_value_are_min_char_rnns(case: Case) -> None:
    """Clip to ±c, mem += g², p -= lr · g / sqrt(mem + eps), element by element."""
    backend, rng = case.make(), np.random.default_rng(7)
    p, g, m = rng.standard_normal(20), rng.standard_normal(20) * 9, rng.random(20)
    expected_p, expected_m = [], []
    for value, gradient, memory in zip(p, g, m, strict=True):
        gradient = max(-5.0, min(5.0, gradient))
        expected_m.append(memory + gradient**2)
        expected_p.append(value - 0.1 * gradient / math.sqrt(expected_m[-1] + 1e-8))
    params, grad, memory = (backend.from_host(a, case.dtype) + 0.0 for a in (p, g, m))
    config = OptimizerConfig(name="adagrad", clip_value=5.0, learning_rate=0.1)
    rate = (backend.zeros((), case.dtype) + 1.0) * config.learning_rate
    optim.clip(grad, backend.zeros((), case.dtype) + 1.0, config, backend=backend)
    optim.rule(config).apply(params, grad, {"square_sum": memory}, optim.Update(1, rate, rate > 0, backend))
    assert close(backend.to_host(params), np.array(expected_p), case.tolerance)
    assert close(backend.to_host(memory), np.array(expected_m), case.tolerance)


@pytest.mark.parametrize(("bound", "factor"), [(2.0, 0.4), (6.0, 1.0)])
def test_clip_by_norm_scales_only_above_the_bound(case: Case, bound: float, factor: float) -> None:
    """A gradient of norm 5 is scaled to norm 2 by a bound of 2, and left by a bound of 6."""
    backend = case.make()
    grad = backend.from_host(np.array([3.0, 4.0]), case.dtype) + 0.0
    norm = backend.xp.sqrt(backend.dot(grad, grad))
    optim.clip(grad, norm, OptimizerConfig(clip_norm=bound), backend=backend)
    assert np.allclose(backend.to_host(grad), np.array([3.0, 4.0]) * factor, rtol=1e-6)


def test_guard_skips_halves_and_stops(case: Case) -> None:
    """A step that is not finite halves the rate; after three in a row the guard skips every step."""
    backend = case.make()
    guard, nan, one = Guard(backend, case.dtype), math.nan, 1.0
    seen = []
    for loss, norm in [
        (one, one),
        (nan, one),
        (one, one),
        (one, math.inf),
        (nan, nan),
        (nan, one),
        (one, one),
        (nan, one),
    ]:
        scalars = (backend.from_host(np.array(v), case.dtype) for v in (loss, norm))
        ok = guard.judge(*scalars)
        seen.append([bool(backend.to_host(ok)), float(backend.to_host(guard.scale)), int(backend.to_host(guard.bad))])
    assert seen == [
        [True, 1.0, 0],
        [False, 0.5, 1],
        [True, 0.5, 0],
        [False, 0.25, 1],
        [False, 0.125, 2],
        [False, 0.0625, 3],
        [False, 0.0625, 3],
        [False, 0.0625, 3],
    ]


def test_masks_stop_nan(case: Case) -> None:
    """zero_unless and copy_if select instead of multiplying, so no NaN passes."""
    backend = case.make()
    true, false = (backend.from_host(np.array(v)) for v in (True, False))
    poison = backend.from_host(np.array([np.nan, np.inf, 1.0]), case.dtype) + 0.0
    kept = backend.from_host(np.array([1.0, 2.0, 3.0]), case.dtype) + 0.0
    backend.copy_if(false, poison, out=kept)
    backend.zero_unless(true, kept)
    assert backend.to_host(kept).tolist() == [1.0, 2.0, 3.0]
    backend.copy_if(true, kept, out=poison)
    assert backend.to_host(poison).tolist() == [1.0, 2.0, 3.0]
    backend.zero_unless(false, poison)
    assert backend.to_host(poison).tolist() == [0.0, 0.0, 0.0]
