"""`charrnn.train` and `charrnn.load`: what they return, and their errors."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import NO_GPU, TEXT
from helpers.models import SMALL, TINY

import charrnn
from charrnn import api
from charrnn.checkpoint import path_of
from charrnn.errors import CheckpointError, ConfigError, DeviceError, DivergedError, TextError
from charrnn.training.events import Ended, Evaluated, Event, Sampled, Snapshot, Trained


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Return the list that receives the events of the run."""
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run directory."""
    return tmp_path_factory.mktemp("api") / "run"


@pytest.fixture(scope="module")
def model(run: Path, events: list[Event]) -> api.Model:
    """Return the model of a training that is recorded in `run`."""
    return charrnn.train(text=TEXT, settings=SMALL, out=run, on_event=events.append)


def test_training_learns_and_reports_events(model: api.Model, events: list[Event], run: Path) -> None:
    """The run has the given settings, its loss falls from about ln V, and every event reaches `on_event`."""
    assert model.step == model.config.train.steps == 30
    assert (model.config.model.hidden_size, model.config.train.seq_length, model.config.train.batch_size) == (8, 8, 2)
    assert repr(model) == f"<charrnn.Model rnn 1x8, {len(set(TEXT))} characters, step 30>"
    assert "".join(model.vocabulary.characters) == "".join(sorted(set(TEXT)))
    assert model.vocabulary.counts == tuple(TEXT.count(c) for c in sorted(set(TEXT)))
    kinds = {kind: [e.at.step for e in events if isinstance(e, kind)] for kind in (Trained, Evaluated, Sampled, Ended)}
    assert kinds == {Trained: [10, 20, 30], Evaluated: [0, 10, 20, 30], Sampled: [0, 30], Ended: [30]}
    losses = [e.val_loss for e in events if isinstance(e, Evaluated)]
    assert losses[0] == pytest.approx(math.log(len(set(TEXT))), abs=0.5)
    assert losses[-1] == min(losses) < losses[0] - 0.3
    assert [e.at.chars for e in events if isinstance(e, Trained)] == [160, 320, 480]
    saved = [e.at.step for e in events if isinstance(e, Snapshot)]
    assert sorted(set(saved)) == [0, 10, 20, 30]
    assert sorted(path.name for path in path_of(run, 0).parent.iterdir()) == [
        path_of(run, step).name for step in (0, 10, 20, 30)
    ]


def test_loaded_model_is_the_trained_one(model: api.Model, run: Path) -> None:
    """`load` returns the parameters that `train` returned; a step or a file selects another checkpoint."""
    loaded = charrnn.load(run, device="cpu")
    assert (loaded.step, loaded.source, loaded.vocabulary) == (30, path_of(run, 30), model.vocabulary)
    for name, weights in model.params.items():
        assert np.array_equal(loaded.params[name], weights)
    earlier = charrnn.load(str(run), checkpoint="10", device="cpu")
    assert earlier.step == charrnn.load(path_of(run, 10), device="cpu").step == 10
    assert not np.array_equal(earlier.params["output.b_y"], model.params["output.b_y"])


@pytest.mark.parametrize("with_directory", [True, False])
def test_train_returns_the_best_network(with_directory: bool, tmp_path: Path) -> None:
    """`train` returns the weights of the lowest validation loss, also if an earlier process saved them."""
    losses: dict[int, float] = {}

    def record(event: Event) -> None:
        if isinstance(event, Evaluated) and event.at.step:
            losses[event.at.step] = event.val_loss

    words = {"settings": SMALL | {"train.steps": 200, "optimizer.learning_rate": 0.1}, "on_event": record}
    out = tmp_path / "r" if with_directory else None
    model = charrnn.train(TEXT, out=out, **words)
    best = min(losses, key=lambda step: losses[step])
    assert model.step == best < 200
    assert charrnn.train(TEXT, best=False, **words).step == 200
    if with_directory:
        again = charrnn.train(TEXT, out=out, resume=True, **words)
        assert again.step == best
        assert np.array_equal(again.params["output.W_hy"], model.params["output.W_hy"])
        assert np.array_equal(charrnn.load(path_of(out, best)).params["output.W_hy"], model.params["output.W_hy"])


def test_training_without_a_directory_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `out` the model can evaluate its validation split, and no file is written."""
    monkeypatch.chdir(tmp_path)
    first, second = (charrnn.train(TEXT, settings=SMALL | {"train.steps": steps}) for steps in (3, 0))
    assert list(tmp_path.iterdir()) == []
    assert (first.step, second.step) == (3, 0)
    assert first.evaluate().nats_per_char < second.evaluate().nats_per_char


def test_resume_continues_to_the_same_network(model: api.Model, tmp_path: Path) -> None:
    """A run of 13 steps that is resumed to 30 has the same parameters, bit for bit, as a run of 30 steps."""
    charrnn.train(TEXT, settings=SMALL | {"train.steps": 13}, out=tmp_path / "r")
    resumed = charrnn.train(TEXT, settings=SMALL, out=tmp_path / "r", resume=True)
    assert resumed.step == 30
    for name, weights in model.params.items():
        assert np.array_equal(resumed.params[name], weights)
    grown = (
        rf"needs the text .*new: 'X': if it has grown.*--init-from {re.escape(str(tmp_path / 'r'))} --grow-vocabulary"
    )
    with pytest.raises(CheckpointError, match=grown):
        charrnn.train(TEXT + "X", settings=SMALL, out=tmp_path / "r", resume=True)
    with pytest.raises(CheckpointError, match="the text that the run was trained on") as other:
        charrnn.train(TEXT[1:], settings=SMALL, out=tmp_path / "r", resume=True)
    assert "--init-from" not in str(other.value)
    with pytest.raises(ConfigError, match=r"cannot change model.hidden_size \(the run has 8, not 9\)"):
        charrnn.train(TEXT, settings=SMALL | {"model.hidden_size": 9}, out=tmp_path / "r", resume=True)


def test_validation_needs_the_text_itself(tmp_path: Path) -> None:
    """A changed, missing or unsplit training text is an error that asks for a text."""
    file = tmp_path / "t.txt"
    file.write_text(TEXT)
    charrnn.train(files=[file], settings=SMALL | {"train.steps": 1}, out=tmp_path / "r")
    model = charrnn.load(tmp_path / "r", device="cpu")
    file.write_text(TEXT + "s")
    with pytest.raises(TextError, match="not the text that the run was trained on: name a text"):
        model.evaluate()
    file.unlink()
    with pytest.raises(TextError, match="no such file"):
        model.evaluate()
    whole = charrnn.train(TEXT, settings=SMALL | {"train.steps": 1, "data.val_fraction": 0})
    with pytest.raises(TextError, match="no validation split: name a text"):
        whole.evaluate()


@pytest.mark.parametrize(
    ("kind", "words", "call"),
    [
        (ConfigError, "--temperature .*nan", lambda m: m.stream(temperature=math.nan)),
        (ConfigError, "--top-k .*-1", lambda m: m.stream(top_k=-1)),
        (ConfigError, "not -1 and 1", lambda m: m.stream(length=-1)),
        (ConfigError, "not 500 and 0", lambda m: m.sample_many(count=0)),
        (ConfigError, "--seed must be at least 0, not -3", lambda m: m.stream(seed=-3)),
        (TextError, "the prompt has characters .*: 'X'; .*--unknown skip", lambda m: m.stream("sXh")),
        (TextError, "the text has characters .*: '日'", lambda m: m.score("日")),
        (TextError, "has 1 characters; at least 2", lambda m: m.evaluate("s")),
        (TextError, "too few for one window of 5", lambda m: m.evaluate("shell", window=5)),
        (ConfigError, "--window must be at least 1, not 0", lambda m: m.evaluate("shell", window=0)),
        (TextError, "the text: 1 characters are too few", lambda _: charrnn.train("s")),
        (TextError, "no such file", lambda _: charrnn.train(files=["nix.txt"])),
        (
            ConfigError,
            "settings: there is no key 'train.step'; did you",
            lambda _: charrnn.train(settings={"train.step": 1}),
        ),
        (
            ConfigError,
            "no key .steps.; did you mean .train.steps",
            lambda _: charrnn.train(settings={"steps": 1}),
        ),
        (ConfigError, "must be a whole number, not '3'", lambda _: charrnn.train(settings={"train.steps": "3"})),
        (ConfigError, "no such file or preset", lambda _: charrnn.train(config="nix")),
        (ConfigError, "needs the run directory", lambda _: charrnn.train(TEXT, resume=True)),
        (ConfigError, "--minutes must be above 0 and .*, not 0", lambda _: charrnn.train(TEXT, minutes=0)),
        (CheckpointError, "no run directory or checkpoint nix", lambda _: charrnn.load("nix")),
        (ConfigError, "--device: train.device must be auto.*'bogus'", lambda m: charrnn.load(m, device="bogus")),
    ],
)
def test_errors_come_from_the_call(
    model: api.Model, kind: type[Exception], words: str, call: Callable[..., Any]
) -> None:
    """The call itself raises a `CharrnnError`, also where it returns an iterator."""
    with pytest.raises(kind, match=words) as raised:
        call(model)
    assert isinstance(raised.value, charrnn.CharrnnError)


def test_missing_gpu(run: Path, model: api.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that cannot be used is replaced by the CPU with a warning; without fallback it is an error."""
    monkeypatch.setattr("charrnn.backend.cupy.problem", lambda _=None: NO_GPU)
    loaded = charrnn.load(run, device="cuda:1")
    assert loaded.network.backend.name == "cpu"
    assert loaded.notices == (f"WARNING: --device cuda:1 cannot be used, running on the CPU: {NO_GPU}",)
    assert charrnn.load(run, device="cpu").notices == ()
    with pytest.raises(DeviceError, match=f"--device cuda cannot be used: {NO_GPU}"):
        charrnn.load(run, device="cuda", fallback=False)
    with pytest.raises(DeviceError, match=f"--device cuda cannot be used: {NO_GPU}"):
        charrnn.train(TEXT, settings=SMALL | {"train.device": "cuda"}, fallback=False)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_an_error() -> None:
    """A run that diverges raises `DivergedError`, which says what to change."""
    with pytest.raises(DivergedError, match=r"diverged at step .*: lower optimizer.learning_rate"):
        charrnn.train(TEXT, settings=SMALL | {"optimizer.learning_rate": 1e38, "model.dtype": "float32"})


def test_import_is_light() -> None:
    """`import charrnn` imports neither NumPy nor the API; the first use of a name imports the API, but never CuPy."""
    code = (
        "import sys, charrnn; print({'numpy', 'cupy', 'charrnn.api'} & set(sys.modules)); "
        "charrnn.train; print(sorted({'cupy', 'charrnn.api'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["set()", "['charrnn.api']"]
    with pytest.raises(AttributeError, match="module 'charrnn' has no attribute 'nix'"):
        charrnn.nix  # noqa: B018 (the attribute is what fails)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory, which holds the text t.txt."""
    (tmp_path / "t.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_single_path_needs_no_list(in_folder: Path) -> None:
    """A string is one file or one run, not one for each of its letters."""
    model = charrnn.train(files="t.txt", settings=TINY, out="r")
    assert model.corpus is not None
    assert model.corpus.name == "t.txt"
    assert charrnn.train(files=in_folder / "t.txt", settings=TINY).sample(seed=1) == model.sample(seed=1)
    assert [row.run for row in charrnn.compare("r", device="cpu")] == ["r"]


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": TEXT, "files": "t.txt"}, "pass text or files, not both"),
        ({"text": "t.txt"}, "t.txt is a file, not the text to learn: write files=['t.txt']"),
        ({"settings": {"train": {}}}, "settings: there is no key 'train'; name one of its keys"),
        ({"text": TEXT, "minutes": 2_000_000}, "below a million, not 2000000"),
    ],
)
def test_wrong_arguments(options: dict[str, object], words: str) -> None:
    """Each is an error before training starts."""
    with pytest.raises(charrnn.CharrnnError, match=re.escape(words)):
        charrnn.train(**options)


def test_public_names() -> None:
    """`dir` lists exactly the public names, and every name can be imported."""
    assert dir(charrnn) == sorted(charrnn.__all__)
    assert charrnn.Model is api.Model
    assert all(getattr(charrnn, name) for name in dir(charrnn))
