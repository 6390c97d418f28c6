"""`benchmarks/learning.py`: the series of runs, and its result file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import learning
import pytest
from helpers.commands import TEXT
from helpers.learning_command import run

import charrnn
from charrnn.errors import ConfigError, TextError

TINY = ["--set", "train.seq_length=8", "--set", "train.batch_size=2"]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replace charrnn by invented results in a directory with t.txt, and return the list of commands."""
    asked: list[tuple[str, ...]] = []

    def program(*words: object) -> str:
        asked.append(tuple(map(str, words)))
        if "model.hidden_size=13" in words:
            raise subprocess.CalledProcessError(3, ["python", "-m", "charrnn", *words], stderr="note\ndiverged\n")
        protocol = "windows:256" if "--window" in words else "carried"
        return json.dumps({"protocol": protocol, "nats_per_char": 1.5, "rows": [{"steps": 7, "parameters": 99}]})

    (tmp_path / "t.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learning, "program", program)
    monkeypatch.setattr(learning, "commit", lambda: "abc")
    return asked


def trained(calls: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the commands that train."""
    return [call for call in calls if call[0] == "train"]


def test_what_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each preset and each cell at each size is trained with every seed, the keys and the budget."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT)
    Path("mine.toml").write_text("[data]\nval_fraction = 0.5\n[train]\nbatch_size = 4\nseq_length = 10\n")
    words = ["t.txt", "--presets", "min-char-rnn", "--cells", "gru", "lstm", "--sizes", "4", "8", "--config=mine.toml"]
    arguments = learning.parsed([*words, "--minutes=0.5", "--seeds", "5", "6", "--set", "model.num_layers=2"])
    jobs = list(learning.jobs(arguments, 1000))
    names = ["min-char-rnn", "gru 4", "gru 8", "lstm 4", "lstm 8"]
    assert [(job.name, job.command[-1]) for job in jobs] == [(n, s) for s in ("5", "6") for n in names]
    layers = ("--set", "model.num_layers=2")
    tail = ("--minutes", "0.5", "--seed")
    assert jobs[5].command == ("train", "t.txt", "--config", "min-char-rnn", *layers, *tail, "6")
    keys = (*layers, "--set", "model.cell=gru", "--set", "model.hidden_size=8")
    assert jobs[2].command == ("train", "t.txt", "--config", "mine.toml", *keys, *tail, "5")
    assert {job.budget for job in jobs} == {"0.5 min"}
    assert (jobs[2].folder, jobs[2].config == jobs[7].config != jobs[1].config) == ("gru-8-seed5", True)
    assert len({job.folder for job in jobs}) == len(jobs)
    (job,) = learning.jobs(learning.parsed(["t.txt", "--presets=mine.toml", "--epochs=2", "--seeds=1"]), 1000)
    assert (job.name, job.budget, job.command[-4:-2]) == ("mine", "2 epochs", ("--steps", "25"))  # 2 * 500 / (4 * 10)
    before = job.config
    Path("mine.toml").write_text("[train]\nbatch_size = 4\n")
    (job,) = learning.jobs(learning.parsed(["t.txt", "--presets=mine.toml", "--steps=1200", "--seeds=1"]), 1000)
    assert (job.budget, job.command[-4:-2], job.config != before) == ("1,200 steps", ("--steps", "1200"), True)
    Path("mine.toml").write_text("# in other words\n[train]\nbatch_size = 4  # streams\n")
    (same,) = learning.jobs(learning.parsed(["t.txt", "--presets=mine.toml", "--steps=1200", "--seeds=1"]), 1000)
    assert same == job
    (job,) = learning.jobs(learning.parsed(["t.txt", "--presets=auto", "--minutes=1", "--seeds=1"]), 1000)
    assert (job.name, job.command[2:6]) == ("auto", ("--config", "auto", "--minutes", "1"))
    with pytest.raises(ConfigError, match="nosuch"):
        list(learning.jobs(learning.parsed(["t.txt", "--presets=nosuch", "--steps=1"]), 1000))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "name the text to learn"),
        (["nosuch.txt", "--presets=quickstart", "--steps=1"], "name the text to learn"),
        (["t.txt", "--steps=1"], "name --presets, or --cells and --sizes"),
        (["t.txt", "--cells=rnn", "--steps=1"], "name --presets, or --cells and --sizes"),
        (["t.txt", "--presets=quickstart"], "say how long"),
        (["t.txt", "--presets=quickstart", "--steps=1", "--minutes=1"], "not allowed with"),
        (["t.txt", "--presets=quickstart", "--steps=1", "--json=no/such.json"], "there is no directory no for --json"),
    ],
)
def test_arguments_that_do_not_fit(
    calls: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    """A mistake ends with status 2 and a line that says what to do, before anything is trained."""
    with pytest.raises(SystemExit) as ended:
        learning.parsed(words)
    assert (ended.value.code, error in capsys.readouterr().err) == (2, True)


def test_a_series_goes_on(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs that the file has are skipped, new ones are added, and --again replaces the old in their place."""
    base = ["t.txt", "--presets", "quickstart", "min-char-rnn", "--steps=7", "--json=l.json"]
    assert run(monkeypatch, *base, "--seeds", "1") == 0
    first = json.loads(Path("l.json").read_text())
    assert [row["name"] for row in first["rows"]] == ["quickstart", "min-char-rnn"]
    assert first["rows"][0]["losses"] == {"carried": 1.5, "windows:256": 1.5}
    assert (first["rows"][0]["seed"], first["rows"][0]["steps"], first["rows"][0]["parameters"]) == (1, 7, 99)
    assert first["text"]["characters"] == len(TEXT)
    folder = str(Path("runs/learning/quickstart-seed1"))
    assert calls[0][-3:] == ("--out", folder, "--overwrite")
    assert calls[1:4] == [
        ("eval", folder, "--json"),
        ("eval", folder, "--window", "256", "--json"),
        ("compare", folder, "--no-eval", "--json"),
    ]
    calls.clear()
    assert run(monkeypatch, *base, "--seeds", "1", "2") == 0
    assert [call[call.index("--seed") + 1] for call in trained(calls)] == ["2", "2"]
    second = json.loads(Path("l.json").read_text())
    assert second["rows"][:2] == first["rows"]
    assert [row["seed"] for row in second["rows"]] == [1, 1, 2, 2]
    assert "quickstart, 7 steps, seed 1: done before (--again runs it again)\n" in capsys.readouterr().out
    calls.clear()
    run(monkeypatch, *base, "--seeds", "1", "--again")
    assert len(trained(calls)) == 2
    again = json.loads(Path("l.json").read_text())
    assert [(row["name"], row["seed"]) for row in again["rows"]] == [(r["name"], r["seed"]) for r in second["rows"]]
    assert again["rows"][0]["seconds"] != second["rows"][0]["seconds"]
    assert len(again["machines"]) == 1
    calls.clear()
    monkeypatch.setattr(learning, "commit", lambda: "def")
    run(monkeypatch, *base, "--seeds", "2")
    assert not calls
    mine = ["t.txt", "--presets", "mine.toml", "--steps=7", "--json=l.json", "--seeds", "2"]
    for size in (4, 4, 8):
        Path("mine.toml").write_text(f"[model]\nhidden_size = {size}\n")
        run(monkeypatch, *mine)
    assert len(trained(calls)) == 2  # for each of its values once
    Path("l.json").write_text(json.dumps(again))
    run(monkeypatch, *base, "--seeds", "2", "--again")
    assert [row["commit"] for row in json.loads(Path("l.json").read_text())["rows"]] == ["abc", "abc", "def", "def"]


def test_a_run_that_fails_is_left_out(
    calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that fails stops no other; the reason is printed, the status is 1, and the next call tries again."""
    words = ["t.txt", "--cells=rnn", "--sizes", "13", "4", "--steps=7", "--seeds=1", "--json=l.json"]
    for _ in range(2):
        calls.clear()
        assert run(monkeypatch, *words) == 1
        assert [row["name"] for row in json.loads(Path("l.json").read_text())["rows"]] == ["rnn 4"]
        out = capsys.readouterr().out
        assert "rnn 13, 7 steps, seed 1: left out: charrnn train ended with status 3: diverged\n" in out
        assert sum("model.hidden_size=13" in call for call in calls) == 1
    Path("t.txt").write_text(TEXT * 2)
    assert run(monkeypatch, *words) == 2
    error = "learning.py: l.json is of another text, t.txt: name another --json\n"
    assert capsys.readouterr().err == error
    with pytest.raises(TextError):
        learning.stored(Path("l.json"), {"sha256": "0"})


def test_results_are_kept_as_they_come(calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption loses the current run only; the status is 130."""
    whole, words = learning.program, ["t.txt", "--presets=quickstart", "--steps=7", "--json=l.json"]

    def interrupted(*words: object) -> str:
        if words[0] == "train" and "2" in words:
            raise KeyboardInterrupt
        return whole(*words)

    monkeypatch.setattr(learning, "program", interrupted)
    assert run(monkeypatch, *words) == 130
    assert [row["seed"] for row in json.loads(Path("l.json").read_text())["rows"]] == [1]


def test_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real charrnn, the result file has the numbers of the run directory."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT * 10)
    words = ["t.txt", "--cells=rnn", "--sizes=4", "--steps=6", "--seeds=3", "--json=l.json", "--out=out", *TINY]
    assert run(monkeypatch, *words, "--set", "log.eval_every=3", "--set", "train.device=cpu") == 0
    (result,) = json.loads(Path("l.json").read_text())["rows"]
    model = charrnn.load("out/rnn-4-seed3")  # on the device that `charrnn eval` chooses
    assert (model.config.train.seed, model.config.model.hidden_size, result["steps"]) == (3, 4, 6)
    assert result["planned"] == 6
    assert (result["chars"], result["parameters"]) == (6 * 2 * 8, model.network.layout.parameters)
    losses = {"carried": model.evaluate().nats_per_char, "windows:256": model.evaluate(window=256).nats_per_char}
    assert result["losses"] == losses
    assert [chars for _, chars, _ in result["curve"]] == [0, 48, 96]
    assert result["curve"][-1][0] <= result["seconds"]
    assert f"| rnn 4 | 6 steps | {result['parameters']:,} | 1 |" in capsys.readouterr().out
