"""Automatic configuration: the rule's choices, the user's settings, the speed of the machine, and the command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Call
from helpers.runs import TINY

from charrnn import config
from charrnn.model import layout_of
from charrnn.optim.schedule import learning_rate
from charrnn.run import automatic, session
from charrnn.run.automatic import (
    WIDTHS,
    Choice,
    Text,
    assumed_seconds,
    candidate,
    choose,
    for_this_machine,
    own_parameters,
)
from charrnn.run.request import Request, read_preset
from charrnn.run.resolve import resolve
from charrnn.run.session import prepare

SMALL = ["--set=model.hidden_size=8", "--set=train.seq_length=8"]
BOOK = Text(length=1_000_000, evaluated=100_000, distinct=90)
NAMES = Text(length=18_000, evaluated=2_000, distinct=50)
REFERENCE = Text(length=400_000, evaluated=40_000, distinct=100)
LIBRARY = Text(length=10_000_000, evaluated=100_000, distinct=120)
CHINESE = Text(length=2_000_000, evaluated=100_000, distinct=5_000)


def test_more_time_never_means_a_smaller_network() -> None:
    """The width grows with the time, from small to large."""
    widths = [choose(BOOK, seconds, {}).config.model.hidden_size for seconds in (1, 10, 30, 60, 300, 3600, 36000)]
    assert widths == sorted(widths)
    assert widths[0] < 128 < widths[3] < widths[-1]


@pytest.mark.parametrize("text", [BOOK, CHINESE, NAMES, LIBRARY])
@pytest.mark.parametrize("seconds", [10, 60, 600])
def test_the_width_with_the_least_shortfall(text: Text, seconds: float) -> None:
    """Of all widths whose parameters are at most one for each character, the choice balances size and reading."""
    scores = {}
    for H in WIDTHS:
        other = candidate(text, H, seconds, {})
        N, read = own_parameters(other.config, text.distinct), other.steps * characters_of_a_step(other)
        if text.length >= N:
            seen = text.length * (1 - math.exp(-read / text.length))
            scores[H] = 1 / (2000 * N) ** 0.25 + 1 / seen**0.25
    choice = choose(text, seconds, {})
    assert choice.config.model.hidden_size == min(scores, key=lambda H: scores[H])
    assert choice.steps == int(seconds / assumed_seconds(choice.config, text.distinct)) or choice.is_enough


def characters_of_a_step(choice: Choice) -> int:
    """Return the characters of a step."""
    return choice.config.train.batch_size * choice.config.train.seq_length


def test_a_text_that_is_not_read_once_gets_a_narrower_network() -> None:
    """In the same time: more of a long text is more to learn from, a short one is only read more often."""
    widths = [choose(text, 30, {}).config.model.hidden_size for text in (REFERENCE, BOOK, LIBRARY)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] >= 1.5 * widths[-1]


def test_steps_of_the_user() -> None:
    """The network is the one for the time that the steps take, on any machine; no steps make a network immense."""
    few, many = (choose(BOOK, 1e9, {"train": {"steps": steps}}, speed=7) for steps in (300, 30000))
    assert (few.steps, many.steps) == (300, 30000)
    assert 48 <= few.config.model.hidden_size < 256 < many.config.model.hidden_size < 1024
    seconds = many.steps * assumed_seconds(many.config, BOOK.distinct)
    assert choose(BOOK, seconds, {}).config.model.hidden_size >= many.config.model.hidden_size
    assert many.notices(5.0)[0].startswith("chosen for this text and 30,000 steps: lstm, 1 x ")


def test_a_short_text_gets_a_small_network_and_an_end() -> None:
    """A list of names has at most one parameter for each character, and at most 60 sweeps in any time."""
    hour = choose(NAMES, 3600, {})
    assert own_parameters(hour.config, NAMES.distinct) <= NAMES.length
    assert hour.is_enough
    assert 59 < hour.sweeps <= 60
    assert hour.config.model.dropout == hour.config.model.recurrent_dropout == 0.3
    assert not choose(NAMES, 1, {}).is_enough


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(2_900, (0, 0)), (3_000, (0.1, 0)), (5_800, (0.1, 0)), (14_000, (0.2, 0.1)), (15_000, (0.3, 0.3))],
)
def test_dropout_grows_with_the_sweeps(steps: int, expected: tuple[float, float]) -> None:
    """Dropout begins after three sweeps, and grows after six and 15. A thousand steps are 1.02 sweeps."""
    keys = {"train": {"steps": steps, "batch_size": 32, "seq_length": 32}, "model": {"hidden_size": 64}}
    model = choose(BOOK, 60, keys).config.model
    assert (model.dropout, model.recurrent_dropout) == expected


@pytest.mark.parametrize(
    ("text", "seconds", "expected"), [(BOOK, 60, 1), (BOOK, 600, 1), (NAMES, 60, 1), (CHINESE, 60, 2.5)]
)
def test_weight_decay_shrinks_the_first_weights(text: Text, seconds: float, expected: float) -> None:
    """The sum of rate times decay over the steps of the cosine is 1, of a wide alphabet 2.5; the user's rate counts."""
    for settings in ({}, {"learning_rate": 0.03}):
        choice = choose(text, seconds, {"optimizer": settings})
        optimizer = choice.config.optimizer
        left = math.prod(
            1 - learning_rate(optimizer, step, choice.steps) * optimizer.weight_decay for step in range(choice.steps)
        )
        assert -math.log(left) == pytest.approx(expected, rel=0.05)


def test_weight_decay_of_few_steps() -> None:
    """It is at most 0.1, of a wide alphabet 0.2; the first line has it; the user's own is kept."""
    few = choose(BOOK, 1, {"train": {"steps": 30}})
    assert few.config.optimizer.weight_decay == 0.1
    assert ", learning rate 0.02, weight decay 0.1, dropout 0" in few.notices(None)[0]
    assert choose(CHINESE, 1, {"train": {"steps": 30}}).config.optimizer.weight_decay == 0.2
    assert choose(BOOK, 60, {"optimizer": {"weight_decay": 0}}).config.optimizer.weight_decay == 0


@pytest.mark.parametrize(
    ("text", "seconds", "evaluated", "evaluations"),
    [
        (NAMES, 60, 2_000, 20),
        (BOOK, 60, 86_000, 3),
        (BOOK, 300, 100_000, 12),
        (BOOK, 900, 100_000, 20),
        (BOOK, 3, 50_000, 3),
    ],
)
def test_evaluations_take_a_twentieth_of_the_time(text: Text, seconds: float, evaluated: int, evaluations: int) -> None:
    """There are at most 20. In a short time there are three, of fewer characters, but never fewer than 50,000."""
    log = choose(text, seconds, {}).config.log
    assert log.eval_chars == evaluated
    assert log.eval_every == log.sample_every == math.ceil(choose(text, seconds, {}).steps / evaluations)


def test_characters_of_an_evaluation() -> None:
    """Those of a wide alphabet take longer, as nothing is sampled. The number that the user sets is kept."""
    long = Text(length=10_000_000, evaluated=500_000, distinct=100)
    wide = Text(length=10_000_000, evaluated=500_000, distinct=5_000)
    counts = [choose(text, 60, {}).config.log.eval_chars for text in (long, wide)]
    assert 150_000 <= counts[0] <= 200_000
    assert 50_000 <= counts[1] <= 60_000
    kept = choose(wide, 60, {"log": {"eval_chars": 500_000}}).config.log
    assert kept.eval_chars == 500_000
    names = choose(NAMES, 60, {"log": {"eval_chars": 0}})  # 0: all
    assert names.config.log.eval_every == math.ceil(names.steps / 20)


def test_the_same_network_for_other_steps() -> None:
    """Its weight decay and evaluations are those for these steps; what the user sets is kept."""
    choice = choose(BOOK, 200, {"log": {"sample_every": 7}})
    twice = choice.for_steps(choice.steps * 2)
    before, after = choice.config, twice.config
    assert (after.model, after.optimizer.learning_rate) == (before.model, before.optimizer.learning_rate)
    assert twice.sweeps == pytest.approx(2 * choice.sweeps)
    assert after.optimizer.weight_decay == pytest.approx(before.optimizer.weight_decay / 2, rel=0.05)
    assert after.log.eval_chars == before.log.eval_chars  # n-grams may be counted on them already
    assert (math.ceil(choice.steps / before.log.eval_every), math.ceil(twice.steps / after.log.eval_every)) == (8, 16)
    assert (before.log.sample_every, after.log.sample_every) == (7, 7)
    assert twice.for_steps(choice.steps) == choice


def test_a_wide_alphabet_gets_a_tied_embedding() -> None:
    """With thousands of distinct characters, but not with a hundred."""
    wide, narrow = choose(CHINESE, 60, {}).config.model, choose(BOOK, 60, {}).config.model
    assert (wide.embedding_size, wide.tie_weights) == (96, True)
    assert (narrow.embedding_size, narrow.tie_weights) == (0, False)


def test_a_wide_alphabet_gets_a_sampled_softmax() -> None:
    """More steps fit into the time. Nothing is sampled without tied weights, or if a step could have all characters."""
    wide, narrow = candidate(CHINESE, 192, 60, {}), candidate(BOOK, 192, 60, {})
    assert (wide.config.train.sampled_softmax, narrow.config.train.sampled_softmax) == (128, 0)
    assert wide.steps > 1.5 * candidate(CHINESE, 192, 60, {"train": {"sampled_softmax": 0}}).steps
    assert ", 32 streams of 32 characters, sampled softmax, learning rate " in wide.notices(1)[0]
    assert candidate(CHINESE, 192, 60, {"model": {"tie_weights": False}}).config.train.sampled_softmax == 0
    few = Text(length=2_000_000, evaluated=100_000, distinct=32 * 32 + 128)
    assert candidate(few, 192, 60, {}).config.train.sampled_softmax == 0
    assert candidate(few, 192, 60, {}).config.model.tie_weights


def test_few_steps_are_shortened() -> None:
    """Below 3,000 steps of 64 characters a step has half as many, and there are twice as many steps."""
    many, few = (candidate(BOOK, 128, seconds, {}) for seconds in (60, 30))
    assert (many.config.train.seq_length, few.config.train.seq_length) == (64, 32)
    long = candidate(BOOK, 128, 30, {"train": {"seq_length": 64}})
    assert long.config.train.seq_length == 64
    assert long.steps == few.steps // 2 < 3000 < many.steps


@pytest.mark.parametrize(("cell", "rate"), [("lstm", 0.013), ("gru", 0.0047), ("rnn", 0.0047)])
def test_the_learning_rate_of_each_cell(cell: str, rate: float) -> None:
    """It falls with the width, and it is lower for the cells whose gates are fewer."""
    assert candidate(BOOK, 256, 60, {"model": {"cell": cell}}).config.optimizer.learning_rate == rate
    assert candidate(BOOK, 48, 60, {"model": {"cell": cell}}).config.optimizer.learning_rate <= 0.02
    half = candidate(BOOK, 512, 60, {"model": {"cell": cell}}).config.optimizer.learning_rate
    assert half == pytest.approx(rate / 2, rel=0.05)


def test_settings_of_the_user_are_kept() -> None:
    """The rule chooses the other keys for the network that the user has fixed."""
    fixed = {
        "model": {"hidden_size": 32, "cell": "gru"},
        "optimizer": {"learning_rate": 0.5},
        "data": {"val_fraction": 0.2},
    }
    choice = choose(BOOK, 60, fixed)
    assert (choice.config.model.hidden_size, choice.config.model.cell) == (32, "gru")
    assert (choice.config.optimizer.learning_rate, choice.config.data.val_fraction) == (0.5, 0.2)
    assert choice.config.model.recurrent_dropout > 0  # so small a network makes many sweeps
    assert choice.steps == int(60 / assumed_seconds(choice.config, BOOK.distinct)) or choice.is_enough


def test_parameters_of_single_characters_do_not_count() -> None:
    """The count is that of the network without the rows and columns of characters."""
    for keys in ({}, {"embedding_size": 7}, {"embedding_size": 7, "tie_weights": True}):
        wanted = config.build({"model": {"cell": "gru", "hidden_size": 5, **keys}})
        few, many = (layout_of(wanted.model, V).parameters for V in (10, 11))
        assert own_parameters(wanted, 10) == few - 10 * (many - few)


@pytest.mark.parametrize("speed", [0.1, 1, 30])
def test_the_speed_of_the_machine_counts_as_time(speed: float) -> None:
    """A machine of ten times the speed gets the network of ten times the time."""
    choice = for_this_machine(BOOK, 60, {}, lambda wanted: assumed_seconds(wanted, BOOK.distinct) / speed)
    assert choice == choose(BOOK, 60 * speed, {})


def test_a_machine_that_is_slow_for_wide_networks() -> None:
    """From 256 units on, this machine is ten times as slow, so it gets a narrower network than at first."""

    def measure(wanted: config.Config) -> float:
        return assumed_seconds(wanted, BOOK.distinct) * (10 if wanted.model.hidden_size >= 256 else 1)

    first = choose(BOOK, 120, {}).config.model.hidden_size
    last = for_this_machine(BOOK, 120, {}, measure).config.model.hidden_size
    assert last < 256 <= first


def test_config_auto_depends_on_the_text_alone(call: Call) -> None:
    """Two runs have the same configuration; the first lines say what was chosen; --resume reads it."""
    out, err = call("train", "t.txt", "--config=auto", "--steps=2", "--out=a", *SMALL)
    assert "chosen for this text and 2 steps: lstm, 1 x 8, " in err
    assert "\nbecause they are 1.4 sweeps over the training text: " in err
    assert "network: lstm, 1 x 8, " in out
    _, err = call("train", "t.txt", "--steps=2", "--out=b", *SMALL)  # without a preset, too
    assert "chosen for this text and 2 steps: " in err
    tables = [config.read(f"{run}/config.toml") for run in "ab"]
    assert tables[0] == tables[1]
    for words in (["--resume", "--out=a"], ["t.txt", "--init-from=b", "--out=c"]):
        assert "chosen" not in call("train", *words, "--config=auto", "--steps=3", "--set=train.seq_length=8")[1]
    assert config.read("a/config.toml")["model"] == tables[0]["model"]
    _, error = call("tune", "--config=auto", "t.txt", status=2)
    assert error.startswith("charrnn: --config auto is chosen by charrnn train for its text: ")


def test_what_asks_for_a_choice() -> None:
    """`auto`, or a time without a preset; a preset is read."""
    assert read_preset(None, 1.0) == read_preset("auto", None) == ({}, True)
    assert read_preset(None, None) == ({}, False)
    assert read_preset("lstm", 1.0) == (config.read("lstm"), False)


def test_minutes_without_a_preset_choose(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed is measured; a short text ends before its time; with a source or a preset nothing is chosen."""
    measured = list[int]()

    def step_seconds(trainer: Any) -> float:
        measured.append(trainer.config.model.hidden_size)
        trainer.close()
        return 1e-3

    monkeypatch.setattr(session, "step_seconds", step_seconds)
    monkeypatch.setattr(session, "plan_steps", lambda *_: (10**6, "planned 1,000,000 steps"))
    request: dict[str, Any] = {"text": text, "threads": 1, "minutes": 1, "out": tmp_path / "a"}
    begun = prepare(Request(**request, automatic=True))
    begun.loop.trainer.close()
    assert measured == [begun.config.model.hidden_size]
    assert begun.config.model.cell == "lstm"
    train = begun.config.train
    sweeps = train.steps * train.batch_size * train.seq_length / len(begun.loop.train.ids)
    assert 55 < sweeps <= 60
    assert begun.seconds == 0
    assert not any(line.startswith("planned ") for line in begun.notices)
    steps = prepare(Request(**request, automatic=True, overwrite=True, options={"train": {"steps": 9}}))
    steps.loop.trainer.close()
    assert steps.config.train.steps == 9
    given = prepare(Request(**request, options=TINY))
    given.loop.trainer.close()
    assert given.config.model.cell == "rnn"
    assert len(measured) == 1


def test_the_network_is_chosen_for_the_time_of_training(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute has 52 seconds of training steps, and the rest of the rule is applied to the steps that are planned."""
    times = list[float]()

    def for_this_machine(about: Text, seconds: float, fixed: config.Table, measure: object) -> Choice:
        times.append(seconds)
        return choose(about, seconds, fixed)

    monkeypatch.setattr(automatic, "for_this_machine", for_this_machine)
    monkeypatch.setattr(session, "plan_steps", lambda *_: (23, "planned 23 steps"))
    monkeypatch.setattr("charrnn.run.request.time.monotonic", lambda: 0.0)  # nothing takes time
    request: dict[str, Any] = {"text": text, "threads": 1, "minutes": 1, "began": 0.0, "out": tmp_path / "a"}
    begun = prepare(Request(**request, automatic=True))
    begun.loop.trainer.close()
    assert times == [pytest.approx(0.93 * (60 - 4), abs=1)]
    settings = begun.config
    assert settings.train.steps == 23
    assert settings.log.eval_every == 2
    assert settings.optimizer.weight_decay == 0.1
    assert any(", weight decay 0.1, dropout " in line for line in begun.notices)
    assert begun.notices[-1] == "planned 23 steps"
    again = resolve(settings, begun.corpus, begun.network.backend)
    assert again.config == settings
    assert begun.loop.train_stretch is not None
    assert again.train_stretch is not None
    assert len(again.train_stretch.ids) == len(begun.loop.train_stretch.ids)
