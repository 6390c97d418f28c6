"""The benchmark that says where a step's time goes: what it watches is there."""

from __future__ import annotations

import phases
import pytest


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_every_phase_takes_its_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    """Each phase of a step is called in every step, and so has a time; the watches are taken off again."""
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
