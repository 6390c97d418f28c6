"""Take the screenshots of the README from the pages of the gallery: run `python docs/gallery/screenshots.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent


def main() -> None:
    """Open both pages of a run and photograph them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1200, "height": 1000}, offline=True).new_page()
        page.goto((HERE / "shakespeare.html").as_uri())
        page.wait_for_timeout(1000)
        page.locator("#neurons").screenshot(path=HERE / "report.png")
        page.goto((HERE / "folksongs-playground.html").as_uri())
        page.get_by_role("button", name="Full speed").click()
        page.get_by_role("button", name="Write").click()
        page.wait_for_timeout(3000)
        page.screenshot(path=HERE / "playground.png")
        browser.close()


if __name__ == "__main__":
    main()
