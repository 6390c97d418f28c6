"""The report in a real browser: it draws every panel, and mouse, keys and screen readers can use it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.conftest import WIDTHS, Open
from helpers.runs_to_compare import train_run

import charrnn
from charrnn.tools.report import report

PANELS = ["verdict", "curves", "samples", "surprise", "neurons", "gradient", "losses", "reproduce"]
HOSTILE = "</script><script>document.title='run'</script><!-- \u202eab\u2066 \x01\x85 '\"&lt; שלום 👩\u200d🚀\ufe0f\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the runs a (lstm) and b (rnn) and a page about each, and one about both."""
    folder = tmp_path_factory.mktemp("runs")
    text = 'She said "sea shells" (on the\n    shore) 12 times.\n\n' * 60
    often = {"log_sample_every": 10, "log_sample_length": 90, "log_keep": 3}
    train_run(folder, "a", steps=40, text=text, model_cell="lstm", model_num_layers=2, **often)
    train_run(folder, "b", steps=20, text=text, **often)
    for name, names in (("a", ["a"]), ("b", ["b"]), ("both", ["a", "b"])):
        (folder / f"{name}.html").write_text(report([folder / n for n in names], device="cpu"), encoding="utf-8")
    return folder


def axe(page: Any) -> list[str]:
    """Return what axe-core finds wrong."""
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="install the extra `browser`")
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in module.Axe().run(page).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["a", "both"])
def test_all_panels_fit_and_are_accessible(
    runs: Path, opened: Open, name: str, width: int, scheme: str, tmp_path: Path
) -> None:
    """At every width and in both schemes: all panels in their order, nothing wider than the page, no axe violation."""
    page = opened(runs / f"{name}.html", width, scheme)
    assert page.eval_on_selector_all("section", "all => all.map((s) => s.id)") == PANELS
    for panel in PANELS:
        assert page.locator(f"#{panel}").bounding_box()["height"] > 120
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#curves svg path.series").count() >= 4
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")
    assert axe(page) == []
    page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)


def test_the_slider_shows_each_sample(runs: Path, opened: Open) -> None:
    """The arrow keys on the slider walk through the samples of the run, the last one first."""
    page = opened(runs / "a.html")
    samples = (runs / "a" / "samples.txt").read_text().split("--- step ")[1:]
    steps = [int(sample.split(" ", 1)[0]) for sample in samples]
    slider, output, text = (page.locator(f"#samples {s}") for s in ("input", "output", ".sample"))
    assert output.inner_text() == f"Step {steps[-1]}"
    slider.focus()
    for step, sample in list(zip(steps, samples, strict=True))[-2::-1]:
        page.keyboard.press("ArrowLeft")
        assert output.inner_text() == f"Step {step}"
        assert text.text_content() == sample.split("---\n", 1)[1].removesuffix("\n\n")


def tooltip(page: Any, show: Callable[[], object]) -> str:
    """Return the text of the tooltip that `show` shows. A scroll event that comes late hides it, so show it again."""
    for _ in range(100):
        show()
        # In one evaluation: the text of a tooltip that is hidden meanwhile has no line ends.
        if text := page.evaluate("document.querySelector('.tip:not([hidden])')?.innerText"):
            return str(text)
    raise AssertionError("no tooltip is visible")


def test_hovering_and_focus_show_the_likeliest_characters(runs: Path, opened: Open) -> None:
    """The tooltip of a character has the five likeliest characters of `Model.predict`, by mouse and by keyboard."""
    page = opened(runs / "b.html", 1400)
    model = charrnn.load(runs / "b", device="cpu")
    text = model.vocabulary.decode(model.validation().ids)
    shown = page.evaluate("Page.data().runs[0].surprise")
    passage = "".join(shown["characters"][i] for i in shown["ids"])
    first = text.index(passage)
    character = page.locator("#surprise .passage > span").nth(7)
    character.scroll_into_view_if_needed()
    by_mouse = tooltip(page, lambda: (page.mouse.move(0, 0), character.hover()))
    for character, p in model.predict(text[: first + 7], top=5):
        name = {" ": "␣", "\n": "↵"}.get(character, character)
        assert name in by_mouse
        assert f"{100 * p:.1f}%" in by_mouse or f"{100 * p:.0f}%" in by_mouse
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()
    page.get_by_role("group", name="A passage colored by surprise").focus()
    page.keyboard.press("Home")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    assert tooltip(page, lambda: [page.keyboard.press(key) for key in ("ArrowLeft", "ArrowRight")]) == by_mouse
    assert page.locator("#surprise .passage > .at").count() == 1


def test_units_are_chosen_by_arrow_keys_list_and_click(runs: Path, opened: Open) -> None:
    """Each way to choose a unit colors the passage by it, and names it."""
    page = opened(runs / "a.html", 1400)
    data = page.evaluate("Page.data().runs[0].neurons")
    colors = "(all) => all.map((s) => s.getAttribute('style'))"
    heading, unit_map = page.locator("#neurons h3").first, page.locator("#neurons .map")
    seen = set()
    unit_map.focus()
    page.keyboard.press("Home")
    for unit in range(3):
        assert heading.inner_text() == f"Layer 1, unit {unit + 1}"
        assert unit_map.get_attribute("aria-valuenow") == str(unit + 1)
        seen.add(json.dumps(page.eval_on_selector_all("#neurons .passage > span", colors)))
        page.keyboard.press("ArrowRight")
    assert len(seen) == 3
    page.locator("#neurons select").select_option(str(len(data["units"]) - 1))
    assert heading.inner_text() == "Layer 2, unit 8"
    page.locator("#neurons .named button").first.click()
    unit = data["named"][0]["units"][0][0]
    assert heading.inner_text() == f"Layer {unit // 8 + 1}, unit {unit % 8 + 1}"


def test_curves_read_values_on_every_axis(runs: Path, opened: Open) -> None:
    """The arrow keys on the curves read the losses of the run's metrics, by steps and by characters."""
    page = opened(runs / "b.html")
    lines = [json.loads(line) for line in (runs / "b" / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["event"] == "eval"][-1]
    for button, x in (("steps", last["step"]), ("characters", last["chars"])):
        page.locator("#curves button", has_text=button).click()
        page.locator("#curves .chart").first.focus()
        for _ in range(60):
            page.keyboard.press("ArrowRight")
        assert f"{button} {x:,}" in page.locator(".tip").inner_text()
        assert f"{last['val_loss']:.3f} validation" in page.locator(".tip").inner_text()


def test_several_runs_are_overlaid_and_one_is_chosen(runs: Path, opened: Open) -> None:
    """The curves have the colors of both runs; a button shows the other panels of the other run."""
    page = opened(runs / "both.html", 1400)
    for color in ("c1", "c2"):
        assert page.locator(f"#curves .chart >> nth=0 >> path.series.{color}").count() == 2
    command = page.locator("#reproduce .command")
    assert "/a/config.toml" in command.inner_text()
    page.locator(".runs button", has_text="b").click()
    assert "/b/config.toml" in command.inner_text()
    assert page.locator("#neurons h3").first.inner_text().startswith("Unit ")


def test_text_is_data(tmp_path: Path, opened: Open) -> None:
    """Tags, control characters, directions and emoji in text, name and samples are shown, and nothing runs."""
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    random.seed(0)
    text = "".join(random.choice(HOSTILE) for _ in range(600)) + HOSTILE * 30
    train_run(folder, "x'\"><b>y", steps=15, text=text, log_sample_every=5)
    path = tmp_path / "report.html"
    path.write_text(report([folder / "x'\"><b>y"], device="cpu"), encoding="utf-8")
    page = opened(path, 390)
    assert page.title() == "x'\"><b>y: a charrnn report"
    assert page.locator("h1").inner_text() == "x'\"><b>y"
    assert page.locator("main img, main b:not(.excite b):not(.places b), main script").count() == 0
    assert "<script>" in page.locator("#surprise .passage").inner_text()
    assert "U+202E" in page.locator("#surprise .passage").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert axe(page) == []


def test_visible_forms_and_ticks(runs: Path, opened: Open) -> None:
    """Characters that cannot be seen have a form that can, and axes have round numbers."""
    page = opened(runs / "b.html")
    forms = {"\n": "↵", "\t": "⇥", " ": "␣", "\x00": "U+0000", "\u202e": "U+202E", "\u0301": "◌\u0301", "é": "é"}
    for character, form in forms.items():
        assert page.evaluate("(c) => Page.visible(c)", character) == form
    assert page.evaluate("Page.visible('\\ud83d')") == "U+D83D"
    assert page.evaluate("Page.ticks(1.4, 3.3)") == [1.5, 2, 2.5, 3]
    assert page.evaluate("Page.ticks(0.00002, 3, 6, true)") == [1e-4, 1e-3, 1e-2, 1e-1, 1]
    assert page.evaluate("[Page.number(0.00012), Page.short(1234567), Page.percent(0.0341), Page.duration(3700)]") == [
        "1.2e−4",
        "1.23M",
        "3.4%",
        "1 h 2 min",
    ]
