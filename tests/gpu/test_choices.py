"""The kernel that chooses characters, against the choice on the host, and whole texts written by a fake GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from helpers import cuda_cpu, cupy_arrays
from helpers.namespaces import fake_gpu
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from charrnn.backend.base import Backend
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import Network, Views, build
from charrnn.model.cells import CELLS
from charrnn.sampling import Settings, choose, generate
from charrnn.sampling.distribution import choices, truncated
from charrnn.sampling.generate import Writer

pytestmark = pytest.mark.skipif(cuda_cpu.compiler is None, reason="there is no g++")

BELOW_ONE, NAN, INF = math.nextafter(1, 0), math.nan, math.inf
MARGIN = 1e-12
"""Relative distance from an edge below which rounding may decide the choice."""
ALL = Settings(temperature=1.0)


@pytest.fixture(scope="module")
def device() -> Backend:
    """Return a fake GPU."""
    return fake_gpu()


def on_device(device: Backend, logits: np.ndarray, uniforms: np.ndarray, options: Settings) -> np.ndarray:
    """Return the ids (N, B) that the kernel chooses by uniforms (N, B) from logits (B, V)."""
    out = np.full(uniforms.shape, -1)
    kernel = device.fused("choices", choices)
    assert kernel is not choices
    for _ in kernel(device.from_host(logits), uniforms, options, out=out, backend=device):
        pass
    return out


def on_host(logits: np.ndarray, uniforms: np.ndarray, options: Settings) -> np.ndarray:
    """Return the ids (N, B) that the host chooses."""
    with np.errstate(all="ignore"):
        return np.array([choose(logits, row, options) for row in uniforms])


def independent_of_rounding(logits: np.ndarray, uniforms: np.ndarray, options: Settings) -> bool:
    """Whether no edge of the inverse CDF or of top-p is so close that rounding decides; equal weights are exact."""
    finite = np.nan_to_num(logits.astype(np.float64), nan=-np.finfo(float).max)
    with np.errstate(all="ignore"):
        full = truncated(finite, finite.max(axis=1), Settings(options.temperature, options.top_k))
        weights = truncated(finite, finite.max(axis=1), options)
    for row, whole, u in zip(weights, full, uniforms, strict=True):
        exact = set(whole.tolist()) <= {0.0, 1.0} and options.top_p in (0.25, 0.5, 1.0)
        edges, total = np.cumsum(row[row > 0])[:-1], row.sum()
        if not exact and np.any(np.abs(edges - u * total) <= MARGIN * total):
            return False
        above, most = np.cumsum(np.sort(whole)[::-1])[:-1], options.top_p * whole.sum()
        if not exact and options.top_p < 1 and np.any(np.abs(above - most) <= MARGIN * most):
            return False
    return True


NUMBERS = {
    "few": st.integers(-3, 3).map(float),
    "moderate": st.floats(-20, 20),
    "huge": st.floats(-1e300, 1e300) | st.sampled_from([1e300, -1e300, 0.0, -0.0]),
    "broken": st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1.0]),
}


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits (B, V), float32 or float64, and uniforms (B,)."""
    B, V, dtype = draw(st.integers(1, 5)), draw(st.integers(1, 12) | st.just(300)), draw(st.sampled_from(["f4", "f8"]))
    numbers = NUMBERS[draw(st.sampled_from(list(NUMBERS)))]
    row = st.lists(numbers, min_size=min(V, 12), max_size=min(V, 12))
    drawn = np.array([draw(row) for _ in range(B)])
    uniform = st.floats(0, BELOW_ONE) | st.sampled_from([0.0, 0.25, 0.5, BELOW_ONE])
    uniforms = np.array(draw(st.lists(uniform, min_size=B, max_size=B)))
    with np.errstate(over="ignore"):
        return np.tile(drawn, -(-V // drawn.shape[1]))[:, :V].astype(dtype), uniforms


TEMPERATURES = st.floats(1e-300, 1e300) | st.sampled_from([0.0, 1e-300, 0.5, 0.8, 1.0, 1e300])
TOP_P = st.floats(0, 1, exclude_min=True) | st.sampled_from([0.25, 0.5, 1.0])
TIES = np.zeros((2, 9), "f4"), np.array([0.0, BELOW_ONE])


@settings(deadline=None)
@given(problems(), TEMPERATURES, st.integers(0, 14), TOP_P)
@example(TIES, 1.0, 6, 0.5)
@example(TIES, 0.0, 0, 0.5)
@example((np.array([[NAN, NAN, NAN], [NAN, -INF, NAN]]), TIES[1]), 1.0, 2, 1.0)
@example((np.array([[INF, 3.0, NAN, INF, 5.0]], "f4"), np.array([BELOW_ONE])), 1e300, 3, 1.0)
@example((np.array([[-0.0, 0.0, -1.0]]), np.array([BELOW_ONE])), 1.0, 1, 1.0)
@example((np.array([[0.0, 1.0, 2.0, 2.0]]), np.array([BELOW_ONE])), 1e300, 3, 0.5)
def test_the_kernel_chooses_as_the_host_does(
    device: Backend, problem: tuple[np.ndarray, np.ndarray], temperature: float, top_k: int, top_p: float
) -> None:
    """With ties, NaN, infinities and any settings the kernel chooses an id, the host's unless rounding decides."""
    (logits, uniforms), options = problem, Settings(temperature, top_k, top_p)
    chosen = on_device(device, logits, uniforms[None], options)
    assert chosen.min() >= 0
    assert chosen.max() < logits.shape[1]
    assume(independent_of_rounding(logits, uniforms, options))
    assert chosen.tolist() == on_host(logits, uniforms[None], options).tolist()


@pytest.mark.parametrize("options", [Settings(), ALL, Settings(2.0, 5), Settings(0.8, 0, 0.9), Settings(1.0, 20, 0.7)])
@pytest.mark.parametrize(("V", "dtype"), [(1, "float32"), (65, "float32"), (65, "float64"), (700, "float32")])
def test_usual_logits_give_the_same_ids(device: Backend, V: int, dtype: str, options: Settings) -> None:
    """Forty choices for each vocabulary and settings are the host's."""
    rng = np.random.default_rng(7)
    logits, uniforms = (3 * rng.standard_normal((10, V))).astype(dtype), rng.random((4, 10))
    assert on_device(device, logits, uniforms, options).tolist() == on_host(logits, uniforms, options).tolist()


@pytest.mark.parametrize("V", [3, 4, 17, 64])
def test_equal_characters_have_equal_ranges(device: Backend, V: int) -> None:
    """u chooses character floor(u · V) of V equal ones, up to both edges of each range, on every thread."""
    edges = np.array([math.nextafter(v / V, w) for v in range(V + 1) for w in (-1, 2)])[1:-1]
    uniforms = np.concatenate([edges, [BELOW_ONE]])[:, None]
    expected = on_host(np.zeros((1, V)), uniforms, ALL)
    assert set(expected[:, 0]) == set(range(V))
    assert on_device(device, np.zeros((1, V)), uniforms, ALL).tolist() == expected.tolist()


def test_of_equal_characters_the_first_are_kept(device: Backend) -> None:
    """Top-k, top-p, and both keep the first of equal characters, also if different threads process them."""
    logits = np.array([[1.0] + [0.0] * 9 + [1.0] + [-1.0] * 9])
    ranked, uniforms = [0, 10, *range(1, 10), *range(11, 20)], np.arange(8)[:, None] / 8
    for n in (1, 2, 3, 6, 11, 12, 15, 19):
        kept = sorted(ranked[:n])
        expected = [[kept[int(u * n)]] for u in uniforms[:, 0]]
        for options in ((n, 1.0), (0, (n - 0.5) / 20), (20 - n, (n - 0.5) / (20 - n)) if n < 10 else (n, 1.0)):
            assert on_device(device, logits, uniforms, Settings(1e300, *options)).tolist() == expected, options


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("least", [-1.0, 0.0, 1.0])
def test_adjacent_numbers_are_not_ties(device: Backend, dtype: str, least: float) -> None:
    """The last bit of a logit decides which character is likelier."""
    real = np.dtype(dtype).type
    middle = np.nextafter(real(least), real(9))
    logits = np.array([[least, middle, np.nextafter(middle, real(9)), least]], dtype)
    for options in (Settings(0.0), Settings(1.0, 1)):
        assert on_device(device, logits, np.array([[0.0]]), options) == 2
    assert on_device(device, logits, np.array([[0.0], [BELOW_ONE]]), Settings(1.0, 2)).tolist() == [[1], [2]]


def test_the_largest_uniform_is_the_last_possible_character(device: Backend) -> None:
    """It is chosen even if the running sum of a thread's characters is rounded below the thread's sum."""
    logits = np.random.default_rng(3).standard_normal((80, 13))
    logits[:, 11:] = -INF
    assert on_device(device, logits, np.full((1, 80), BELOW_ONE), ALL).tolist() == [[10] * 80]


# -- whole texts ------------------------------------------------------------------------------------------------------


def network(
    backend: Backend, cell: str, *, V: int = 9, dtype: str = "float64", layers: int = 1
) -> tuple[Network, Views]:
    """Return a random network and its weights, the same on every backend."""
    made = build(ModelConfig(hidden_size=8, num_layers=layers, cell=cell, dtype=dtype, dropout=0.0), V, backend)
    return made, made.views(backend.from_host(np.random.default_rng(4).standard_normal(made.layout.size), dtype))


def written(backend: Backend, cell: str, options: Settings) -> np.ndarray:
    """Return 40 characters (40, 3) that continue prompts."""
    prompts = np.random.default_rng(5).integers(0, 9, (6, 3))
    rng = np.random.default_rng(6)
    stream: Iterator[np.ndarray] = generate(*network(backend, cell, layers=2), prompts, options, rng)
    ids = np.concatenate([next(stream) for _ in range(6)])
    stream.close()
    return ids[:40]


@pytest.mark.parametrize("options", [Settings(0.0), ALL, Settings(1.3, 4, 0.8)], ids=["greedy", "all", "cut"])
def test_texts_equal_the_cpus(device: Backend, cell: str, options: Settings) -> None:
    """The same seed gives the same text on both devices."""
    cpu, gpu = written(NumpyBackend(), cell, options), written(device, cell, options)
    assert len(np.unique(cpu)) > 2
    assert cpu.tolist() == gpu.tolist()


def block(device: Backend, cell: str, *, N: int, B: int = 2, V: int = 9, options: Settings = ALL) -> list[str]:
    """Return the log of what the device does for a block of N characters."""
    writer = Writer(*network(device, cell, V=V, dtype="float32"), np.zeros((2, B), int))
    cupy_arrays.log.clear()
    ids = writer.write(np.random.default_rng(1).random((N, B)), options)
    assert ids.shape == (N, B)
    return list(cupy_arrays.log)


def test_a_block_waits_once_and_a_character_is_few_launches(device: Backend, cell: str) -> None:
    """A block is one upload, a fixed number of launches for each character, and one download with the kernels' flag."""
    logs = [
        block(device, cell, N=1),
        block(device, cell, N=6),
        block(device, cell, N=11, B=5),
        block(device, cell, N=16, V=90, options=Settings(0.7, 8, 0.9)),
        block(device, cell, N=21, options=Settings(0.0)),
    ]
    for log in logs:
        assert (log[0], log[-2], log[-1]) == ("upload", "download", "download")
        assert {"upload", "download"}.isdisjoint(log[1:-2])
    (each,) = {(len(longer) - len(shorter)) / 5 for shorter, longer in pairwise(logs)}
    assert each == len(logs[0]) - 3 == 6 + len(CELLS[cell].STATES)
