"""Chromium, opened on a page without a network. A test fails if the page logs an error or asks for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 800, 1400)
Open = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return a headless Chromium. Without one skip the test, or fail it if `CHARRNN_REQUIRE_BROWSER` is set."""
    api = pytest.importorskip("playwright.sync_api", reason="install the extra `browser`")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None and not os.environ.get("CHARRNN_REQUIRE_BROWSER"):
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    assert program is not None
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """Return a function that opens a file at a width and in a color scheme, offline, and returns the page."""
    contexts, problems = [], list[str]()

    def log(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(message.text)

    def open_file(path: Path, width: int = 800, scheme: str = "light") -> Any:
        contexts.append(
            chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        )
        page = contexts[-1].new_page()
        page.on("console", log)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url != path.as_uri() and problems.append(request.url))
        page.goto(path.as_uri())
        # Charts are drawn when the first frame knows their sizes.
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []
