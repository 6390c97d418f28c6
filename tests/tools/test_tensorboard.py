"""`train --tensorboard`: what TensorBoard's own reader reads from the event files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import TRAIN, Call, metrics

import charrnn
from charrnn import checkpoint

RESUME = ["train", "--resume", "--out=r", "--device=cpu", "--tensorboard"]


def read(folder: Path) -> Any:
    """Return TensorBoard's reader of a folder, with everything in it."""
    pytest.importorskip("tensorboardX")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = events.EventAccumulator(str(folder), size_guidance=dict.fromkeys(events.DEFAULT_SIZE_GUIDANCE, 0))
    return accumulator.Reload()


def points(reader: Any) -> set[tuple[str, int, np.float32]]:
    """Return the tag, step and value of all scalars, and check that none is there twice."""
    found = [(tag, e.step, np.float32(e.value)) for tag in reader.Tags()["scalars"] for e in reader.Scalars(tag)]
    assert len(found) == len(set(found))
    return set(found)


def expected(run: Path) -> set[tuple[str, int, np.float32]]:
    """Return the same of the numbers in metrics.jsonl."""
    rest = ("event", "step", "chars", "seconds", "best", "device")
    return {
        (f"{line['event']}/{name}", line["step"], np.float32(value))
        for line in metrics(run)
        for name, value in line.items()
        if name not in rest
    }


def test_scalars_texts_histograms_and_baselines(call: Call, tmp_path: Path) -> None:
    """Scalars equal metrics.jsonl, the sample is the run's, histograms count the weights, baselines are lines."""
    pytest.importorskip("tensorboardX")
    call(*TRAIN, "--out=r", "--tensorboard")
    reader = read(tmp_path / "r" / "tensorboard")
    assert points(reader) == expected(tmp_path / "r")
    model = charrnn.load("r", device="cpu", checkpoint="last")
    for name, array in model.host_weights().items():
        histograms = reader.Histograms(f"parameters/{name}")
        assert [h.step for h in histograms] == [0, 5, 10]
        last = histograms[-1].histogram_value
        assert (last.num, last.min, last.max) == (array.size, array.min(), array.max())
        assert last.sum == pytest.approx(array.sum(dtype=float))
    texts = [event.tensor_proto.string_val[0].decode() for event in reader.Tensors("sample/text_summary")]
    sample = (tmp_path / "r" / "samples.txt").read_text().split(" ---\n", 1)[1].split("\n\n--- step")[0].rstrip("\n")
    assert texts[0] == "\n".join("    " + line for line in sample.split("\n"))
    values = json.loads((tmp_path / "r" / "baselines.json").read_text())
    for order, loss in values["nats_per_char"].items():
        line = points(read(tmp_path / "r" / "tensorboard" / f"{order}-gram"))
        assert line == {("eval/val_loss", step, np.float32(loss)) for step in (0, 10)}


def test_a_resumed_run_has_no_point_twice(call: Call, tmp_path: Path) -> None:
    """After a kill behind the last checkpoint, and with more steps, each point of metrics.jsonl is there once."""
    pytest.importorskip("tensorboardX")
    call(*TRAIN, "--out=r", "--tensorboard")
    checkpoint.path_of(tmp_path / "r", 10).unlink()  # as if the process was killed before it
    call(*RESUME, "--steps=20")
    reader = read(tmp_path / "r" / "tensorboard")
    assert points(reader) == expected(tmp_path / "r")
    assert {step for _, step, _ in points(reader)} == {0, 5, 10, 15, 20}
    assert [h.step for h in reader.Histograms("parameters/output.b_y")] == [0, 5, 10, 15, 20]
    assert {step for _, step, _ in points(read(tmp_path / "r" / "tensorboard" / "6-gram"))} == {0, 20}
    call(*TRAIN, "--out=r", "--tensorboard", "--overwrite", "--steps=5")
    assert points(read(tmp_path / "r" / "tensorboard")) == expected(tmp_path / "r")


def test_a_full_disk_ends_the_events_and_not_the_training(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says that the events are not written; the run is complete."""
    pytest.importorskip("tensorboardX")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("charrnn.tools.tensorboard.EventFile.histogram", refuse)
    _, err = call(*TRAIN, "--out=r", "--tensorboard")
    assert "TensorBoard's files cannot be written (No space left on device): training continues without them\n" in err
    assert err.count("TensorBoard") == 1
    assert checkpoint.steps(tmp_path / "r")[-1] == 10


def test_without_the_package(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the extra, and nothing is trained."""
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    _, line = call(*TRAIN, "--out=r", "--tensorboard", status=2)
    assert line == "charrnn: --tensorboard needs tensorboardX: pip install 'charrnn-xp[tensorboard]'"
    assert not (tmp_path / "r").exists()
