"""Run the code blocks of Markdown pages: `python docs/run_blocks.py README.md docs/guides/*.md docs/tutorial/*.md`.

The blocks of a page run in order, in a new folder that has the checkout's files and a text `input.txt`, with an empty
home. `sh` blocks run whole; of `console` blocks, the lines that begin with `$ `; `python` blocks share their names.
A `text` block directly below a `python` block is what the block prints: any other output is an error, and on such a
page every block that prints has one. `--write` writes these blocks instead. Other blocks are not run, nor are the parts
that `make_reference.py` generates. Comments before a block change it:

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
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"<!-- ci: (.*?) -->")
TEXT_LENGTH = 200_000


class Block(NamedTuple):
    """A code block of a page: its first line, language, code, the markers before it, and the lines of its output.

    `output` is the range of the lines of the `text` block directly below a `python` block, fences included. It is
    empty, and begins after the code, if that block is missing.
    """

    line: int
    language: str
    code: str
    markers: list[str]
    output: range


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page, without those that are generated."""
    markers, generated = list[str](), False
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    for token, below in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "html_block":
            markers += MARKER.findall(token.content)
            generated = "<!-- begin: " in token.content or (generated and "<!-- end -->" not in token.content)
        elif token.type == "fence" and token.map and not generated:
            output = range(token.map[1], token.map[1])
            if below and below.map and (token.info, below.type, below.info) == ("python", "fence", "text"):
                output = range(*below.map)
            yield Block(token.map[0] + 1, token.info, token.content, markers, output)
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


def run_page(page: Path, *, write: bool = False) -> None:
    """Run the blocks of one page, and compare or write what they print. Raise an error at the first that fails."""
    names: dict[str, object] = {}
    outputs: list[tuple[range, list[str]]] = []
    for line, language, code, markers, output in blocks(page):
        if markers in (["install"], ["test"]) or language not in ("sh", "console", "python"):
            continue
        start = time.monotonic()
        before, code = prepared(code, markers)
        if language == "console":
            code = "\n".join(command[2:] for command in code.splitlines() if command.startswith("$ "))
        print(f"{page.name}:{line}", end=" ", flush=True)
        shell(before if language == "python" else before + code)
        if language == "python":
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, f"{page}:{line}", "exec"), names)
            outputs.append((output, [text.rstrip() for text in printed.getvalue().rstrip().splitlines()]))
        print(f"{time.monotonic() - start:.1f} s", flush=True)
    lines = page.read_text(encoding="utf-8").splitlines()
    if write:
        page.write_text("\n".join(with_outputs(lines, outputs)) + "\n", encoding="utf-8")
    elif any(output for output, _ in outputs):
        for output, printed_lines in outputs:
            if lines[output.start + 1 : output.stop - 1] != printed_lines:
                raise SystemExit(
                    f"{page.name}:{output.start}: the block above prints this; if it is right, run "
                    f"docs/run_blocks.py --write\n" + "\n".join(printed_lines)
                )


def with_outputs(lines: list[str], outputs: list[tuple[range, list[str]]]) -> list[str]:
    """Return the lines of a page with what its blocks print."""
    for output, printed in reversed(outputs):
        new = ["```text", *printed, "```"] if printed else []
        lines = [*lines[: output.start], *new, *lines[output.stop :]]
    return lines


def shell(code: str) -> None:
    """Run shell commands up to the first one that fails; their output is shown only then."""
    done = subprocess.run(["bash", "-euc", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"\n{code}\n{done.stdout}\nexit status {done.returncode}")


def main(pages: list[Path], *, write: bool) -> None:
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
            run_page(page, write=write)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main([Path(name).resolve() for name in arguments if name != "--write"], write="--write" in arguments)
