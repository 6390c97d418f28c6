"""The values that the report shows, each against another way to compute it."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.runs_to_compare import train_run

import charrnn
from charrnn import checkpoint, config
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.verdict import Course, Losses, conclusion
from charrnn.run import logs
from charrnn.tools.report import collect, held_out, read, report
from charrnn.tools.report import curves as curves_module
from charrnn.tools.report import neurons as neurons_module
from charrnn.tools.report.finished import Finished
from charrnn.tools.report.gradient import stretches
from charrnn.tools.report.losses import EDGES, SMALLEST, LossStatistics, kind
from charrnn.tools.report.neurons import UnitStatistics
from charrnn.tools.report.passage import passage, quantized, surprise
from charrnn.tools.report.properties import properties
from charrnn.tools.report.provenance import nearest_preset, provenance
from charrnn.tools.report.summary import guard, overfitting, summary, sweeps
from charrnn.training.events import Moment, Sampled

TEXT = 'She said "sea shells" (on the\n    shore) 12 times, é!\n\n' * 130
KEYS = {"log_sample_every": 10, "log_sample_length": 60, "model_dtype": "float64"}


@pytest.fixture(scope="module", params=["rnn", "gru", "lstm"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run of two layers of a cell, on one document."""
    folder = tmp_path_factory.mktemp(request.param)
    return read(train_run(folder, "r", steps=30, text=TEXT, model_cell=request.param, model_num_layers=2, **KEYS))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Return a run on documents, so that its network has a start symbol."""
    folder = tmp_path_factory.mktemp("documents")
    return read(train_run(folder, "r", steps=20, text=TEXT, data_document_separator="\n\n", **KEYS))


def held_out_text() -> str:
    """Return the validation split, as Python cuts it."""
    return TEXT[int(len(TEXT) * 0.9) :]


# -- the passage ------------------------------------------------------------------------------------------------------


def test_the_passage_is_held_out_and_its_surprises_are_those_of_score(run: Finished) -> None:
    """The passage begins with the first whole line of the validation split; nats and likeliest characters agree."""
    text = held_out_text()
    shown = passage(run)
    values = surprise(run, shown)
    assert run.held_out
    first = text.index("\n") + 1
    assert "".join(values["characters"][i] for i in values["ids"]) == text[first:-1]
    nats = [None, *run.model.score(text)]
    assert values["nats"] == pytest.approx(nats[first:-1], abs=1e-3)
    for i in (1, 5, 99):
        top = [(values["characters"][c], p) for c, p in zip(values["top"], values["probabilities"], strict=True)]
        predicted = run.model.predict(text[: first + i], top=5)
        assert [c for c, _ in top[5 * i : 5 * i + 5]] == [c for c, _ in predicted]
        assert [p for _, p in top[5 * i : 5 * i + 5]] == pytest.approx([p for _, p in predicted], abs=1e-4)


def test_the_states_of_the_passage_are_those_of_the_model(run: Finished) -> None:
    """Name by name, and as bytes: int8 of the share of the largest value of each unit."""
    shown, text = passage(run), held_out_text()
    for name, states in run.model.states(text).items():
        assert shown.states[name] == pytest.approx(states[shown.first : shown.first + len(shown.ids)], rel=1e-9)
    values = shown.states["hidden"].reshape(len(shown.ids), -1)
    code, largest = quantized(values)
    numbers = np.frombuffer(base64.b64decode(code), np.int8).reshape(values.shape[1], -1).T
    assert largest == pytest.approx(np.abs(values).max(axis=0), rel=1e-3)
    assert numbers / 127 * np.array(largest) == pytest.approx(values, abs=np.abs(values).max() / 250)


def test_documents_begin_from_the_start_symbol(documents: Finished) -> None:
    """With a start symbol the surprises are those of score on documents."""
    part = documents.part
    assert part is not None
    shown = passage(documents)
    values = surprise(documents, shown)
    nats = documents.model.score(part)
    lead = shown.first - (len(part.ids) - len(nats))  # score leaves out a first character without context
    assert lead >= 0
    assert values["nats"] == pytest.approx(nats[lead:-1], abs=1e-3)


# -- units ------------------------------------------------------------------------------------------------------------


def test_correlations_are_those_of_numpy(run: Finished) -> None:
    """For every unit, state and property: numpy.corrcoef of the model's states and the property."""
    text = held_out_text()
    part = held_out.head(run)
    statistics = UnitStatistics(part, run.model.vocabulary)
    for block in held_out.blocks(run):
        statistics.add(block)
    assert statistics.count == len(text) - 1
    values = properties(part, run.model.vocabulary)
    states = run.model.states(text)
    for name, array in states.items():
        units = array.reshape(len(text), -1)[:-1]
        found = statistics.correlations(name)
        for k, one in enumerate(values.values()):
            right = [np.corrcoef(unit, one[:-1])[0, 1] for unit in units.T]
            assert found[:, k] == pytest.approx(right, abs=1e-6)


def test_exciting_characters_have_the_highest_mean(run: Finished) -> None:
    """The five characters of a unit are those with the highest mean state, among those that occur five times."""
    text = held_out_text()[:-1]
    statistics = UnitStatistics(held_out.head(run), run.model.vocabulary)
    for block in held_out.blocks(run):
        statistics.add(block)
    units = run.model.states(text)["hidden"].reshape(len(text), -1)
    ids, means = statistics.exciting("hidden")
    common = [c for c, n in Counter(text).items() if n >= 5]
    for unit in (0, 7, 15):
        by_mean = sorted(
            ((np.mean([units[t, unit] for t in range(len(text)) if text[t] == c]), c) for c in common), reverse=True
        )
        assert [run.model.vocabulary.characters[i] for i in ids[unit]] == [c for _, c in by_mean[:5]]
        assert means[unit] == pytest.approx([mean for mean, _ in by_mean[:5]])


def test_the_page_of_a_large_network_stays_small(run: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer bytes for the states, the passage is shortened first; then the clearest units are kept."""
    shown, statistics = passage(run), UnitStatistics(held_out.head(run), run.model.vocabulary)
    for block in held_out.blocks(run):
        statistics.add(block)
    monkeypatch.setattr(neurons_module, "FEWEST", 50)
    monkeypatch.setattr(neurons_module, "MOST_BYTES", 16 * 60)
    values = neurons_module.neurons(shown, statistics)
    assert (len(values["units"]), values["length"], values["left_out"]) == (16, 60, 0)
    monkeypatch.setattr(neurons_module, "MOST_BYTES", 5 * 50)
    values = neurons_module.neurons(shown, statistics)
    assert (len(values["units"]), values["length"], values["left_out"]) == (5, 50, 11)
    strengths = np.nan_to_num(np.abs(statistics.correlations(values["state"]))).max(axis=1)
    assert sorted(values["units"]) == sorted(np.argsort(-strengths, kind="stable")[:5].tolist())
    assert values["state"] == ("cell_state" if run.model.config.model.cell == "lstm" else "hidden")


def test_stretches_cover_the_text_once(run: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several stretches no position is read twice, and the warm-up does not count."""
    for name, value in (("STREAMS", 3), ("LENGTH", 20), ("WARM_UP", 10), ("SHORTEST", 15)):
        monkeypatch.setattr(held_out, name, value)
    third = (len(held_out_text()) - 1) // 3
    positions = np.concatenate([block.positions for block in held_out.blocks(run)])
    width = min(30, third)
    assert positions.T.tolist() == [list(range(n * third + 10, n * third + width)) for n in range(3)]


# -- losses and calibration -------------------------------------------------------------------------------------------


def test_losses_by_group_are_means_of_score(run: Finished) -> None:
    """Kinds, positions in the word and in the line, each computed again with a loop over the characters."""
    text = held_out_text()
    statistics = LossStatistics(held_out.head(run), run.model.vocabulary)
    for block in held_out.blocks(run):
        statistics.add(block)
    groups: dict[tuple[str, str], list[float]] = {}
    word, line = 0, 0
    for i, (character, nats) in enumerate(zip(text, [math.nan, *run.model.score(text)], strict=True)):
        word = word + 1 if character.isalpha() else 0
        line = 0 if i == 0 or text[i - 1] == "\n" else line + 1
        if i:
            groups.setdefault(("kind", kind(character)), []).append(nats)
            if word:
                groups.setdefault(("word", str(word) if word < 12 else "12+"), []).append(nats)
            groups.setdefault(("line", str(line // 5 * 5) if line < 80 else "80+"), []).append(nats)
    result = statistics.result()
    assert result["loss"] == pytest.approx(run.model.evaluate(text).nats_per_char, rel=1e-5)
    found = {(name, one["name"]): one for name in ("kind", "word", "line") for one in result[name]}
    assert found.keys() == groups.keys()
    for key, nats in groups.items():
        assert found[key]["loss"] == pytest.approx(np.mean(nats), abs=1e-3)
    assert found["kind", "digit"]["share"] == pytest.approx(len(groups["kind", "digit"]) / (len(text) - 1), abs=1e-3)
    total = sum(map(sum, [n for (name, _), n in groups.items() if name == "kind"]))
    assert found["kind", "space"]["share_of_loss"] == pytest.approx(sum(groups["kind", "space"]) / total, abs=1e-3)


def test_calibration_counts_what_came(run: Finished) -> None:
    """Each bin has the mean probability and the frequency, over all characters and all places."""
    text = held_out_text()[:60]
    statistics = LossStatistics(from_part(run, text), run.model.vocabulary)
    for block in held_out.blocks(replace(run, part=from_part(run, text))):
        statistics.add(block)
    pairs, hits, off = [], [], []
    for i in range(1, len(text)):
        predictions = run.model.predict(text[:i], top=0)
        pairs += [(p, c == text[i]) for c, p in predictions if p >= SMALLEST]
        hits.append(predictions[0][0] == text[i])
        off.append((predictions[0][1], hits[-1]))
    result = statistics.result()
    right = []
    for low, high in pairwise(EDGES):
        inside = [(p, came) for p, came in pairs if low <= p < high]
        if inside:
            right.append([np.mean([p for p, _ in inside]), np.mean([c for _, c in inside]), len(inside)])
    assert np.array(result["calibration"]) == pytest.approx(np.array(right), abs=1e-3)
    assert result["accuracy"] == pytest.approx(np.mean(hits))
    bins = [[(p, c) for p, c in off if low <= p < high] for low, high in pairwise(EDGES)]
    error = sum(abs(sum(p for p, _ in one) - sum(c for _, c in one)) for one in bins) / len(off)
    assert result["calibration_error"] == pytest.approx(error, abs=1e-4)


def from_part(run: Finished, text: str) -> Any:
    """Return a text as a part in the run's vocabulary."""
    return replace(run.model.encode(text), begins=False)


@pytest.mark.parametrize(
    ("name", "characters"),
    {
        "lower case": "aßñ",
        "upper case": "AÉ",
        "other letter": "中\u0301",
        "digit": "7²",
        "space": " \t\u00a0",
        "line end": "\n\r\u2028",
        "punctuation": ".“",
        "symbol": "+€",
        "other": "\x01\u202e\ufffe",
    }.items(),
)
def test_kinds_of_characters(name: str, characters: str) -> None:
    """By the Unicode category."""
    assert [kind(character) for character in characters] == [name] * len(characters)


# -- gradient ---------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_one_loss(run: Finished) -> None:
    """The norm at k is the mean over the places of |d loss[t] / d h[t-k]|, by `Model.loss_and_grad` one by one."""
    values = collect(run).values["gradient"]
    texts = stretches(run.part)
    assert texts is not None
    T = len(texts) - 1
    weights = np.zeros(T)
    weights[-1] = 1
    for model, key in ((run.model, "trained"), (charrnn.load(run.path, checkpoint=0, device="cpu"), "first")):
        results = [
            model.loss_and_grad(ids[:-1].tolist(), ids[1:].tolist(), weights=weights, hidden_gradient=True).dhidden
            for ids in texts.T
        ]
        norms = np.mean([np.sqrt((result**2).sum(axis=2)) for result in results], axis=0)  # (T, L)
        for layer in range(2):
            right = norms[::-1, layer][:101]
            assert values[key][layer] == pytest.approx(right, rel=1e-3)


def test_the_first_weights_are_drawn_again_if_their_checkpoint_is_gone(tmp_path: Path) -> None:
    """A run without its checkpoint of step 0 has the same first network, from its seed."""
    path = train_run(tmp_path, "r", text=TEXT, train_seed=7)
    before = {name: array.copy() for name, array in read(path).first.host_weights().items()}
    checkpoint.path_of(path, 0).unlink()
    after = read(path).first.host_weights()
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].tolist() == array.tolist()


# -- logs -------------------------------------------------------------------------------------------------------------


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Line ends, lines that look like headers, and quoted ones come back as the network wrote them."""
    texts = ["a\n", "\n\n--- step 3 ---\n>--- step 4 ---\nx", "", "é\r\n --- step 1 ---"]
    events = [Sampled(Moment(n * 10, 0, 0.0, 0.0), text) for n, text in enumerate(texts)]
    (tmp_path / "samples.txt").write_bytes(b"".join(event.entry for event in events))
    assert logs.samples(tmp_path) == [(n * 10, text) for n, text in enumerate(texts)]
    logs.prune(tmp_path, 2)
    assert logs.samples(tmp_path) == [(20, ""), (30, texts[3])]
    (tmp_path / "samples.txt").write_bytes(b"\xff\xfe nothing")
    assert logs.samples(tmp_path) == []


def test_copied_passages_of_the_samples(run: Finished, tmp_path: Path) -> None:
    """A sample that repeats the training text is marked; a text with unknown characters is not searched."""
    path = shutil.copytree(run.path, tmp_path / "r")
    texts = [TEXT[3:43] + "ttt", "zzzz", "unknown ☃ character"]
    entries = [Sampled(Moment(n, 0, 0.0, 0.0), text).entry for n, text in enumerate(texts)]
    (path / "samples.txt").write_bytes(b"".join(entries))
    samples = collect(read(path)).values["samples"]
    assert [one["text"] for one in samples] == texts
    windows = [texts[0][i : i + 20] in TEXT for i in range(len(texts[0]) - 19)]
    assert samples[0]["copied"] == {"first": 0, "length": 40, "share": sum(windows) / len(windows)}
    assert samples[1]["copied"] is None  # z is not in the vocabulary
    assert samples[2]["copied"] is None


def test_curves_keep_their_ends_and_leave_out_what_is_missing(run: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many points, the first and the last among them; new fields where they are."""
    assert curves_module.thinned(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert curves_module.thinned([1, 2], 5) == [1, 2]
    lines = [
        {"event": "train", "step": 1, "seconds": 30.0, "chars": 9, "loss": 2.0, "grad_norm": "inf"},
        {"event": "eval", "step": 2, "seconds": 60.0, "chars": 18, "val_loss": 1.23456789, "train_loss": 1.5},
        {"event": "guard", "step": 3, "seconds": 60.0},
    ]
    values = curves_module.curves(replace(run, metrics=lines))
    assert values["train"]["grad_norm"] == [None]
    assert values["train"]["smooth_loss"] == [None]
    assert values["train"]["minutes"] == [0.5]
    assert values["eval"] == {"step": [2], "chars": [18], "minutes": [1.0], "val_loss": [1.23457], "train_loss": [1.5]}
    assert values["guard"] == [3]
    assert run.baselines is not None
    assert [b["loss"] for b in values["baselines"]] == list(run.baselines.losses)


# -- verdict ----------------------------------------------------------------------------------------------------------


def course(*losses: float, training: float | None = None) -> Course:
    lines = [Losses(10 * n, loss, None) for n, loss in enumerate(losses)]
    return Course([*lines[:-1], lines[-1]._replace(training=training)], 10 * len(losses) - 10, 5000)


@pytest.mark.parametrize(
    ("losses", "verdict", "word"),
    [
        ((4.0, 2.0, 1.8, 1.9, 2.1), "bad", "Best at step 20 (1.800), 2.100 at the end: it overfits"),
        ((4.0, 2.0, 1.8, 1.7), "good", "No sign of overfitting: the validation loss was still falling"),
        ((4.0, 1.7, 1.699, 1.698, 1.7, 1.6985), "good", "is flat"),
        ((4.0,), "none", "Too few"),
    ],
)
def test_overfitting(losses: tuple[float, ...], verdict: str, word: str) -> None:
    """The flag follows the course of the validation loss, in the words that training prints."""
    result = overfitting(course(*losses))
    assert result["kind"] == verdict
    assert word in result["text"]


def test_the_gap_to_the_training_loss_is_named_where_it_was_measured() -> None:
    """An evaluation may have the training loss without dropout."""
    assert "0.250 above the training loss" in overfitting(course(3.0, 2.0, training=1.75))["text"]
    assert "training loss" not in overfitting(course(3.0, 2.0))["text"]


def test_a_line_about_a_rise_is_not_said_twice(run: Finished) -> None:
    """The sentences are those of training, but the one that the flag has."""
    losses = [(0, 4.0), (10, 1.0), (20, 3.0)]
    lines = [{"event": "eval", "step": step, "seconds": 1.0, "val_loss": loss} for step, loss in losses]
    values = summary(replace(run, metrics=lines))
    known = Course([Losses(step, loss, None) for step, loss in losses], 30, 6435)
    assert [values["overfitting"]["text"].lower(), *map(str.lower, values["sentences"])] == [
        f"{line.lower()}." for line in reversed(conclusion(known, run.baselines))
    ]


def test_guard_events() -> None:
    """Skipped steps are counted, and the first is named."""
    lines = [{"event": "guard", "step": step} for step in (12, 13)]
    assert guard([]) == "No step was skipped."
    assert "2 times" in guard(lines)
    assert "first at step 12" in guard(lines)


def test_numbers_of_the_verdict(run: Finished) -> None:
    """Loss, bits and perplexity are those of the best evaluation; sweeps are characters read over those to read."""
    values = summary(run)
    best = min(m["val_loss"] for m in run.metrics if m["event"] == "eval" and m["step"])
    assert values["loss"] == best
    assert values["bits_per_char"] == pytest.approx(best / math.log(2))
    text = held_out_text()
    assert values["bits_per_byte"] == pytest.approx(best / math.log(2) * len(text) / len(text.encode()), rel=1e-3)
    without = replace(run.row, bits_per_byte={"val_loss": None})
    assert summary(replace(run, row=without))["bits_per_byte"] == pytest.approx(
        best / math.log(2) * len(text) / len(text.encode())
    )
    assert values["perplexity"] == pytest.approx(math.exp(best))
    read = 30 * 2 * 8 / (0.9 * len(TEXT))
    assert values["sweeps"] == pytest.approx(read, rel=1e-2)
    assert sweeps(replace(run, metrics=[]), 30) == pytest.approx(read)
    assert sweeps(replace(run, metrics=[{"event": "train", "step": 1, "seconds": 1, "sweeps": 2.5}]), 30) == 2.5
    assert [one["loss"] for one in values["baselines"]] == sorted(
        (one["loss"] for one in values["baselines"]), reverse=True
    )
    assert values["baselines"][0]["loss"] >= math.log(len(set(TEXT))) - 1e-9


def test_the_ladder_has_the_network_among_the_baselines(run: Finished) -> None:
    """The rows are sorted by loss for any baselines."""
    known = Baselines((3.0, 2.5, 1.0, 0.9, 0.8, 0.7), 1, 1, 1, 1)
    steps = summary(replace(run, baselines=known, row=replace(run.row, losses={"val_loss": 2.0})))["baselines"]
    names = [one["name"] for one in steps if one["name"] != "uniform guessing"]
    assert names[:4] == ["unigram", "2-gram", "this network", "3-gram"]
    assert [one["kind"] for one in steps].count("network") == 1


# -- provenance and missing things ------------------------------------------------------------------------------------


def test_the_nearest_preset_and_what_differs() -> None:
    """A configuration of a preset with two changes names the preset and the changes."""
    settings = config.table(config.build(config.merged(config.read("lstm"), {"model": {"hidden_size": 99}})))
    assert nearest_preset(settings) == ("lstm", [["model.hidden_size", "99", "512"]])


def test_the_rerun_command_repeats_the_run(run: Finished, tmp_path: Path) -> None:
    """The command's configuration gives the same weights."""
    values = provenance(run)
    words = values["command"].split(" ")
    assert words[:3] == ["charrnn", "train", "--config"]
    assert values["sha256"] == run.model.sha256
    assert values["environment"]["numpy"] == np.__version__
    again = charrnn.train(config=words[3], out=tmp_path / "again")
    last = charrnn.load(run.path, checkpoint="last", device="cpu").host_weights()
    for name, array in again.host_weights().items():
        assert array.tolist() == last[name].tolist()


def test_a_run_whose_text_is_gone_still_has_a_page(run: Finished, tmp_path: Path) -> None:
    """The panels of the training stay; the others say why they are empty."""
    path = shutil.copytree(run.path, tmp_path / "r")
    gone = replace(read(path), training=None, part=None, held_out=False, missing="t.txt: there is no such file")
    values = collect(gone).values
    assert values["surprise"] is values["neurons"] is values["gradient"] is values["losses"] is None
    assert values["missing"] == "t.txt: there is no such file"
    assert values["curves"] == collect(run).values["curves"]
    assert all(one["copied"] is None for one in values["samples"])


def test_a_run_without_validation_shows_its_training_text(tmp_path: Path) -> None:
    """Nothing is held out: the end of the training text is shown, and named as such."""
    values = collect(read(train_run(tmp_path, "r", text=TEXT, data_val_fraction=0.0))).values
    assert values["surprise"]["held_out"] is False
    assert "end of its training text" in values["missing"]
    assert values["summary"]["loss"] is None


def test_a_text_to_validate_on_is_shown(tmp_path: Path) -> None:
    """With files of its own the validation text is the part, and all of the training text counts as copied from."""
    (tmp_path / "v.txt").write_text("sea shells é!\n" * 50)
    path = train_run(tmp_path, "r", text=TEXT, data_val_files=(str(tmp_path / "v.txt"),))
    found = read(path)
    assert found.held_out
    assert found.part is not None
    assert found.training is not None
    assert found.model.vocabulary.decode(found.part.ids) == "sea shells é!\n" * 50
    assert found.model.vocabulary.decode(found.training.ids) == TEXT
    (tmp_path / "v.txt").unlink()
    gone = read(path)
    assert not gone.held_out
    assert "v.txt" in gone.missing


def test_damaged_logs_leave_their_panels_empty(run: Finished, tmp_path: Path) -> None:
    """Random bytes in every log, and numbers that JSON lacks in the metrics, make a page."""
    path = shutil.copytree(run.path, tmp_path / "r")
    noise = np.random.default_rng(0).bytes(500)
    for name in ("samples.txt", "environment.json", "baselines.json"):
        (path / name).write_bytes(noise)
    odd = '{"event": "eval", "step": 1, "seconds": 1, "val_loss": 2.0, "sweeps": Infinity, "train_loss": NaN}\n'
    (path / "metrics.jsonl").write_bytes(noise + b"\n" + odd.encode())
    values = collect(read(path)).values
    assert (values["samples"], values["curves"]["baselines"]) == ([], [])
    assert values["curves"]["eval"]["train_loss"] == [None]
    assert values["summary"]["loss"] == 2.0
    json.dumps(values, allow_nan=False)
    assert "<title>" in report(path, device="cpu")
