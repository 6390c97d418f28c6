"""Run the code blocks of Markdown pages: `python docs/run_blocks.py README.md docs/guides/*.md`.

The blocks of a page run in order, in a new folder that has the checkout's files and a text `input.txt`, with an empty
home. `sh` blocks run whole; of `console` blocks, the lines that begin with `$ `; `python` blocks share their names.
Other blocks are not run. Comments before a block change it:

    <!-- ci: replace OLD -> NEW -->  a smaller size, for instance; it is an error if the block lacks OLD
    <!-- ci: before COMMAND -->      a shell command that runs first, to make a file that the page supposes
    <!-- ci: install --> and <!-- ci: test -->  not run here: `.ci/run` does
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from pydoc_data import topics

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"<!-- ci: (.*?) -->")
TEXT_LENGTH = 200_000


def blocks(page: Path) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield the code blocks of a page: line number, language, code, and the markers before it."""
    markers: list[str] = []
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            markers += MARKER.findall(token.content)
        elif token.type == "fence" and token.map:
            yield token.map[0] + 1, token.info, token.content, markers
            markers = []


def prepared(code: str, markers: list[str]) -> tuple[str, str]:
    """Return the commands to run first, and the code with its replacements."""
    before = ""
    for marker in markers:
        word, _, rest = marker.partition(" ")
        if word == "before":
            before += rest + "\n"
        else:
            old, _, new = rest.partition(" -> ")
            if word != "replace" or old not in code:
                raise SystemExit(f"this marker does not fit its block: {marker}")
            code = code.replace(old, new)
    return before, code


def run_page(page: Path) -> None:
    """Run the blocks of one page. Raises an error at the first block that fails."""
    names: dict[str, object] = {}
    for line, language, code, markers in blocks(page):
        if markers in (["install"], ["test"]) or language not in ("sh", "console", "python"):
            continue
        start = time.monotonic()
        before, code = prepared(code, markers)
        if language == "console":
            code = "\n".join(command[2:] for command in code.splitlines() if command.startswith("$ "))
        print(f"{page.relative_to(ROOT)}:{line}", end=" ", flush=True)
        shell(before if language == "python" else before + code)
        if language == "python":
            with redirect_stdout(io.StringIO()):
                exec(compile(code, f"{page}:{line}", "exec"), names)
        print(f"{time.monotonic() - start:.1f} s", flush=True)


def shell(code: str) -> None:
    """Run shell commands up to the first one that fails; their output is shown only then."""
    done = subprocess.run(["bash", "-euc", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"\n{code}\n{done.stdout}\nexit status {done.returncode}")


def main(pages: list[Path]) -> None:
    """Run the pages, each in a folder of its own."""
    for page in pages:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "checkout")
            folder.mkdir()
            for entry in ROOT.iterdir():
                if entry.name not in (".git", "runs"):
                    (folder / entry.name).symlink_to(entry)
            (folder / "input.txt").write_text("".join(topics.topics.values())[:TEXT_LENGTH], encoding="utf-8")
            os.chdir(folder)
            os.environ["HOME"] = name
            run_page(page)


if __name__ == "__main__":
    main([Path(name).resolve() for name in sys.argv[1:]])
