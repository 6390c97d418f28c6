"""The current card of a thread: every public function computes on its own card, and restores the caller's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from helpers import cuda_cpu, cupy_cards, fake_cupy

import charrnn
from charrnn.backend import cupy
from charrnn.tools.torch_weights import to_torch

SETTINGS = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 2}
SETTINGS |= {"train.device": "cuda:1", "log.every": 1, "log.eval_every": 1, "log.sample_every": 1}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def current(request: pytest.FixtureRequest) -> Iterator[Callable[[], int]]:
    """Return a function that returns this thread's current card, on a machine with two cards."""
    with ExitStack() as stack:
        if request.param == "real":
            if not cupy.started() or cupy.count() < 2:
                pytest.skip("there are no two GPUs")
        elif cuda_cpu.compiler is None:
            pytest.skip("g++ is not installed")
        else:
            stack.enter_context(fake_cupy.installed(count=2))
            stack.enter_context(cupy_cards.readable_values())
        import cupy as library

        yield library.cuda.runtime.getDevice


@pytest.fixture
def used(current: Callable[[], int]) -> Iterator[list[int]]:
    """Return a list of the cards that were current at each upload, product and download from now on."""
    cards: list[int] = []

    def recorded(function: Callable[..., object]) -> Callable[..., object]:
        def spy(*arguments: object, **options: object) -> object:
            cards.append(current())
            return function(*arguments, **options)

        return spy

    names = ("from_host", "matmul", "to_host", "zeros")
    with patch.multiple(cupy.CupyBackend, **{name: recorded(getattr(cupy.CupyBackend, name)) for name in names}):
        yield cards


def test_public_functions_compute_on_their_card(
    current: Callable[[], int], used: list[int], text: str, tmp_path: Path
) -> None:
    """Each uses its own card alone, in a thread whose current card is another, and leaves that one current."""
    model = charrnn.train(text, settings=SETTINGS)
    calls = {
        "train": lambda: charrnn.train(text, settings=SETTINGS | {"train.device": "cuda:1"}, out=tmp_path / "r"),
        "resume": lambda: charrnn.train(text, settings=SETTINGS | {"train.steps": 4}, out=tmp_path / "r", resume=True),
        "load": lambda: charrnn.load(tmp_path / "r", device="cuda:1"),
        "sample": lambda: model.sample("fox", length=3),
        "evaluate": lambda: model.evaluate("the fox jumps"),
        "windows": lambda: model.evaluate("the fox jumps", window=4),
        "dynamic": lambda: model.evaluate("the fox jumps", dynamic=True),
        "score": lambda: model.score("the fox"),
        "predict": lambda: model.predict("the fox"),
        "states": lambda: model.states("the fox"),
        "loss_and_grad": lambda: model.loss_and_grad("fox", "ox ", hidden_gradient=True),
        "save": lambda: model.save(tmp_path / "m.safetensors"),
        "copy": lambda: copy.deepcopy(model),
        "to_torch": lambda: to_torch(model),
    }
    with ThreadPoolExecutor(1) as thread:
        for name, call in calls.items():
            used.clear()
            thread.submit(call).result()
            assert set(used) == {1}, name
            assert [current(), thread.submit(current).result()] == [0, 0], name


def test_the_callers_card_is_current_while_a_generator_waits(
    current: Callable[[], int], used: list[int], text: str
) -> None:
    """Between two pieces of a text, between two events, and after a stream that is closed early."""
    between: list[int] = []
    model = charrnn.train(text, settings=SETTINGS, on_event=lambda _: between.append(current()))
    stream = model.stream("fox", length=90)
    for _ in range(3):
        next(stream)
        between.append(current())
    stream.close()
    assert {*between, current()} == {0}
    assert set(used) == {1}
