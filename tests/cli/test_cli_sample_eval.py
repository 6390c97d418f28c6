"""`charrnn sample`, `eval` and `score`: standard output, options, pipes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import DASHES, TEXT, TRAIN, Call, api_samples

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
        (["--min-p=0.3"], "", 1, {"min_p": 0.3}, "{}\n"),
        (["--stop=s"], "", 1, {"stop": "s"}, "{}\n"),
        ([r"--stop=\n", r"--stop=\u006c"], "", 1, {"stop": ["\n", "l"]}, "{}\n"),
        (["--stop-file=stop.txt", "--keep-stop"], "", 1, {"stop": "ll", "keep_stop": True}, "{}\n"),
        ([r"--prompt=sea\n\u0073he"], "sea\nshe", 1, {}, "sea\nshe{}\n"),
        (["--prompt=a", "--count=3"], "a", 3, {}, DASHES.join(["a{}"] * 3) + "\n"),
        (["--prompt=a", "--count=3", "--no-echo", "-0"], "a", 3, {}, "{}\0{}\0{}"),
        (["--prompt=sXe", "--unknown=skip"], "se", 1, {}, "sXe{}\n"),
        (["--prompt=sXe", "--unknown=replace"], "s e", 1, {}, "sXe{}\n"),
    ],
)
def test_sample_prints_only_the_text(
    call: Call, trained: Path, words: list[str], prompt: str, count: int, options: dict[str, Any], form: str
) -> None:
    """Standard output is the prompt and the text that the API samples with the same options."""
    Path("p.txt").write_text("sea\nshe")
    Path("stop.txt").write_text("ll")
    out, err = call("sample", trained / "r", "--length=30", "--seed=1", *words, stdin="sells ")
    made = api_samples(trained, prompt, count, **options)
    assert out == form.format(*made)
    assert len(made[0]) == options.get("length", 30) or "stop" in options
    assert err == f"checkpoint: {trained / 'r' / 'checkpoints' / 'step-00000010.safetensors'} on cpu\n"


def test_samples_without_a_prompt_are_documents(call: Call) -> None:
    """They end before the separator, or after it; an empty stop string is none, and with a prompt it is none, too."""
    Path("names.txt").write_text("".join(f"{'xy'[n % 2]}{'abc'[n % 3] * 3}\n" for n in range(300)))
    keys = ("model.hidden_size=16", "train.batch_size=4", "train.seq_length=20", "optimizer.learning_rate=0.02")
    sets = [f"--set={key}" for key in (*keys, "model.dropout=0", "log.baselines=false")]
    call("train", "names.txt", r"--document-separator=\n", "--steps=300", "--device=cpu", "--out=run", *sets)
    words = ("sample", "run", "--seed=1", "--length=40", "--temperature=0.4", "-0")
    names = call(*words, "--count=3")[0].split("\0")
    assert len(names) == 3
    assert all(0 < len(name) < 20 and "\n" not in name for name in names)
    assert call(*words, "--count=3", "--keep-stop")[0].split("\0") == [name + "\n" for name in names]
    for option in ("--stop=", "--prompt=x"):
        assert call(*words, option)[0].count("\n") > 3


def test_sample_seeds(call: Call, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new seed is printed and repeats the text; the samples of a second batch are other texts."""
    out, err = call("sample", trained / "r", "--length=30")
    seed = re.search(r"^seed: (\d+)$", err, re.MULTILINE)[1]
    assert call("sample", trained / "r", "--length=30", "--seed", seed)[0] == out
    assert call("sample", trained / "r", "--length=30")[0] != out
    monkeypatch.setattr("charrnn.api.BATCH", 2)
    out, _ = call("sample", trained / "r", "--length=30", "--seed=1", "--count=3", "-0")
    assert out.split("\0") == [*api_samples(trained, "", 2), *api_samples(trained, "", 1, batch=1)]
    assert out.split("\0") == charrnn.load(trained / "r", device="cpu").sample(count=3, length=30, seed=1)


@pytest.mark.parametrize(
    ("words", "text", "window"),
    [([], None, None), (["t.txt"], TEXT, None), (["-"], TEXT[:99], None), (["t.txt", "--window=16"], TEXT, 16)],
)
def test_eval_prints_the_values_of_the_api(
    call: Call, trained: Path, words: list[str], text: str | None, window: int | None
) -> None:
    """The values are losses, number of characters, protocol and checkpoint, as JSON and as lines."""
    expected = charrnn.load(trained / "r", device="cpu").evaluate(text, window=window)
    values = json.loads(call("eval", trained / "r", *words, "--json", stdin=TEXT[:99])[0])
    assert values == {
        "nats_per_char": expected.nats_per_char,
        "bits_per_char": expected.nats_per_char / math.log(2),
        "bits_per_byte": expected.nats_per_char / math.log(2),  # the text is ASCII
        "perplexity": math.exp(expected.nats_per_char),
        "characters": expected.characters,
        "protocol": f"windows:{window}" if window else "carried",
        "checkpoint": str(trained / "r" / "checkpoints" / "step-00000010.safetensors"),
    }
    printed = dict(
        line.split(maxsplit=1) for line in call("eval", trained / "r", *words, stdin=TEXT[:99])[0].splitlines()
    )
    assert printed == {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in values.items()}


def test_infinite_perplexity_in_json(call: Call) -> None:
    """An infinite perplexity is a string, so the JSON stays strict."""
    call(*TRAIN, "--out=r", "--set=optimizer.learning_rate=1e6")
    values = json.loads(call("eval", "r", "--checkpoint=last", "--json")[0], parse_constant=pytest.fail)
    assert values["perplexity"] == "inf"
    assert values["nats_per_char"] > 700


def test_score_adds_up_to_eval(call: Call, trained: Path) -> None:
    """Each line has nats, a tab and a character as JSON; the sum of the nats is that of `eval`."""
    lines = [line.split("\t") for line in call("score", trained / "r", "t.txt")[0].splitlines()]
    assert "".join(json.loads(character) for _, character in lines) == TEXT
    assert lines[0] == ["-", '"s"']
    assert all(re.fullmatch(r"\d+\.\d{4}", nats) for nats, _ in lines[1:])
    values = json.loads(call("eval", trained / "r", "t.txt", "--json")[0])
    total = math.fsum(float(nats) for nats, _ in lines[1:])
    assert total == pytest.approx(values["nats_per_char"] * values["characters"], abs=5e-5 * len(lines))
    assert call("score", trained / "r", "-", "--unknown=skip", stdin="日s日")[0] == '-\t"s"\n'


def test_accents_of_another_form(call: Call, tmp_path: Path) -> None:
    """Prompt, stop string and FILE are normalized to the form of the run's text, and a line says so."""
    (tmp_path / "t.txt").write_text("de\u0301ja\u0300 vu\n" * 60, encoding="utf-8")
    call(*TRAIN, "--out=nfd")
    words = ["sample", "nfd", "--length=80", "--seed=1", "--temperature=1"]
    whole = call(*words, "--prompt=de\u0301")
    other = call(*words, "--prompt=dé")
    assert other[0] == whole[0]
    assert other[1] == whole[1] + "the prompt: accented letters are decomposed, as the network knows them\n"
    stopped = call(*words, "--prompt=d", "--no-echo", "--stop=é")
    assert "--stop: accented letters are decomposed" in stopped[1]
    assert stopped[0] == call(*words, "--prompt=d", "--no-echo", "--stop=e\u0301")[0]
    model = charrnn.load("nfd", device="cpu")
    texts = [model.sample("d", length=2000, seed=1, temperature=1, stop=stop) for stop in ("é", "e\u0301", "")]
    assert texts[0] == texts[1] != texts[2]
    (tmp_path / "nfc.txt").write_text("déjà", encoding="utf-8")
    (tmp_path / "nfd.txt").write_text("de\u0301ja\u0300", encoding="utf-8")
    for command in ("score", "eval"):
        out, err = call(command, "nfd", "nfc.txt")
        assert out == call(command, "nfd", "nfd.txt")[0]
        assert "nfc.txt: accented letters are decomposed, as the network knows them" in err


def test_score_shows_the_characters_of_the_file(call: Call, trained: Path, tmp_path: Path) -> None:
    """A replaced character is shown as the file has it, with the surprise of its replacement; a skipped one is not."""
    (tmp_path / "new.txt").write_text("she€s", encoding="utf-8")
    (tmp_path / "space.txt").write_text("she s", encoding="utf-8")
    (tmp_path / "none.txt").write_text("shes", encoding="utf-8")
    replaced = call("score", trained / "r", "new.txt", "--unknown=replace")[0]
    spaced = call("score", trained / "r", "space.txt")[0]
    assert replaced == spaced.replace('" "', json.dumps("€"))
    assert call("score", trained / "r", "new.txt", "--unknown=skip")[0] == call("score", trained / "r", "none.txt")[0]
