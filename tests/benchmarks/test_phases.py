"""`benchmarks/phases.py`: the functions that it measures exist."""

from __future__ import annotations

import phases
import pytest


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_every_phase_takes_its_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    """Each phase of a step has a time, and the measured functions are restored."""
    monkeypatch.setattr(phases, "SECONDS", 0.01)
    monkeypatch.setattr("sys.argv", ["phases.py", "8,4,2", cell])
    phases.main()
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith(f"{cell} 8, 4, 2: ")
    spent = {line.split()[0]: float(line.split()[1].replace(",", "")) for line in lines}
    assert {
        "recurrence_forward",
        "recurrence_backward",
        "forward",
        "backward",
        "output_loss_and_grad",
        "update",
    } <= set(spent)
    assert all(spent.values())
