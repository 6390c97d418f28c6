"""`benchmarks/cost_model.py`: the prediction of the guide."""

from __future__ import annotations

import cost_model
import pytest

from charrnn.training.profile import Sent


def test_the_prediction_is_the_cost_model_of_the_profile() -> None:
    """With one shard on a rank the bytes are those that `--profile` compares its counts with, and take their time."""
    sent, milliseconds = cost_model.exchange(1200, 4, gigabits=8.0, latency=1e-5)
    assert sent == Sent(0, 0, shards=4, parameters=1200, ranks=4, itemsize=4).expected == 7200
    assert milliseconds == pytest.approx(7200 / 1e6 + 6 * 0.01)


def test_every_cluster_has_every_preset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each table has a line for the LSTM, and the last one follows from P and the bandwidth."""
    monkeypatch.setattr("sys.argv", ["cost_model.py", "--latency", "0"])
    cost_model.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| lstm |")]
    assert len(lines) == len(cost_model.CLUSTERS)
    assert lines[2] == "| lstm | 1,306,752 | 10.29 MB | 0.82 ms | 0.84 ms | 52.69 ms | 7.41 ms |"
