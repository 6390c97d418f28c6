"""`charrnn sample`, `eval`, `score`: standard output is the text alone; pipes."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import BUFFERED, DASHES, TEXT, TRAIN, Call, sampled

import charrnn


@pytest.mark.parametrize(
    ("words", "prompt", "count", "options", "form"),
    [
        ([], "", 1, {}, "{}\n"),
        (["--prompt=she "], "she ", 1, {}, "she {}\n"),
        (["--prompt-file=p.txt"], "sea\nshe", 1, {}, "sea\nshe{}\n"),
        (["--prompt-file=-"], "sells ", 1, {}, "sells {}\n"),
        (["--prompt=she", "--no-echo"], "she", 1, {}, "{}\n"),
        (["--prompt=she", "--length=0"], "she", 1, {"length": 0}, "she{}\n"),
        (["--prompt=she", "--temperature=0"], "she", 1, {"temperature": 0}, "she{}\n"),
        (["--top-k=2", "--top-p=0.6"], "", 1, {"top_k": 2, "top_p": 0.6}, "{}\n"),
        (["--stop=s"], "", 1, {"stop": "s"}, "{}\n"),
        (["--prompt=a", "--count=3"], "a", 3, {}, DASHES.join(["a{}"] * 3) + "\n"),
        (["--prompt=a", "--count=3", "--no-echo", "-0"], "a", 3, {}, "{}\0{}\0{}"),
        (["--prompt=sXe", "--unknown=skip"], "se", 1, {}, "sXe{}\n"),
        (["--prompt=sXe", "--unknown=replace"], "s e", 1, {}, "sXe{}\n"),
    ],
)
def test_sample_prints_the_text_alone(
    call: Call, trained: Path, words: list[str], prompt: str, count: int, options: dict[str, Any], form: str
) -> None:
    """Standard output is the text that the API makes of the same options, the prompt before it, and nothing else."""
    Path("p.txt").write_text("sea\nshe")
    out, err = call("sample", trained / "r", "--length=30", "--seed=1", *words, stdin="sells ")
    assert out == form.format(*sampled(trained, prompt, count, **options))
    assert err == f"checkpoint: {trained / 'r' / 'checkpoints' / 'step-00000010.safetensors'} on cpu\n"


def test_sample_seeds(call: Call, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed that was drawn is said and repeats the text; samples beyond one batch are other texts."""
    out, err = call("sample", trained / "r", "--length=30")
    seed = re.search(r"^seed: (\d+)$", err, re.MULTILINE)[1]
    assert call("sample", trained / "r", "--length=30", "--seed", seed)[0] == out
    assert call("sample", trained / "r", "--length=30")[0] != out
    monkeypatch.setattr("charrnn.cli.read.SIDE_BY_SIDE", 2)
    out, _ = call("sample", trained / "r", "--length=30", "--seed=1", "--count=3", "-0")
    assert out.split("\0") == [*sampled(trained, "", 2), *sampled(trained, "", 1, batch=1)]


@pytest.mark.parametrize(
    ("words", "text", "window"),
    [([], None, None), (["t.txt"], TEXT, None), (["-"], TEXT[:99], None), (["t.txt", "--window=16"], TEXT, 16)],
)
def test_eval_says_what_the_api_says(
    call: Call, trained: Path, words: list[str], text: str | None, window: int | None
) -> None:
    """Nats, bits, perplexity, number of characters, protocol and checkpoint, in JSON and in words."""
    expected = charrnn.load(trained / "r", device="cpu").evaluate(text, window=window)
    values = json.loads(call("eval", trained / "r", *words, "--json", stdin=TEXT[:99])[0])
    assert values == {
        "nats_per_char": expected.nats_per_char,
        "bits_per_char": expected.nats_per_char / math.log(2),
        "perplexity": math.exp(expected.nats_per_char),
        "characters": expected.characters,
        "protocol": f"windows:{window}" if window else "carried",
        "checkpoint": str(trained / "r" / "checkpoints" / "step-00000010.safetensors"),
    }
    printed = dict(
        line.split(maxsplit=1) for line in call("eval", trained / "r", *words, stdin=TEXT[:99])[0].splitlines()
    )
    assert printed == {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in values.items()}


def test_eval_of_a_hopeless_network_is_strict_json(call: Call) -> None:
    """A perplexity beyond every float is a string in the JSON object, which stays strict."""
    call(*TRAIN, "--out=r", "--set=optimizer.learning_rate=1e6")
    values = json.loads(call("eval", "r", "--checkpoint=last", "--json")[0], parse_constant=pytest.fail)
    assert values["perplexity"] == "inf"
    assert values["nats_per_char"] > 700


def test_score_lines_sum_to_eval(call: Call, trained: Path) -> None:
    """A line a character: nats, tab, the character in JSON, the first without a surprise; the sum is that of eval."""
    lines = [line.split("\t") for line in call("score", trained / "r", "t.txt")[0].splitlines()]
    assert "".join(json.loads(character) for _, character in lines) == TEXT
    assert lines[0] == ["-", '"s"']
    assert all(re.fullmatch(r"\d+\.\d{4}", nats) for nats, _ in lines[1:])
    values = json.loads(call("eval", trained / "r", "t.txt", "--json")[0])
    total = math.fsum(float(nats) for nats, _ in lines[1:])
    assert total == pytest.approx(values["nats_per_char"] * values["characters"], abs=5e-5 * len(lines))
    assert call("score", trained / "r", "-", "--unknown=skip", stdin="日s日")[0] == '-\t"s"\n'


def test_whoever_reads_may_leave(trained: Path) -> None:
    """A reader that closes the pipe, as `head` does, ends `sample` with status 0 and no word about it."""
    command = [sys.executable, "-m", "charrnn", "sample", "r", "--device=cpu", "--length=100000000", "--seed=1"]
    with subprocess.Popen(
        command, cwd=trained, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED
    ) as process:
        assert process.stdout.read(5).decode() == sampled(trained, "", 1)[0][:5]
        process.stdout.close()
        err = process.stderr.read().decode()
    assert (process.returncode, err) == (0, "checkpoint: r/checkpoints/step-00000010.safetensors on cpu\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_full_disk_behind_standard_output(trained: Path) -> None:
    """Where standard output cannot be written the error is one line with status 2."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "charrnn", "devices"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, env=BUFFERED)
    assert (result.returncode, result.stderr) == (2, b"charrnn: No space left on device\n")
