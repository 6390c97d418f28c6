"""The kernel that draws the masks of dropout, against NumPy's generator, which it replaces: all bits are equal."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.namespaces import fake_gpu, gpu

from charrnn.backend import Backend
from charrnn.backend.kernels.fused import BLOCKS_EACH
from charrnn.model.dropout import draw_masks, drop_threshold, kept_scale

DEVICES = [pytest.param(fake_gpu, id="fake"), pytest.param(gpu, id="gpu", marks=pytest.mark.gpu)]
LARGEST = 2**64 - 1
SHAPES = [
    # first step, steps, numbers, shape of a mask
    (0, 1, range(1), (1, 1)),
    (7, 1, range(1), (3, 5)),
    (1, 1, range(2, 3), (33, 31)),
    (250, 3, range(1, 7, 2), (4, 13)),
    (2**40, 2, range(2, 6, 2), (7, 9)),
    (LARGEST, 1, range(2, 4, 2), (5, 4)),
]


def host_words(key: np.ndarray, step: int, number: int, count: int) -> np.ndarray:
    """Return the first `count` 16-bit numbers of NumPy's generator for a mask, the low bits of a word first."""
    words = np.random.Philox(key=key, counter=np.array([0, 0, number, step], np.uint64)).random_raw(-(-count // 4))
    return np.array([int(word) >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)])[:count]


def expected_masks(
    key: np.ndarray, steps: range, numbers: range, p: float, dtype: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the masks (steps, numbers, ...), one after another."""
    threshold, count = round(p * 65536), int(np.prod(shape))
    words = [host_words(key, step, number, count) for step in steps for number in numbers]
    dropped = np.array(words).reshape(len(steps), len(numbers), *shape) < threshold
    return dropped if dtype == "bool" else np.where(dropped, 0, 65536 / (65536 - threshold)).astype(dtype)


def drawn(
    device: Backend, key: np.ndarray, steps: range, numbers: range, p: float, dtype: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the masks that a device draws into memory with other contents."""
    threshold, kernel = drop_threshold(p), device.fused("draw_masks", draw_masks)
    out = device.from_host(np.ones((len(steps), len(numbers), *shape)), dtype)
    kept = np.False_ if dtype == "bool" else kept_scale(threshold, dtype)
    assert kernel is not draw_masks
    kernel(key, steps, numbers, threshold, kept, out=out, backend=device)
    return device.to_host(out)


@pytest.mark.parametrize("make", DEVICES)
@pytest.mark.parametrize(("first", "count", "numbers", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
def test_the_kernel_draws_the_bits_of_the_host(
    make: object, dtype: str, first: int, count: int, numbers: range, shape: tuple[int, ...]
) -> None:
    """For any key, steps, layers, size, rate and dtype the masks have the bits that NumPy's generator gives."""
    device, steps = make(), range(first, first + count)
    for key in (np.array([0, 0], np.uint64), np.array([LARGEST, 2**63 + 5], np.uint64)):
        edge = host_words(key, first, numbers[0], 1)[0] / 65536  # the first number is not below the threshold
        for p in (0.1, 0.5, edge):
            arguments = (key, steps, numbers, p, dtype, shape)
            expected = expected_masks(*arguments)
            assert drawn(device, *arguments).tobytes() == expected.tobytes()


@pytest.mark.gpu
def test_a_large_mask_has_the_bits_of_the_host() -> None:
    """Masks with more elements than a launch's blocks draw at once have the host's bits to the last element."""
    device, key = gpu(), np.array([3, 4], np.uint64)
    size = BLOCKS_EACH * device.kernels.blocks * 16 * device.kernels.threads + 4103
    arguments = (key, range(5, 6), range(2, 6, 2), 0.3, "float32", (1, size))
    assert drawn(device, *arguments).tobytes() == expected_masks(*arguments).tobytes()
