"""A page is one file: nothing in its data becomes markup or code, and its policy allows only its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from charrnn.tools.pages import page

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'&\\",
    "".join(map(chr, range(32))) + "\x7f\x85",
    "שלום \u202etxt\u2066",
    "\ud83d",
    "👩\u200d🚀\ufe0f",
    "\u2028\u2029\ufeff\ufffe",
]


class Elements(HTMLParser):
    """Collects the elements of a page: (tag, attributes, content)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.open = False

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), ""))
        self.open = True

    def handle_endtag(self, _):
        self.open = False

    def handle_data(self, data):
        if self.open:
            tag, attributes, content = self.found[-1]
            self.found[-1] = tag, attributes, content + data


def elements(text: str) -> list[tuple[str, dict[str, str | None], str]]:
    parser = Elements()
    parser.feed(text)
    return parser.found


def test_any_text_comes_back_from_the_page_as_it_was_and_only_as_data():
    """Hostile texts are in the JSON element alone, unchanged; the page has no more elements than with a plain text."""
    hostile = page("t", styles=[], scripts=[], data=HOSTILE)
    (values,) = (c for tag, a, c in elements(hostile) if a.get("type") == "application/json")
    assert json.loads(values) == HOSTILE
    plain = page("t", styles=[], scripts=[], data=["a"])
    assert [tag for tag, _, _ in elements(hostile)] == [tag for tag, _, _ in elements(plain)]
    assert hostile.encode("utf-8").decode("utf-8") == hostile


def test_the_title_is_text():
    """A title with tags and quotes is shown, not parsed."""
    found = elements(page("</title><script>x</script>\u202e", styles=[], scripts=[], data=None))
    titles = [content for tag, _, content in found if tag == "title"]
    assert titles == ["</title><script>x</script>\\u202e"]


def test_the_policy_allows_the_scripts_of_the_page_by_their_hashes_and_no_request(tmp_path: Path):
    """The policy names the SHA-256 of each script and of the style, and nothing else but data: images."""
    script, style = tmp_path / "own.js", tmp_path / "own.css"
    script.write_text("let a = 1 < 2;\n", encoding="utf-8")
    style.write_text("b { color: red }\n", encoding="utf-8")
    found = elements(page("t", styles=[style], scripts=[script], data={}))
    (policy,) = (a["content"] for tag, a, _ in found if a.get("http-equiv") == "Content-Security-Policy")
    inline = [c for tag, a, c in found if tag == "style" or (tag == "script" and "type" not in a)]
    assert inline[0].endswith("b { color: red }\n")
    assert inline[2] == "let a = 1 < 2;\n"
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes[0],
        "script-src": f"{hashes[1]} {hashes[2]}",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_a_script_that_would_end_its_element_is_refused(tmp_path: Path):
    """A file with </script> raises an error instead of leaking into the page."""
    script = tmp_path / "own.js"
    script.write_text("'</script>'", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.js"):
        page("t", styles=[], scripts=[script], data={})


def test_numbers_that_json_lacks_are_refused():
    """NaN would make a page that cannot be read, so it is an error."""
    with pytest.raises(ValueError, match="JSON"):
        page("t", styles=[], scripts=[], data=[float("nan")])
