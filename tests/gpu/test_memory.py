"""A full GPU, tables larger than a GPU's memory, and the settings and notices of a device."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from helpers import cupy_arrays, cupy_cards, fake_cupy
from helpers.commands import Call
from helpers.namespaces import fake_gpu, gpu
from hypothesis import given
from hypothesis import strategies as st

from charrnn import config
from charrnn.backend import computing
from charrnn.backend.base import Rows
from charrnn.backend.cupy import CupyBackend
from charrnn.backend.numpy import NumpyBackend
from charrnn.errors import ConfigError, DeviceError
from charrnn.model.cells import CELLS
from charrnn.run.request import Request
from charrnn.run.session import prepare

DEVICES = ("cuda", "cpu")


def test_a_full_device_is_one_line(call: Call, tmp_path: Path) -> None:
    """The error says what was asked for, what is free and what to lower; with a smaller batch the run succeeds."""
    (tmp_path / "long.txt").write_text("to be or not to be, that is the question. " * 300)
    words = ["train", "long.txt", "--device", "cuda", "--steps", 2, "--set", "model.hidden_size=32", "--out", "run"]
    words += ["--set", "log.sample_length=9", "--set", "log.eval_chars=200"]
    with cupy_cards.with_free_memory(3 * 2**20):
        _, error = call(*words, "--set", "train.batch_size=100", status=2)
        pattern = r"charrnn: cuda:0 is out of memory \(Out of memory allocating \d+ bytes, 3 MiB are free\): "
        assert re.fullmatch(pattern + r"lower train\.batch_size or model\.hidden_size", error.splitlines()[-1])
        call(*words, "--overwrite", "--set", "train.batch_size=10")


def test_a_resumed_run_that_does_not_fit_can_continue_elsewhere(call: Call) -> None:
    """A resumed run keeps its batch size, so the advice is another device, and the CPU does continue it."""
    words = ["train", "t.txt", "--set", "model.hidden_size=8", "--set", "train.seq_length=8", "--out", "run"]
    call(*words, "--steps", 4, "--stop-after", 2, "--device", "cpu")
    with cupy_cards.with_free_memory(2**10):
        _, error = call("train", "t.txt", "--resume", "--out", "run", "--device", "cuda", status=2)
    assert error.endswith("continue on a device with more memory, such as --device cpu")
    call("train", "t.txt", "--resume", "--out", "run", "--device", "cpu")


def test_a_full_cpu_is_one_line() -> None:
    """NumPy's words are kept; how much is free is not known, and without other advice another machine is needed."""
    with pytest.raises(DeviceError) as fresh, computing(NumpyBackend(), memory_advice="lower train.batch_size"):
        np.empty(2**60, np.uint8)
    assert str(fresh.value).startswith("cpu is out of memory (Unable to allocate 1.00 EiB for an array with shape")
    assert str(fresh.value).endswith("uint8): lower train.batch_size")
    with pytest.raises(DeviceError) as resumed, computing(NumpyBackend()):
        raise MemoryError
    assert str(resumed.value) == "cpu is out of memory (MemoryError): continue on a machine with more memory"


def test_notices_about_the_device(text: str) -> None:
    """A run on a GPU reports the layout of the recurrence; a run on a CPU, that train.precision has no effect."""
    options = {"model": {"hidden_size": 8}, "train": {"precision": "tf32", "batch_size": 4, "seq_length": 6}}
    with cupy_cards.with_free_memory(2**30):
        on = {d: prepare(Request(text=text, options=config.merged(options, {"train": {"device": d}}))) for d in DEVICES}
    layout = [[line for line in on[d].notices if line.startswith("recurrence: one kernel")] for d in DEVICES]
    idle = ["train.precision = tf32 does nothing on a CPU" in on[d].notices for d in DEVICES]
    assert list(map(len, layout)) == [1, 0]
    assert idle == [False, True]


def test_limit_and_precision_reach_the_library() -> None:
    """A memory limit bounds CuPy's pool and the free bytes; a precision applies to products. A backend that is made
    without these arguments, as for a model that is loaded during a run, changes neither.
    """
    cupy = fake_cupy.module(free=2**30)
    with fake_cupy.imported(cupy):
        limited = CupyBackend(0, precision="tf32", memory=2**20)
        assert limited.free_bytes() == 2**20
        assert CupyBackend(0).free_bytes() == 2**20
        CupyBackend(0, precision="float32")
        pool = cupy.get_default_memory_pool()
        pool.free_bytes, pool.used_bytes = lambda: 1000, lambda: 5000
        assert [limited.free_bytes(cached=cached) for cached in (True, False)] == [2**20 - 5000, 2**20 - 6000]
        pool.set_limit(size=0)
        assert [limited.free_bytes(cached=cached) for cached in (True, False)] == [2**30 + 1000, 2**30]
    assert cupy._core._routines_linalg.chosen == [("float32", 7), ("float32", 1)]


def test_a_card_too_old_for_the_kernels_keeps_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pascal can launch cooperatively but lacks release and acquire instructions."""
    monkeypatch.setattr(fake_cupy.Device, "compute_capability", "61")
    old = fake_gpu()
    assert old.recurrence(CELLS["rnn"]) is CELLS["rnn"]
    assert "too old" in old.describe_recurrence(CELLS["rnn"], 4, 8, "float32")


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 300), st.data())
def test_a_table_in_blocks_reads_like_a_whole_one(N: int, B: int, limit: int, data: st.DataObject) -> None:
    """Any stretch of rows can be read in any order under any limit, and reading it again uploads nothing."""
    table, backend = np.arange(N * B, dtype=np.uint16).reshape(B, N).T, fake_gpu()
    rows = Rows(backend, table, limit)
    for _ in range(6):
        first = data.draw(st.integers(0, N - 1))
        last = data.draw(st.integers(first, N))
        assert np.array_equal(backend.to_host(rows.read(first, last)), table[first:last])
        cupy_arrays.log.clear()
        rows.read(first, last)
        assert not cupy_arrays.log
    assert rows.count == N or rows.count * table[:1].nbytes <= max(limit, table[:1].nbytes)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize("shape", [(9_000,), (70, 90), (3, 50, 41), (2, 9_000)])
def test_a_large_upload_locks_no_memory(shape: tuple[int, ...], dtype: str | None) -> None:
    """An array that is uploaded in slices arrives whole, from any strides, and leaves nothing in the pinned pool."""
    device = gpu()
    pool, array = device.cupy.get_default_pinned_memory_pool(), np.arange(np.prod(shape), dtype="f4").reshape(shape)
    pool.free_all_blocks()
    with patch("charrnn.backend.cupy.UPLOAD", 4096):
        for host in (array, array.T):
            assert np.array_equal(device.to_host(device.from_host(host, dtype)), host.astype(dtype or "f4"))
    assert pool.n_free_blocks() == 0


@pytest.mark.parametrize(
    ("words", "count"),
    [("", 0), ("512MB", 512_000_000), ("1.5 GiB", 3 * 2**29), ("2g", 2 * 10**9), ("100", 100), ("7kib", 7168)],
)
def test_sizes(words: str, count: int) -> None:
    """Sizes have decimal or binary units, in upper or lower case."""
    assert config.size(words) == count


@pytest.mark.parametrize("words", ["much", "-1GB", "0", "GB", "1 GB or so", "0.0MB"])
def test_a_malformed_size_is_refused(words: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match="gpu_memory_limit"):
        config.parse_settings([f'train.gpu_memory_limit="{words}"'])
