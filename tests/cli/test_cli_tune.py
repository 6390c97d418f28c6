"""`charrnn tune`: the table, JSON, and the configuration that it writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from helpers.commands import BUFFERED, NO_GPU, TEXT, TINY, Call

from charrnn import backend, config
from charrnn.cli.progress import Bar
from charrnn.tools import tune
from charrnn.tools.tune import Candidate, Plan

RATES = {(1, 1): 100.0, (2, 1): 80.0, (2, 2): 190.0}
MINE = "# mine\n[model]\nhidden_size = 8   # small\n\n[train]\nbatch_size = 2\nseq_length = 8\nshards = 1 # one\n"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Measure RATES on two cores, with a clock that advances a second at each call; return the list of plans."""
    plans: list[Plan] = []

    def bench(plan: Plan) -> tune.Measure:
        plans.append(plan)
        return lambda candidate, _: RATES[candidate.shards, candidate.threads]

    monkeypatch.setattr(backend, "cores", lambda: 2)
    monkeypatch.setattr(backend, "blas", lambda: "some BLAS")
    monkeypatch.setattr(tune, "Bench", bench)
    monkeypatch.setattr(tune, "measure_in_turns", partial(tune.measure_in_turns, clock=count().__next__))
    return plans


def test_the_table(call: Call, measured: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """The output says what is measured, the rate of each candidate, why a device is missing, and what to change."""
    out, err = call("tune", "t.txt", *TINY[2:])
    assert out.splitlines() == [
        f"corpus: t.txt, {len(TEXT):,} characters, {len(set(TEXT))} distinct",
        "steps: 2 streams of 8 characters through rnn, 1 x 8, float32",
        "machine: 2 cores, some BLAS",
        "",
        "device   shards  threads    steps/s      chars/s  relative",
        "cpu           1        1      100.0        1,600     1.00x  as configured",
        "cpu           2        1       80.0        1,280     0.80x",
        "cpu           2        2      190.0        3,040     1.90x  best",
        f"cuda     not measured: {NO_GPU}",
        "",
        "best: train.shards = 2 with --threads 2: 1.90x the configuration as it is",
        "note: another number of shards, or another device, rounds differently, so losses differ slightly; "
        "the number of threads changes only the speed",
    ]
    assert "WARNING" not in err
    out, err = call("tune", "t.txt", *TINY, "--set=train.shards=2")
    assert "cuda" not in out
    assert "     1.00x  best, as configured\n" in out
    assert out.count("equal") == 0
    monkeypatch.setitem(RATES, (2, 1), 185.0)
    out, _ = call("tune", "t.txt", *TINY, "--set=train.shards=2")
    assert "cpu           2        1      185.0        2,960     0.97x  equal\n" in out
    assert "\nbest: the configuration as it is, train.shards = 2 with --threads 2: nothing is more than 3% " in out
    assert f"WARNING: --device cuda cannot be used, running on the CPU: {NO_GPU}" in call("tune", "--device=cuda")[1]


def test_json(call: Call, measured: list[Plan]) -> None:
    """Standard output is one strict JSON object with everything that the table says."""
    out, _ = call("tune", "t.txt", *TINY[2:], "--json", "--write=best.toml")
    values = json.loads(out)
    row = {"device": "cpu", "shards": 2, "threads": 2, "steps_per_second": 190, "chars_per_second": 3040}
    assert values["rows"][2] == row | {"relative": 1.9, "current": False, "equal": True, "best": True}
    assert [row["current"] for row in values["rows"]] == [True, False, False]
    assert values["best"] == {"device": "cpu", "shards": 2, "threads": 2}
    assert values["missing"] == {"cuda": NO_GPU}
    shape = ("corpus", "vocabulary", "batch_size", "seq_length", "cores", "blas", "written")
    assert [values[key] for key in shape] == ["t.txt", len(set(TEXT)), 2, 8, 2, "some BLAS", "best.toml"]
    assert values["model"]["hidden_size"] == 8
    assert values["recommendation"] == "best: train.shards = 2 with --threads 2: 1.90x the configuration as it is"
    assert values["note"].startswith("another number of shards, or another device, rounds differently")
    assert json.loads(call("tune", "t.txt", *TINY, "--json")[0])["written"] is None


def test_which_argument_is_the_configuration(call: Call, measured: list[Plan], tmp_path: Path) -> None:
    """It is the first one, if it ends in .toml or names a preset and not a file; with --config every one is a text."""
    (tmp_path / "mine.toml").write_text(MINE)
    ways = (["mine.toml", "t.txt"], ["min-char-rnn", "t.txt"], ["--config=mine.toml", "t.txt"], ["t.txt"])
    for words in ways:
        call("tune", *words)
    sizes = [plan.settings.model.hidden_size for plan in measured]
    assert sizes == [8, 100, 8, 256]
    assert {plan.corpus.name for plan in measured} == {"t.txt"}
    call("tune", "--config=quickstart", "mine.toml")
    assert measured[-1].corpus.name == "mine.toml"
    (tmp_path / "min-char-rnn").write_text(TEXT)
    call("tune", "min-char-rnn")
    assert (measured[-1].corpus.name, measured[-1].settings.model.hidden_size) == ("min-char-rnn", 256)
    call("tune")
    assert measured[-1].corpus.name == "python-topics"
    (tmp_path / "latin.txt").write_bytes("Überfluß\n".encode("latin-1") * 50)
    call("tune", "latin.txt", "--encoding=latin-1")
    assert "ß" in measured[-1].corpus.vocabulary.characters


def test_written_file_holds_the_whole_configuration(call: Call, measured: list[Plan], tmp_path: Path) -> None:
    """--write writes the unresolved configuration with the best number of shards."""
    out, _ = call("tune", "t.txt", *TINY[2:], "--write=best.toml")
    expected = config.merged(config.parse_settings(TINY[3::2]), {"train": {"shards": 2}})
    assert config.build(config.read("best.toml")) == config.build(expected)
    assert (config.read("best.toml")["train"]["device"], config.read("best.toml")["data"]["files"]) == ("auto", ())
    assert out.endswith("\nwritten; train with it: charrnn train --config best.toml --threads 2 t.txt\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.toml", "t.txt"]


def test_existing_file_is_refused_or_replaced(call: Call, measured: list[Plan], tmp_path: Path) -> None:
    """A file, the configuration itself too, is kept before anything is measured; --overwrite replaces it whole."""
    for words in (["t.txt"], ["--config=quickstart", "t.txt"], ["mine.toml", "t.txt"]):
        (tmp_path / "mine.toml").write_text(MINE)
        error = call("tune", *words, "--write=mine.toml", status=2)[1]
        assert error == "charrnn: mine.toml already exists: add --overwrite to replace it, or choose another name"
        assert (tmp_path / "mine.toml").read_text() == MINE
    assert measured == []
    call("tune", "mine.toml", "t.txt", "--set=model.num_layers=2", "--write=mine.toml", "--overwrite")
    expected = config.merged(config.parse(MINE.encode(), ""), {"train": {"shards": 2}, "model": {"num_layers": 2}})
    assert config.build(config.read("mine.toml")) == config.build(expected)
    assert config.is_complete(tmp_path / "mine.toml")


def test_overwrite_follows_a_symbolic_link(call: Call, measured: list[Plan], tmp_path: Path) -> None:
    """The file behind the link is replaced; the link stays a link."""
    (tmp_path / "real.toml").write_text(MINE)
    (tmp_path / "mine.toml").symlink_to(tmp_path / "real.toml")
    call("tune", "t.txt", *TINY, "--write=mine.toml", "--overwrite")
    assert (tmp_path / "mine.toml").is_symlink()
    assert config.read("real.toml")["train"]["shards"] == 2


def test_real_measurement(call: Call) -> None:
    """A tiny network is trained: every candidate has a rate, and the best is one of them."""
    values = json.loads(call("tune", "t.txt", *TINY, "--seconds=1", "--json")[0])
    rows = {Candidate(r["device"], r["shards"], r["threads"]): r["steps_per_second"] for r in values["rows"]}
    assert set(rows) == set(tune.cpu_candidates(backend.cores(), 2, 1))
    assert all(rate > 0 for rate in rows.values())
    assert Candidate(**values["best"]) in rows


def test_bar_that_is_interrupted_in_its_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting a bar whose constructor did not run prints nothing."""
    errors: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    Bar.__new__(Bar)  # deleted at once; a plain tqdm 4.66 bar fails here
    assert not errors


def test_ctrl_c(call: Call) -> None:
    """An interrupted measurement ends with status 130 and one line, and writes no file."""
    command = [sys.executable, "-m", "charrnn", "tune", "t.txt", *TINY, "--seconds=600", "--write=best.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=BUFFERED) as process:
        assert any(line.startswith("machine: ") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "charrnn: interrupted"
    assert "Traceback" not in err
    assert out == ""
    assert not Path("best.toml").exists()
