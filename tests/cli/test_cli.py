"""The command line: help, errors of one line, `devices` and `gradcheck`."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import click
import pytest
from helpers.commands import NO_GPU, TINY, Call

import charrnn
from charrnn import cli
from charrnn.cli import foreign
from charrnn.config.files import FIELDS


def test_missing_gpu(call: Call, trained: Path) -> None:
    """A GPU that cannot be used is a warning, or an error with --no-fallback; `devices` prints the reason."""
    warning = f"WARNING: --device cuda cannot be used, running on the CPU: {NO_GPU}"
    run = trained / "r"
    for words in (["train", "t.txt", *TINY], ["sample", run], ["eval", run], ["score", run, "t.txt"], ["gradcheck"]):
        steps = ["--steps=1"] if words[0] == "train" else []
        _, err = call(*words, *steps, "--device=cuda")
        assert err.splitlines().count(warning) == err.count("WARNING") == 1
        _, error = call(*words, *steps, "--device=cuda", "--no-fallback", status=2)
        assert error == f"charrnn: --device cuda cannot be used: {NO_GPU}"
    lines = dict(line.split(maxsplit=1) for line in call("devices")[0].splitlines())
    assert set(lines) >= {"cpu", "cuda", "cupy", "auto"}
    assert (lines["cuda"], lines["auto"]) == (f"not usable: {NO_GPU}", "cpu")
    assert "cores" in lines["cpu"]


@pytest.mark.parametrize(("cell", "tensors"), [("rnn", 8), ("gru", 10), ("lstm", 8)])
def test_gradcheck_of_every_cell(call: Call, cell: str, tensors: int) -> None:
    """The gradients pass; the output has a line for each parameter."""
    out, _ = call("gradcheck", "--device=cpu", f"--cell={cell}")
    assert len(out.splitlines()) == tensors


def test_gradcheck_of_an_embedding(call: Call) -> None:
    """`--embedding` adds its table; `--tie-weights` also replaces the output layer's weights by a projection."""
    for option, words in (("--embedding", ["output.W_hy"]), ("--tie-weights", ["output.W_he"])):
        out, _ = call("gradcheck", "--device=cpu", "--layers=1", option)
        names = [line.split()[0] for line in out.splitlines()]
        assert names == ["embedding.table", "layer0.W_xh", "layer0.W_hh", "layer0.b_h", *words, "output.b_y"]


def test_gradcheck_finds_a_wrong_gradient(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is wrong by four millionths, or an error that is NaN, ends with status 1."""
    out, _ = call("gradcheck", "--device=cpu", "--layers=1", "--seed=3")
    errors = dict(re.fullmatch(r"(\S+) +worst relative error (\S+)", line).groups() for line in out.splitlines())
    assert list(errors) == ["layer0.W_xh", "layer0.W_hh", "layer0.b_h", "output.W_hy", "output.b_y"]
    assert all(float(error) < 1e-6 for error in errors.values())
    assert call("gradcheck", "--device=cpu", "--layers=1", "--seed=4")[0] != out
    call("gradcheck", "--device=cpu", "--tolerance=1e-15", status=1)
    from charrnn.model import bptt

    right = bptt.cross_entropy_backward
    with monkeypatch.context() as patch:
        wrong = lambda e, s, t, scale, **k: right(e, s, t, scale * (1 + 4e-6), **k)  # noqa: E731
        patch.setattr(bptt, "cross_entropy_backward", wrong)
        assert call("gradcheck", "--device=cpu", status=1)[0].count("ABOVE THE TOLERANCE") == 8
    monkeypatch.setattr("charrnn.model.gradcheck", lambda *_: {"a": 1e-9, "b": math.nan})
    assert "b                worst relative error nan  ABOVE THE TOLERANCE" in call("gradcheck", status=1)[0]


ERRORS = [
    ("train t.txt --set train.step=1", "--set train.step=1: there is no key 'train.step'; did you mean 'train.steps'?"),
    ("train t.txt --set train.steps=many", "train.steps must be a whole number, not 'many'"),
    ("train t.txt --set model.hidden_size", "write it as section.key=value"),
    ("train t.txt --set optimizer.learning_rate=nan", "must be a finite number, not nan"),
    ("train t.txt --set optimizer.learning_rate=inf", "must be a finite number, not inf"),
    ("train t.txt --set data.val_fraction=1", "must be at least 0 and below 1, not 1.0"),
    ("train t.txt --steps -1", "--steps: train.steps must be at least 0, not -1"),
    ("train t.txt --steps 1.5", "Invalid value for '--steps': '1.5' is not a valid integer."),
    ("train t.txt --seed -1", "--seed: train.seed must be at least 0, not -1"),
    ("train t.txt --minutes nan", "--minutes must be above 0 and below a million, not nan"),
    ("train t.txt --minutes inf", "--minutes must be above 0 and below a million, not inf"),
    ("train t.txt --stop-after 0", "--stop-after must be at least 1, not 0"),
    ("train t.txt --threads -1", "--threads must be 1 or more, or 0 for one on each core, not -1"),
    ("train t.txt --resume --overwrite", "use --resume or --overwrite, not both"),
    ("train t.txt --device bogus", "--device: train.device must be auto, cpu, cuda or cuda:N, not 'bogus'"),
    ("train t.txt --encoding bogus", "there is no text encoding 'bogus'; try utf-8"),
    (
        "train t.txt --lr 0.01",
        "there is no option --lr: set the key optimizer.learning_rate, --set optimizer.learning_rate=0.01",
    ),
    ("train t.txt --dropout=.3", "--set model.dropout=.3"),
    ("train t.txt --hidden-size --lr", "--set model.hidden_size=VALUE"),
    (
        "train t.txt -rnn_size 512",
        "there is no option -rnn_size: set the key model.hidden_size, --set model.hidden_size=512",
    ),
    ("train t.txt --batch_size=8", "--set train.batch_size=8"),
    ("train t.txt --warmup_iters 100", "--set optimizer.warmup=VALUE, to a share of the steps"),
    ("train t.txt --epochs 5", "there is no option --epochs: write --steps N, or --set train.steps=N; a sweep"),
    ("train --input t.txt", "there is no option --input: write the file without an option: charrnn train FILE"),
    ("tune t.txt --clip-norm 1", "--set optimizer.clip_norm=1"),
    ("sample R --max_new_tokens=9", "there is no option --max_new_tokens: write --length N"),
    ("sample R --lr 1", "No such option"),
    ("train t.txt --config lstm.toml", "no such file or preset (did you mean the preset lstm?)"),
    ("train t.txt --config bogus", "no such file or preset (presets: "),
    ("train bogus.txt", "bogus.txt: there is no such file"),
    ("train t.txt -", "standard input (-) must be the only text"),
    ("train t.txt --out t.txt", "t.txt is not a directory: name another --out"),
    ("train t.txt --out " + "x" * 300, "x: File name too long"),
    ("sample R --temperature nan", "--temperature must be 0 or a positive number, not nan"),
    ("sample R --temperature inf", "--temperature must be 0 or a positive number, not inf"),
    ("sample R --temperature -1", "--temperature must be 0 or a positive number, not -1.0"),
    ("sample R --top-k -1", "--top-k must be 0 (all characters) or more, not -1"),
    ("sample R --top-p 0", "--top-p must be above 0 and at most 1, not 0.0"),
    ("sample R --length -1", "Invalid value for '--length': -1 is not in the range x>=0."),
    ("sample R --count 0", "Invalid value for '--count': 0 is not in the range 1<=x<=100000."),
    ("sample R --seed -1", "Invalid value for '--seed': -1 is not in the range x>=0."),
    ("sample R --prompt a --prompt-file t.txt", "use --prompt or --prompt-file, not both"),
    (r"sample R --prompt \d+", r"--prompt: \d is not an escape: write \\ for a backslash"),
    (r"sample R --stop a --stop \q", r"--stop: \q is not an escape: write \\ for a backslash"),
    ("sample R --stop-file bogus.txt", "bogus.txt: there is no such file"),
    ("sample R --prompt-file bogus.txt", "bogus.txt: there is no such file"),
    (
        "sample R --prompt sXYe",
        "the prompt has characters that the network never saw: 'X' 'Y'; remove them, or add --unk",
    ),
    ("sample R --unknown bogus", "Invalid value for '--unknown': 'bogus' is not one of"),
    ("sample R --device bogus", "--device: train.device must be auto, cpu, cuda or cuda:N, not 'bogus'"),
    ("sample R --checkpoint 7", "has no checkpoint of step 7; there are: 0, 10"),
    ("sample R --checkpoint bogus", "--checkpoint must be best, last or a step, not 'bogus'"),
    ("sample bogus", "there is no run directory or checkpoint bogus"),
    ("sample t.txt", "t.txt is damaged or not a charrnn checkpoint"),
    ("sample .", ". has no checkpoint: it is not a run directory, or training has not started"),
    ("sample", "Missing argument 'RUN'."),
    ("eval R bogus.txt", "bogus.txt: there is no such file"),
    ("eval R " + "x" * 300, "x: File name too long"),
    ("eval R -", "the text has 0 characters; at least 2 are needed to evaluate"),
    ("eval R t.txt --window 0", "--window must be at least 1, not 0"),
    ("eval R t.txt --window 9999", "characters, too few for one window of 9999"),
    ("score R", "Missing argument 'FILE'."),
    ("gradcheck --cell bogus", "model.cell must be one of rnn, gru, lstm, not 'bogus'"),
    ("gradcheck --layers 0", "Invalid value for '--layers': 0 is not in the range 1<=x<=4."),
    ("tune t.txt --seconds 0", "--seconds must be above 0 and below a million, not 0.0"),
    ("tune t.txt --seconds nan", "--seconds must be above 0 and below a million, not nan"),
    ("tune bogus.txt", "bogus.txt: there is no such file"),
    ("tune bogus.toml", "cannot read the configuration 'bogus.toml': no such file or preset (presets: "),
    ("tune t.txt --config bogus", "no such file or preset (presets: "),
    ("tune t.txt --set train.step=1", "--set train.step=1: there is no key 'train.step'; did you mean 'train.steps'?"),
    ("tune t.txt --device bogus", "--device: train.device must be auto, cpu, cuda or cuda:N, not 'bogus'"),
    ("tune t.txt --device cuda --no-fallback", f"--device cuda cannot be used: {NO_GPU}"),
    ("tune t.txt --encoding bogus", "there is no text encoding 'bogus'; try utf-8"),
    ("tune t.txt -", "standard input (-) must be the only text"),
    ("tune t.txt --overwrite", "--overwrite needs --write FILE"),
    (
        "tune t.txt --write t.txt",
        "t.txt already exists: add --overwrite to replace it, or choose another name",
    ),
    ("tune t.txt --write . --overwrite", "cannot write .: it is not a regular file; choose another name"),
    ("tune t.txt --write no/b.toml", "cannot write no/b.toml: there is no directory no"),
    ("tune t.txt --write t.txt/b.toml", "cannot write t.txt/b.toml: Not a directory"),
    ("tune t.txt --write " + "x" * 300, "x: File name too long"),
    ("bogus", "No such command 'bogus'."),
    ("devices bogus", "Got unexpected extra argument (bogus)"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words[:40] for words, _ in ERRORS])
def test_errors_are_one_line(call: Call, trained: Path, words: str, message: str) -> None:
    """A mistake ends with status 2 and one line; nothing else is printed, and no file is written."""
    out, error = call(*(trained / "r" if word == "R" else word for word in words.split()), status=2)
    assert message in error
    assert out == ""
    assert [path.name for path in Path().iterdir()] == ["t.txt"]


def test_the_table_of_foreign_options() -> None:
    """Each word stands for one thing, is no option here, and each key exists."""
    assert set(foreign.KEYS) <= set(FIELDS)
    for table, command in ((foreign.KEYS | foreign.TRAIN, "train"), (foreign.SAMPLE, "sample")):
        words = [word for row in table.values() for word in row.split()]
        options = {name.lstrip("-") for parameter in cli.charrnn.commands[command].params for name in parameter.opts}
        assert set(words) & options == set()
        keys = [word for row in foreign.KEYS.values() for word in row.split()]
        assert len(keys) == len(set(keys))
    known = {word for row in foreign.KEYS.values() for word in row.split()}
    assert {word for row in foreign.VALUES.values() for word in row.split()} <= known


def test_error_with_a_line_break_in_a_name(call: Call) -> None:
    """The error is still one line."""
    assert call("train", "two\nlines.txt", status=2)[1] == "charrnn: two lines.txt: there is no such file"


def test_help_and_version(call: Call) -> None:
    """Without a command, and with --help, the commands are listed; --version prints this version."""
    for words in ([], ["--help"], ["-h"]):
        out = call(*words)[0]
        listed = re.findall(r"^  (\w+) +[A-Z].*\.$", out.partition("\nCommands:\n")[2], re.MULTILINE)
        expected = "train sample eval score compare report export tune cache devices gradcheck"
        assert listed == expected.split()
    assert call("--version")[0] == f"charrnn, version {charrnn.__version__}\n"


@pytest.mark.parametrize("command", [None, *cli.charrnn.commands.values()], ids=lambda c: c.name if c else "charrnn")
def test_help_of_every_command(call: Call, monkeypatch: pytest.MonkeyPatch, command: click.Command | None) -> None:
    """No line of a help text is cut or longer than 80 columns, and its examples are commands that parse."""
    monkeypatch.setenv("COLUMNS", "80")
    words = [command.name] if command else []
    usage, *lines = call(*words, "--help")[0].splitlines()
    assert [line for line in (usage, *lines) if len(line) > 80 or (line.endswith("...") and line != usage)] == []
    examples = lines[lines.index("  Examples:") + 1 :]
    assert len(examples) > 0
    for example in examples:
        program, name, *arguments = shlex.split(example.partition("| ")[2] or example)
        assert (program, name) == ("charrnn", command.name if command else name)
        cli.charrnn.commands[name].make_context(name, arguments)
    assert command is None or re.fullmatch(r"[A-Z][a-z]+ [^.]+\.", command.get_short_help_str())
