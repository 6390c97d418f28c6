"""What a run takes of a device, what is said when that is not there, and texts larger than the device."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from helpers import cupy_arrays, cupy_cards, fake_cupy
from helpers.commands import Call
from helpers.namespaces import fake_gpu
from helpers.trainers import one_layer, text_corpus, trainer
from hypothesis import given
from hypothesis import strategies as st

from charrnn import config
from charrnn.backend import Ledger
from charrnn.backend.cupy import CupyBackend
from charrnn.backend.rows import Rows
from charrnn.errors import ConfigError
from charrnn.model.cells import CELLS
from charrnn.run import memory
from charrnn.run.request import Request
from charrnn.run.session import prepare

DEVICES = ("cuda", "cpu")
SHAPES = [("rnn", 96, 8, 40), ("gru", 64, 16, 16), ("lstm", 128, 4, 30)]


@pytest.mark.parametrize(("cell", "H", "B", "T"), SHAPES)
@pytest.mark.parametrize(("dropout", "V"), [(0.0, 30), (0.2, 30), (0.0, 700)])
def test_what_a_run_needs_is_what_it_takes(
    text: str, monkeypatch: pytest.MonkeyPatch, cell: str, H: int, B: int, T: int, dropout: float, V: int
) -> None:
    """The estimate is within a third of what two steps of it allocate, as the interpreter traces it.

    With many characters logits come in blocks, and do not grow with the batch.
    """
    if V > 30:
        monkeypatch.setattr("charrnn.model.network.LOGITS_MOST", 2**15)
        text += "".join(map(chr, range(0x4E00, 0x4E00 + V)))
    more = {"model": {"hidden_size": H, "dropout": dropout}, "train": {"batch_size": B}, "log": {"eval_every": 0}}
    said, corpus = one_layer(cell, T, **more), text_corpus(text * 9)
    gpu = fake_gpu()
    trainer(said, corpus, gpu).step()  # what is imported and cached once is no part of it
    tracemalloc.start()
    subject = trainer(said, corpus, gpu)
    tracemalloc.reset_peak()  # the first weights were drawn on the host
    subject.step(), subject.step()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == pytest.approx(memory.needed(said, len(corpus.vocabulary), B), rel=1 / 3)


def test_a_ledger_counts_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of arrays with and without zeros, and of a one-hot matrix, which is cut where there are many characters."""
    monkeypatch.setattr("charrnn.backend.ledger.BLOCK", 50)
    ledger, counts = Ledger(), []
    for made in (
        lambda: ledger.empty((3, 5), "float32"),
        lambda: ledger.zeros((2, 2, 2), "float64"),
        lambda: ledger.one_hot(10, 7, "float64"),
        lambda: ledger.one_hot(10, 700, "float32"),
    ):
        made()
        counts.append(ledger.bytes - sum(counts))
    assert counts == [60, 64, 10 * 7 * 9, 10 * 50 * 5]


def test_a_full_device_says_what_would_fit(call: Call, tmp_path: Path) -> None:
    """One line with what is needed, what is free and a batch that fits; with that batch the run goes through."""
    (tmp_path / "long.txt").write_text("to be or not to be, that is the question. " * 300)
    words = ["train", "long.txt", "--device", "cuda", "--steps", 2, "--set", "model.hidden_size=32", "--out", "run"]
    with cupy_cards.limited(3 * 2**20):
        _, error = call(*words, "--set", "train.batch_size=100", status=2)
    assert "cuda:0 is out of memory: 100 streams need about" in error
    assert "3 MiB are free" in error
    fits = int(error.split("train.batch_size=")[1].split()[0])
    assert 5 < fits < 100
    with cupy_cards.limited(3 * 2**20):
        call(*words, "--overwrite", "--set", f"train.batch_size={fits}")
    with cupy_cards.limited(3 * 2**10):
        assert "lower train.batch_size" in call(*words, "--overwrite", status=2)[1]


def test_a_run_that_is_resumed_keeps_its_batch(call: Call) -> None:
    """Where its memory does not suffice, another device is the way out, and the way is open."""
    words = ["train", "t.txt", "--set", "model.hidden_size=8", "--set", "train.seq_length=8", "--out", "run"]
    call(*words, "--steps", 4, "--stop-after", 2, "--device", "cpu")
    with cupy_cards.limited(2**10):
        _, error = call("train", "t.txt", "--resume", "--out", "run", "--device", "cuda", status=2)
    assert error.endswith("go on where there is more, such as --device cpu")
    call("train", "t.txt", "--resume", "--out", "run", "--device", "cpu")


def test_what_a_run_says_of_its_device(text: str) -> None:
    """On a GPU the layout of the recurrence, on a CPU that a precision of products does nothing; neither elsewhere."""
    options = {"model": {"hidden_size": 8}, "train": {"precision": "tf32", "batch_size": 4, "seq_length": 6}}
    with cupy_cards.limited(2**30):
        on = {d: prepare(Request(text=text, options=config.merged(options, {"train": {"device": d}}))) for d in DEVICES}
    layout = [[line for line in on[d].notices if line.startswith("recurrence: one kernel")] for d in DEVICES]
    idle = ["train.precision = tf32 does nothing on a CPU" in on[d].notices for d in DEVICES]
    assert list(map(len, layout)) == [1, 0]
    assert idle == [False, True]


def test_limit_and_precision_reach_the_library() -> None:
    """The pool gets the limit, which bounds what counts as free, and products their precision; who says neither, as
    when a model is loaded beside a run, changes neither.
    """
    cupy = fake_cupy.module(free=2**30)
    with patch.dict("sys.modules", {"cupy": cupy, "array_api_compat.cupy": fake_cupy.namespace()}):
        limited = CupyBackend(0, precision="tf32", memory=2**20)
        assert limited.free_bytes() == 2**20
        assert CupyBackend(0).free_bytes() == 2**20
        CupyBackend(0, precision="float32")
    assert cupy._core._routines_linalg.chosen == [("float32", 7), ("float32", 1)]


def test_a_card_too_old_for_the_kernels_keeps_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pascal can launch cooperatively and has not the instructions."""
    monkeypatch.setattr(fake_cupy.Device, "compute_capability", "61")
    old = fake_gpu()
    assert old.recurrence(CELLS["rnn"]) is CELLS["rnn"]
    assert "too old" in old.recurrence_in_words(CELLS["rnn"], 4, 8, "float32")


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 300), st.data())
def test_a_table_by_blocks_reads_as_a_whole(N: int, B: int, most: int, data: st.DataObject) -> None:
    """Any stretch of rows, in any order, whatever fits on the device at once; what is there is not brought again."""
    table, backend = np.arange(N * B, dtype=np.uint16).reshape(B, N).T, fake_gpu()
    rows = Rows(backend, table, most)
    for _ in range(6):
        first = data.draw(st.integers(0, N - 1))
        last = data.draw(st.integers(first, N))
        assert np.array_equal(backend.to_host(rows.read(first, last)), table[first:last])
        cupy_arrays.log.clear()
        rows.read(first, last)
        assert not cupy_arrays.log
    assert rows.count == N or rows.count * table[:1].nbytes <= max(most, table[:1].nbytes)


@pytest.mark.parametrize(
    ("words", "count"),
    [("", 0), ("512MB", 512_000_000), ("1.5 GiB", 3 * 2**29), ("2g", 2 * 10**9), ("100", 100), ("7kib", 7168)],
)
def test_sizes(words: str, count: int) -> None:
    """Decimal and binary units, in either case."""
    assert config.size(words) == count


@pytest.mark.parametrize("words", ["much", "-1GB", "0", "GB", "1 GB or so", "0.0MB"])
def test_what_is_no_size(words: str) -> None:
    """It is refused as a setting."""
    with pytest.raises(ConfigError, match="gpu_memory_limit"):
        config.parse_settings([f'train.gpu_memory_limit="{words}"'])
