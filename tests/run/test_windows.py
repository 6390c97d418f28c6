"""What only Windows refuses or renames, simulated on every system."""

from __future__ import annotations

import pytest

from charrnn.run.directory import RUNS, default_out


@pytest.mark.parametrize("text", ["con.txt", "texts/AUX.md", "nul", "Com1.tar.gz", "lpt9.txt"])
def test_a_run_is_not_named_like_a_device(text: str) -> None:
    """Windows has no directory `con` or `com1`, so the run of such a text has a longer name."""
    name = default_out(text, resume=False, overwrite=True).relative_to(RUNS).name
    assert name == text.rpartition("/")[2].partition(".")[0] + "-run"
    for other in ("console.txt", "com10.txt", "my-nul.txt", "com.txt"):
        assert default_out(other, resume=False, overwrite=True) == RUNS / other.removesuffix(".txt")
