"""`charrnn.train` that is interrupted, and its progress bar."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TEXT
from helpers.models import SMALL

import charrnn
from charrnn import checkpoint
from charrnn.training.events import Ended, Event, Trained

LONG = SMALL | {"train.steps": 30, "log.every": 7}


def interrupt_at(step: int, *, by_signal: bool) -> tuple[list[Event], object]:
    """Return a list, and a callback that records events in it and interrupts after the losses of `step`."""
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Trained) and event.at.step == step:
            if by_signal:
                signal.raise_signal(signal.SIGINT)
            else:
                raise KeyboardInterrupt

    return events, on_event


@pytest.mark.parametrize("by_signal", [True, False])
def test_an_interrupted_run_is_saved_and_resumes(
    by_signal: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted run ends after the step with a checkpoint; resumed, it ends as one that was not interrupted."""
    events, on_event = interrupt_at(14, by_signal=by_signal)
    model = charrnn.train(TEXT, settings=LONG, out=tmp_path / "r", best=False, on_event=on_event)
    assert isinstance(events[-1], Ended)
    assert (events[-1].reason, model.step) == ("interrupted", 15)
    assert checkpoint.steps(tmp_path / "r")[-1] == 15
    notice = f"interrupted at step 15 of 30; {tmp_path / 'r'} is saved, and resume=True continues it"
    assert model.notices[-1] == notice
    assert notice in capsys.readouterr().err.splitlines()
    resumed = charrnn.train(TEXT, settings=LONG, out=tmp_path / "r", best=False, resume=True)
    whole = charrnn.train(TEXT, settings=LONG, best=False)
    assert all(np.array_equal(resumed.params[name], array) for name, array in whole.params.items())


def test_an_interrupted_training_without_a_directory_returns_the_network() -> None:
    """The network has the weights of a training of so many steps at a constant rate, and the handler is restored."""
    _, on_event = interrupt_at(14, by_signal=True)
    model = charrnn.train(TEXT, settings=LONG, best=False, on_event=on_event)
    same = charrnn.train(TEXT, settings=LONG | {"train.steps": 15}, best=False)
    assert model.notices[-1] == "interrupted at step 15 of 30"
    assert all(np.array_equal(same.params[name], array) for name, array in model.params.items())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_raised() -> None:
    """A user who interrupts twice need not wait."""

    def on_event(event: Event) -> None:
        if isinstance(event, Trained):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second interrupt has no effect")

    with pytest.raises(KeyboardInterrupt):
        charrnn.train(TEXT, settings=LONG, on_event=on_event)


def test_training_in_a_thread_and_with_a_handler_of_the_caller() -> None:
    """A thread trains without handlers, and a handler of the caller stays in place while training runs."""
    done = list[int]()
    thread = threading.Thread(target=lambda: done.append(charrnn.train(TEXT, settings=SMALL).step))
    thread.start()
    thread.join()
    assert done == [30]
    seen = list[object]()
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        mine = signal.getsignal(signal.SIGINT)
        charrnn.train(TEXT, settings=SMALL, on_event=lambda _: seen.append(signal.getsignal(signal.SIGINT)))
        assert set(seen) == {mine}
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_progress_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A script is quiet; at a prompt, or on demand, the bar ends with all steps and both losses. No steps, no bar."""
    events = list[Event]()
    charrnn.train(TEXT, settings=SMALL)
    charrnn.train(TEXT, settings=SMALL, progress=False)
    assert capsys.readouterr().err == ""
    charrnn.train(TEXT, settings=SMALL, progress=True, on_event=events.append)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "30/30" in last
    loss = [event.smooth_loss for event in events if isinstance(event, Trained)][-1]
    assert f"loss={loss:.3f}" in last
    assert "validation=" in last
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    charrnn.train(TEXT, settings=SMALL)
    assert "30/30" in capsys.readouterr().err
    charrnn.train(TEXT, settings=SMALL, progress=False)
    charrnn.train(TEXT, settings=SMALL | {"train.steps": 0})
    assert capsys.readouterr().err == ""
