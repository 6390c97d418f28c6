"""`charrnn compare`: the table and the lines below it, JSON, and which argument is the text."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers.commands import NO_GPU, TEXT, Call
from helpers.runs_to_compare import LINES, train_run

import charrnn
from charrnn import checkpoint
from charrnn.cli.compare import dropout
from charrnn.run_files import METRICS

TRAINED = len(TEXT) - int(len(TEXT) * 0.9)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with three runs: a and b on one text, c on another."""
    folder = tmp_path_factory.mktemp("runs")
    train_run(folder, "c", text=TEXT + "X" * 50)
    train_run(folder, "b", model_cell="gru", model_num_layers=2)
    train_run(folder, "a", steps=20)
    for name, at in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        lines = [line | {"seconds": line["seconds"] * at} for line in LINES]
        (folder / name / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_table(call: Call, runs: Path) -> None:
    """The table has a line for each run, short names and marks; the line below names the text."""
    a, b = rows = charrnn.compare([runs / "a", runs / "b"], window=16, device="cpu")
    assert sorted(a.best + b.best) == ["carried", "windows:16"]
    out, err = call("compare", runs / "a", runs / "b", "--window=16")
    size = [f"1x8     {a.parameters}", f"2x8   {b.parameters:,}"]
    bits = [f"{row.losses['carried'] / math.log(2):.4f}" for row in rows]  # the text is ASCII
    carried, windows = ([f"{row.losses[p]:.4f}{'*' if p in row.best else ' '}" for row in rows] for p in a.losses)
    assert out.splitlines() == [
        "run  cell  size  params  drop  optim  steps  carried   bits/byte  windows:16   chars/s  min",
        f"a    rnn    {size[0]}   0.1  adam      20   {carried[0]}     {bits[0]}      {windows[0]}       20  1.5",
        f"b    gru    {size[1]}   0.1  adam      20   {carried[1]}     {bits[1]}      {windows[1]}       20  3.0",
        "",
        "losses in nats/char on the last 10% of t.txt; * the best",
    ]
    assert err == ""
    out, _ = call("compare", runs / "b", "--window=16")
    assert out.splitlines()[1].startswith(f"{runs / 'b'}  gru")
    assert out.endswith("\nlosses in nats/char on the last 10% of t.txt\n")
    assert "*" not in out


def test_losses_on_different_texts(call: Call, runs: Path) -> None:
    """Each row names its text, each text its runs; the best is marked among the runs on one text."""
    out, _ = call("compare", *(runs / name for name in "abc"), "--no-eval")
    lines = out.splitlines()
    assert lines[0].split()[-3:] == ["chars/s", "min", "text"]
    assert [line.split()[0] + line.split()[-1] for line in lines[1:4]] == ["aA", "bA", "cB"]
    assert [line.split()[7] for line in lines[1:4]] == ["2.2500*", "2.2500*", "2.2500"]
    shas = [charrnn.load(runs / name, device="cpu").sha256[:8] for name in "ac"]
    held = len(TEXT) + 50 - int((len(TEXT) + 50) * 0.9)
    assert lines[5:] == [
        f"A: the last 10% of t.txt (sha256 {shas[0]}, {TRAINED} characters): a, b",
        f"B: the last 10% of t.txt (sha256 {shas[1]}, {held} characters): c",
        "losses in nats/char; those on different texts do not compare, * the best on its text",
    ]


def test_missing_losses(call: Call, runs: Path) -> None:
    """The reason of a missing loss stands below the table; a missing text is not a second text."""
    out, _ = call("compare", runs / "a", runs / "c", "--window=16")
    lines = out.splitlines()
    assert lines[2].split()[-5:] == ["-", "-", "-", "20", "4.5"]
    assert "text" not in lines[0]
    assert lines[4] == "losses in nats/char on the last 10% of t.txt"
    gone = f"{runs / 't.txt'} is not the text that the run was trained on: name a text to evaluate"
    assert lines[5:] == [f"c: no carried, windows:16: {gone}"]
    out, _ = call("compare", runs / "a", "--window=999")
    assert out.splitlines()[-1].startswith(f"{runs / 'a'}: no windows:999: the text has {TRAINED} characters, too few")


def test_json(call: Call, runs: Path) -> None:
    """The object holds the protocols, the rows of the API with exact numbers, and the failed runs."""
    out, err = call("compare", runs / "a", runs / "nosuch", runs / "b", "--json", "--window=16")
    rows = [asdict(row) for row in charrnn.compare([runs / "a", runs / "b"], window=16, device="cpu")]
    why = f"there is no run directory or checkpoint {runs / 'nosuch'}"
    expected = {"protocols": ["carried", "windows:16"], "rows": rows, "failed": {str(runs / "nosuch"): why}}
    assert json.loads(out, parse_constant=pytest.fail) == json.loads(json.dumps(expected))
    assert err == f"left out: {why}\n"
    values = json.loads(call("compare", runs / "a", "--no-eval", "--json")[0])
    assert (values["protocols"], values["rows"][0]["losses"]) == (["val_loss"], {"val_loss": 2.25})


def test_infinite_loss_in_json(call: Call, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An infinite loss is a string, so the JSON stays strict."""
    infinite = charrnn.evaluation.protocols.Evaluation(float("inf"), 9, "carried")
    monkeypatch.setattr("charrnn.evaluation.carried", lambda *_: infinite)
    out, _ = call("compare", runs / "a", "--json", "--window=16")
    losses = json.loads(out, parse_constant=pytest.fail)["rows"][0]["losses"]
    assert losses["carried"] == "inf"
    assert isinstance(losses["windows:16"], float)


def test_which_argument_is_the_text(call: Call, runs: Path, tmp_path: Path) -> None:
    """The text is the last argument, if it is - or a file and not a checkpoint, or the value of --file."""
    model = charrnn.load(runs / "a", device="cpu")
    expected = model.evaluate(TEXT).nats_per_char
    path = checkpoint.path_of(runs / "a", model.step)
    for words in (["t.txt"], ["--file=t.txt"], ["-"], ["--file=-"]):
        for run in (runs / "a", path):
            values = json.loads(call("compare", run, *words, "--json", stdin=TEXT)[0])
            assert values["rows"][0]["losses"]["carried"] == expected
            of = values["rows"][0]["text"]
            assert (of["name"], of["characters"]) == ("t.txt" if "t.txt" in words[0] else "standard input", len(TEXT))
    assert "\nlosses in nats/char on t.txt\n" in call("compare", runs / "a", "t.txt")[0]
    shutil.copy(path, tmp_path / "plain")
    out, _ = call("compare", runs / "a", path, tmp_path / "plain", "--file=t.txt", "--json")
    assert [row["losses"]["carried"] for row in json.loads(out)["rows"]] == [expected] * 3
    (tmp_path / "latin.txt").write_bytes("sea \xdc shells".encode("latin-1"))
    values = json.loads(
        call("compare", runs / "a", "latin.txt", "--encoding=latin-1", "--unknown=skip", "--window=4", "--json")[0]
    )
    assert values["rows"][0]["losses"]["windows:4"] == model.evaluate("sea  shells", window=4).nats_per_char
    assert values["rows"][0]["text"]["name"] == "latin.txt (1 unknown to the network, skipped)"


def test_mistakes(call: Call, runs: Path) -> None:
    """Wrong arguments are errors with status 2 and one line."""
    for words, error in (
        (["nosuch"], "there is no run directory or checkpoint nosuch"),
        (["t.txt"], "t.txt is a text: name a run before it"),
        ([runs / "a", "t.txt", "--no-eval"], "--no-eval reads no text: leave out one of them"),
        ([runs / "a", "--window=0"], "--window must be at least 1, not 0"),
        ([runs / "a", "--file=nosuch.txt"], "nosuch.txt: there is no such file"),
        ([runs / "a", "--file=t.txt", "--encoding=klingon"], "klingon"),
        ([runs / "a", "--device=tpu"], "--device: train.device must be auto, cpu, cuda or cuda:N"),
        ([runs / "a", "--device=cuda", "--no-fallback"], f"--device cuda cannot be used: {NO_GPU}"),
        ([], "Missing argument"),
    ):
        assert error in call("compare", *words, status=2)[1]
    error = call("compare", "one", "two", status=2)[1]
    assert error == "charrnn: " + "; ".join(f"there is no run directory or checkpoint {run}" for run in ("one", "two"))


def test_notices_are_printed_once(call: Call, runs: Path) -> None:
    """The same notice of two runs is one line."""
    _, err = call("compare", runs / "a", runs / "b", "--device=cuda", "--window=16")
    assert err == f"WARNING: --device cuda cannot be used, running on the CPU: {NO_GPU}\n"


def test_control_characters_in_names(call: Call, runs: Path, tmp_path: Path) -> None:
    """Control characters in the names of runs and texts are escaped."""
    shutil.copytree(runs / "a", tmp_path / "r\x1b[31m")
    (tmp_path / "t\x1b.txt").write_text(TEXT)
    out, _ = call("compare", "r\x1b[31m", "t\x1b.txt", "--window=16")
    assert "\x1b" not in out
    assert out.splitlines()[1].startswith("r\\x1b[31m  rnn")
    assert "on t\\x1b.txt" in out
    _, err = call("compare", runs / "a", "no\x1b", "--no-eval")
    assert err == "left out: there is no run directory or checkpoint no\\x1b\n"


def test_every_dropout_is_in_the_table(runs: Path) -> None:
    """The table has the dropout of outputs, and with a mark that of the input and of the recurrent weights."""
    (row,) = charrnn.compare(runs / "a", evaluate=False)
    assert dropout(row) == "0.1"
    assert dropout(replace(row, dropout=0.0, input_dropout=0.25, recurrent_dropout=0.5)) == "0+0.25i+0.5r"
