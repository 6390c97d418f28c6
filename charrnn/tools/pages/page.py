"""Assemble one HTML file from style files, script files and data."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ESCAPED = re.compile("[<\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
"""What JSON may hold but HTML may not (`</script>`, half a character), and what hides or turns text in an editor."""
ENDS_A_SCRIPT = re.compile("<(/?script|/?style|!--)", re.IGNORECASE)


def page(
    title: str,
    *,
    styles: Iterable[Path],
    scripts: Iterable[Path],
    data: Any,
    body: str = '<main id="main"></main>',
) -> str:
    """Return a self-contained HTML file. It sends no request, and runs no code but `scripts`.

    `common.css` is before the styles. `common.js` is before the scripts; it defines `Page`, and `Page.data()` returns
    the data.

    Args:
        title: the title of the page, any text.
        styles: CSS files.
        scripts: JavaScript files, which run in this order after the body is parsed.
        data: a JSON value. It is data for the browser, too: no text in it can become markup or code.
        body: the HTML of the body, which is trusted.

    Raises `ValueError` for data that JSON cannot hold, and for a file with the end of its own HTML element.
    """
    css = "".join(map(source, [HERE / "common.css", *styles]))
    code = [source(path) for path in [HERE / "common.js", *scripts]]
    values = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy(css, code)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>{escaped(html.escape(title))}</title>",
        f"<style>{css}</style>",
        "</head>",
        "<body>",
        body,
        "<noscript><p>This page is drawn by JavaScript, which is switched off.</p></noscript>",
        f'<script type="application/json" id="data">{escaped(values)}</script>',
        *(f"<script>{script}</script>" for script in code),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def source(path: Path) -> str:
    """Return the text of a file that becomes the content of an HTML element."""
    text = path.read_text(encoding="utf-8")
    if ENDS_A_SCRIPT.search(text):
        raise ValueError(f"{path.name} has a tag that would end its element")
    return text


def policy(css: str, code: Iterable[str]) -> str:
    """Return the Content-Security-Policy: no request at all, and only this style and these scripts."""
    return (
        f"default-src 'none'; img-src data:; style-src {digest(css)}; script-src {' '.join(map(digest, code))}; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """Return the hash of an inline element as the policy writes it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def escaped(text: str) -> str:
    """Return `text` with JSON's escapes in the place of the characters `ESCAPED`."""
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
