"""The operations of a backend on every namespace: gathers, products, and copies that depend on a condition."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.namespaces import Case
from helpers.networks import close

from charrnn.backend import numpy
from charrnn.backend.numpy import panel_width


@pytest.mark.parametrize("wide", [False, True])
def test_gathers_and_their_adjoints(case: Case, monkeypatch: pytest.MonkeyPatch, wide: bool) -> None:
    """take_rows, its adjoints, pick and subtract_at equal loops over the elements, also for a wide vocabulary."""
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
    different = np.array([9, 2, 5])
    backend.put_rows(backend.host_indices(different), backend.from_host(rows[:3], case.dtype), out=sums)
    assert close(
        backend.to_host(sums),
        np.array([rows[[9, 2, 5].index(v)] if v in different else [0] * H for v in range(V)]),
        case.tolerance,
    )
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
def test_packed_weights_compute_affine_maps(
    case: Case, monkeypatch: pytest.MonkeyPatch, most: int, transposed: bool
) -> None:
    """`affine` is a @ W + b for matrices and transposed views, whole or in panels, also if it overwrites b."""
    monkeypatch.setattr("charrnn.backend.numpy.UNPACKED_MOST", most)
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    backend, rng = case.make(), np.random.default_rng(6)
    for rows in (1, 6):
        packed = backend.packed_weights((30, 128), case.dtype, rows=rows)
        for _ in range(2):  # the second matrix replaces the first
            a, b = rng.standard_normal((rows, 30)), rng.standard_normal((rows, 128))
            W = rng.standard_normal((128, 30) if transposed else (30, 128))
            on_device = [backend.from_host(x, case.dtype) for x in (a, b, W)]
            out, expected = on_device[1] + 0.0, np.array([[sum(x * y) for y in (W if transposed else W.T)] for x in a])
            packed.use(on_device[2].T if transposed else on_device[2])
            packed.affine(on_device[0], on_device[1], out)
            assert close(backend.to_host(out), expected + b, case.tolerance)
            packed.affine(on_device[0], out, out)
            assert close(backend.to_host(out), 2 * expected + b, case.tolerance)


@pytest.mark.parametrize("most", [10**6, 20 * 5 * 7 + 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_in_blocks_of_rows(case: Case, monkeypatch: pytest.MonkeyPatch, most: int, transposed: bool) -> None:
    """`matmul` of many rows by a matrix or a transposed view is the product, whole or in blocks of rows."""
    monkeypatch.setattr("charrnn.backend.numpy.UNPACKED_MOST", most)
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    numpy.block_rows.cache_clear()
    backend, rng = case.make(), np.random.default_rng(8)
    a, b = rng.standard_normal((40, 5)), rng.standard_normal((7, 5) if transposed else (5, 7))
    expected = np.array([[sum(x * y) for y in (b if transposed else b.T)] for x in a])
    out, right = backend.empty((40, 7), case.dtype), backend.from_host(b, case.dtype)
    backend.matmul(backend.from_host(a, case.dtype), right.T if transposed else right, out=out)
    assert close(backend.to_host(out), expected, case.tolerance)
    if isinstance(backend, numpy.NumpyBackend):  # an `out` that cannot be written in place is an error
        with pytest.raises(ValueError, match="output array"):
            numpy.NumpyBackend().matmul(a, b.T if transposed else b, out=np.empty((7, 40)).T)
    assert numpy.block_rows(40, 5, 7) == (0 if most == 10**6 else 20)
    assert numpy.block_rows(41, 5, 7) == 0
    numpy.block_rows.cache_clear()


def test_width_of_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only large products on AVX-512 kernels have panels, whose width divides N and keeps them below the limit."""
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "SkylakeX")
    widths = [panel_width(*shape) for shape in ((32, 512, 512), (32, 1024, 1024), (16, 256, 256), (25, 128, 128))]
    assert widths == [16 * 2, 16, 64, 0]
    assert panel_width(32, 500, 500) == 0
    assert panel_width(64, 4096, 1024) == 0
    monkeypatch.setattr("charrnn.backend.numpy.blas_kernel", lambda: "Haswell")
    assert panel_width(32, 512, 512) == 0


def test_conditional_copies_stop_nan(case: Case) -> None:
    """zero_unless and copy_if select instead of multiplying, so a NaN that is not selected has no effect."""
    backend = case.make()
    true, false = (backend.from_host(np.array(v)) for v in (True, False))
    bad = backend.from_host(np.array([np.nan, np.inf, 1.0]), case.dtype) + 0.0
    good = backend.from_host(np.array([1.0, 2.0, 3.0]), case.dtype) + 0.0
    backend.copy_if(false, bad, out=good)
    backend.zero_unless(true, good)
    assert backend.to_host(good).tolist() == [1.0, 2.0, 3.0]
    backend.copy_if(true, good, out=bad)
    assert backend.to_host(bad).tolist() == [1.0, 2.0, 3.0]
    backend.zero_unless(false, bad)
    assert backend.to_host(bad).tolist() == [0.0, 0.0, 0.0]
