"""`docs/run_blocks.py`: the outputs that a page shows are those of its blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("markdown_it")
PROGRAM = Path(__file__).parents[2] / "docs" / "run_blocks.py"
PAGE = """\
```python
print(6 * 7)
print()
print("end ")
```
```text
42

end
```

<!-- begin: source of something -->
```python
raise NotImplementedError
```
<!-- end -->
"""
SECOND = """
```python
print(1 / 4)
```
"""


def run(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the program on a page."""
    return subprocess.run([sys.executable, str(PROGRAM), *options, str(page)], capture_output=True, text=True)


def test_a_page_with_its_outputs_passes(tmp_path: Path) -> None:
    """What a block prints is compared without spaces at the ends of lines; generated parts are not run."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    result = run(page)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("text", [PAGE.replace("42\n", "41\n"), PAGE + SECOND], ids=["wrong", "missing"])
def test_a_wrong_or_missing_output_is_an_error(tmp_path: Path, text: str) -> None:
    """On a page that shows outputs, each block that prints must show what it prints."""
    page = tmp_path / "page.md"
    page.write_text(text)
    result = run(page)
    assert result.returncode == 1
    assert "the block above prints this" in result.stderr


def test_write_corrects_the_outputs(tmp_path: Path) -> None:
    """`--write` replaces a wrong output and adds a missing one."""
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("42\n", "41\n0\n") + SECOND)
    assert run(page, "--write").returncode == 0
    assert page.read_text() == PAGE + SECOND + "```text\n0.25\n```\n"
