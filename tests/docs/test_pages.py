"""The pages: links, the length of the README, and the tests that `docs/reliability.md` names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "charrnn/DESIGN.md")]
PAGES += [ROOT / "examples" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def inline_tokens(page: Path) -> list[Any]:
    """Return the tokens inside the paragraphs and tables of a page."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt().enable("table")
    return [child for token in markdown.parse(page.read_text("utf-8")) for child in token.children or []]


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures, without those to other hosts."""
    targets = [str(child.attrGet("href") or child.attrGet("src") or "") for child in inline_tokens(page)]
    return [target for target in targets if target and not target.startswith(("http", "mailto:"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link leads to a file of the project, and to a heading in it if it names one."""
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        other = page if not name else (page.parent / name)
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_have_alternative_text(page: Path) -> None:
    """Each picture, in Markdown or HTML, has a text of at least three words for readers who do not see it."""
    pictures = {child.attrGet("src"): child.content for child in inline_tokens(page) if child.type == "image"}
    for picture in re.findall(r"<img\b[^>]*>", page.read_text("utf-8")):
        alternative = re.search(r'\balt="([^"]*)"', picture)
        pictures[picture] = alternative[1] if alternative else ""
    assert [name for name, text in pictures.items() if len(text.split()) < 3] == []


def test_every_page_of_the_guides_and_the_reference_is_in_the_readme() -> None:
    """The README's map lists each guide and each page of the reference."""
    listed = {(ROOT / target).resolve() for target in links(ROOT / "README.md")}
    pages = [page for folder in ("guides", "reference") for page in (ROOT / "docs" / folder).glob("*.md")]
    assert [page for page in pages if page not in listed] == []


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_every_test_that_the_reliability_page_names_exists() -> None:
    """Each file exists below `tests/`, and each function in the file that was named before it."""
    page = ROOT / "docs" / "reliability.md"
    names = re.findall(r"`([a-z_/]*test_\w+(?:\.py)?)`", page.read_text("utf-8"))
    content, missing = "", []
    for name in names:
        if name.endswith(".py"):
            content = (TESTS / name).read_text("utf-8") if (TESTS / name).is_file() else ""
        if not content or (not name.endswith(".py") and f"def {name}(" not in content):
            missing.append(name)
    assert len(names) > 50
    assert missing == []
