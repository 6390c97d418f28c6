"""The playground in a real browser: typing, writing, clicking; hostile texts; what a screen reader needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser.conftest import WIDTHS, Open
from browser.test_report_page import axe
from helpers.exported import random_model

from charrnn.api import Model
from charrnn.tools.export.facts import Facts
from charrnn.tools.export.playground import playground_page

HOSTILE = sorted(set("</script><!--\u202e\u2066\x01\x85\r '\"&;\nשלוםمرحبا👩\u200d🚀\ufe0f🇩🇪\u0301eabc"))


def write_page(path: Path, model: Model, *, half: bool = False, name: str = "a run") -> Path:
    """Write the playground of a model."""
    facts = Facts(name, "t.txt", "0" * 64, 10, 1.0, 1.5, None, "")
    path.write_text(playground_page(model, facts, half=half), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model() -> Model:
    """Return a network of two layers with random weights."""
    return random_model("lstm", 2, H=12, scale=0.9, characters="\n abcdefgh\u0301日🙂")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Path:
    """Return its page."""
    return write_page(tmp_path_factory.mktemp("page") / "p.html", model)


def idle(page: Any) -> None:
    """Wait until the network neither reads nor writes."""
    page.locator("main[data-state=idle]").wait_for()


def typed(page: Any, text: str) -> None:
    """Wait for the text that the page writes when it opens, and type `text` in its place."""
    page.locator("[data-key=full]").click()
    idle(page)
    page.locator("#clear").click()
    page.locator("#text").press_sequentially(text)
    idle(page)


def layers_agree(page: Any) -> bool:
    """Return whether the text in color breaks its lines as the text field above it: both are equally high."""
    heights = page.evaluate("""() => {
        const [field, colored] = [document.querySelector("#text"), document.querySelector(".colored")];
        for (const layer of [field, colored]) layer.style.alignSelf = "start";
        field.style.height = "0";
        const heights = [field.scrollHeight, colored.offsetHeight];
        for (const layer of [field, colored]) layer.style.alignSelf = layer.style.height = "";
        return heights;
    }""")
    return abs(heights[0] - heights[1]) <= 1


def text_of(page: Any) -> str:
    """Return the text in the field, which must be the text in color."""
    text: str = page.locator("#text").input_value()
    lines = page.eval_on_selector_all(".colored > div", "all => all.map((line) => line.textContent)")
    assert "\n".join(line.removesuffix("\u200b") for line in lines) == text
    return text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_is_accessible(path: Path, opened: Open, width: int, scheme: str) -> None:
    """At every width and in both schemes nothing is wider than the page, and axe has no violation."""
    page = opened(path, width, scheme)
    typed(page, "abж")
    page.locator("#write").click()
    idle(page)
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert layers_agree(page)
    assert axe(page) == []


def test_greedy_text(path: Path, opened: Open, model: Model) -> None:
    """With temperature 0 the page writes the text of `charrnn sample --temperature 0`, after what the user typed."""
    page = opened(path)
    typed(page, "bad 日🙂")
    page.locator("#temperature").fill("0")
    page.locator("#length").fill("120")
    page.keyboard.press("Control+Enter")
    idle(page)
    assert text_of(page) == "bad 日🙂" + model.sample("bad 日🙂", temperature=0, length=120)
    assert page.locator(".colored .mine").count() == len("bad 日🙂")
    assert layers_agree(page)


def test_seeds(path: Path, opened: Open) -> None:
    """A seed gives the same text at any speed; "Again" writes another one in its place, with the next seed."""
    page = opened(path)
    typed(page, "abc")
    page.locator("#length").fill("40")
    texts = []
    for speed in ("full", "steady"):
        page.locator(f"[data-key={speed}]").click()
        page.locator("#write").click()
        idle(page)
        texts.append(text_of(page))
        page.locator("#clear").click()
        page.locator("#text").press_sequentially("abc")
    page.locator("#write").click()
    idle(page)
    page.locator("#again").click()
    idle(page)
    assert texts[0] == texts[1] != text_of(page)
    assert (len(text_of(page)), page.locator("#seed").input_value()) == (43, "2")


def test_stopping(path: Path, opened: Open) -> None:
    """Escape and typing stop the network; what it had written stays, and what is typed comes after it."""
    page = opened(path)
    typed(page, "")
    page.locator("#length").fill("100000")
    for stop in ("Escape", "b"):
        page.locator("#write").click()
        page.wait_for_function("document.querySelectorAll('.colored span').length > 50")
        page.locator("#text").focus()
        page.keyboard.press(stop)
        idle(page)
        text = text_of(page)
        assert 50 < len(text) < 100000
        assert text.endswith(stop) or stop == "Escape"


def test_bars(path: Path, opened: Open, model: Model) -> None:
    """The bars are the probabilities after the caret; a click adds the character there; the actual one is marked."""
    page = opened(path)
    typed(page, "bad")
    page.locator("#temperature").fill("1")
    for text in ("bad", "bad" + model.predict("bad")[0][0]):
        rows = page.locator("#choices li").all_inner_texts()
        for row, (_, share) in zip(rows, model.predict(text, top=3), strict=False):
            assert float(row.split("\n")[-1].removesuffix("%")) == pytest.approx(100 * share, abs=0.51)
        page.locator("#choices button").first.click()
        idle(page)
        assert text_of(page) == text + model.predict(text)[0][0]
    page.locator("#text").focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowRight")
    page.locator("#choices .actual .letter", has_text="a").wait_for()  # drawn in the frame after the key
    assert page.locator("#choices .actual .letter").inner_text() == "a"
    page.locator("#choices button").first.click()
    idle(page)
    assert text_of(page)[:3] == "b" + model.predict("b")[0][0] + "a"


def test_the_state_of_the_page(path: Path, opened: Open) -> None:
    """After every edit the page is busy until the next frame has drawn it, also when there is nothing to read."""
    page = opened(path)
    typed(page, "abc")
    for text in ("abcd", "ab"):
        state = """(text) => {
            const field = document.querySelector("#text");
            field.value = text;
            field.dispatchEvent(new Event("input"));
            return document.querySelector("main").dataset.state;
        }"""
        assert page.evaluate(state, text) == "reading"
        idle(page)


def test_surprise_and_units(path: Path, opened: Open, model: Model) -> None:
    """Each character is as strongly colored as `score` and `states` say; newlines and unknown characters count."""
    page, text = opened(path), "ba d\ncжab 🙂"
    typed(page, text)
    colors = "all => all.map((s) => [s.style.getPropertyValue('--v'), s.style.getPropertyValue('--tint')])"
    known = text.replace("ж", "")
    scores = iter(model.score(known))
    for character, (shade, _) in zip(text, page.eval_on_selector_all(".colored span", colors), strict=True):
        nats = 0 if character == "ж" else next(scores)
        assert float(shade or 0) == pytest.approx(min(1, nats / 6) ** 0.8, abs=0.011)
    assert page.locator(".colored .unknown").inner_text() == "ж"
    assert "never saw “ж” and does not read it" in page.locator("#notice").inner_text()
    page.locator("#unit").fill("17")
    idle(page)
    values = iter(model.states(known)["hidden"][:, 1, 4])
    for character, (shade, tint) in zip(text, page.eval_on_selector_all(".colored span", colors), strict=True):
        value = 0 if character == "ж" else next(values)
        assert float(shade or 0) == pytest.approx(abs(value), abs=0.011)
        assert bool(tint) == (value < 0) or not shade
    page.locator(".state canvas").first.click(position={"x": 3, "y": 3})
    assert page.locator("#unit").input_value() == "1"


def test_accents_of_another_form(path: Path, opened: Open) -> None:
    """A composed letter becomes the decomposed one that the network knows, but not before a composition ends."""
    page = opened(path)
    typed(page, "a\u00e9")
    assert text_of(page) == "ae\u0301"
    assert page.locator("#notice").inner_text() == ""
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "\u00e9", "selectionStart": 1, "selectionEnd": 1})
    assert text_of(page) == "ae\u0301\u00e9"
    keyboard.send("Input.insertText", {"text": "\u00e9"})
    assert text_of(page) == "ae\u0301e\u0301"


def test_documents(tmp_path: Path, opened: Open) -> None:
    """Without a text the network begins a document, and ends where it ends it; stop strings end it earlier."""
    model = random_model("gru", 3, separator="\n", scale=2.0)
    page = opened(write_page(tmp_path / "p.html", model))
    typed(page, "")
    page.locator("#temperature").fill("0")
    page.locator("#length").fill("500")
    page.locator("#write").click()
    idle(page)
    expected = model.sample(temperature=0, length=500)
    assert 3 < len(expected) < 500
    assert text_of(page) == expected
    page.locator("#write").click()
    idle(page)
    assert text_of(page) == expected + "\n" + expected
    assert page.locator(".colored .mine").count() == 0
    page.locator("#clear").click()
    page.locator("summary").click()
    page.locator("#stop").fill(f"\\n {expected[2]}")
    page.locator("#write").click()
    idle(page)
    assert text_of(page) == model.sample(temperature=0, length=500, stop=["\n", expected[2]])


@pytest.mark.parametrize("half", [False, True])
def test_text_is_data(tmp_path: Path, opened: Open, half: bool) -> None:
    """Tags, control characters, directions and emoji are written and shown as text, and nothing runs."""
    model = random_model("rnn", characters="".join(HOSTILE), scale=0.2)
    page = opened(write_page(tmp_path / "p.html", model, half=half, name="</title><img src=x onerror=alert(1)>"), 390)
    typed(page, "</script>\u202e<!-- 👩\u200d🚀")
    page.locator("#length").fill("3000")
    page.locator("#write").click()
    idle(page)
    assert len(text_of(page)) > 3000
    assert layers_agree(page)
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert axe(page) == []


def test_six_thousand_characters(tmp_path: Path, opened: Open) -> None:
    """A wide alphabet makes a page that writes."""
    model = random_model("gru", characters="".join(map(chr, range(0x4E00, 0x4E00 + 6000))), scale=0.3)
    page = opened(write_page(tmp_path / "p.html", model))
    typed(page, "中丁")
    page.locator("#temperature").fill("0")
    page.locator("#length").fill("30")
    page.locator("#write").click()
    idle(page)
    assert text_of(page) == "中丁" + model.sample("中丁", temperature=0, length=30)
