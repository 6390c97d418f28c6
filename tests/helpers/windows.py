"""Windows: what the suite leaves out there, how it writes texts there, and how its name is simulated elsewhere."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

MAPPED = "removes files that are mapped, which Windows refuses"
LINKS = "makes symbolic links, which need a privilege on Windows"
WORDS = "compares words or paths that Windows has others for"
SIGNALS = "sends signals that Windows lacks"
DISK = "breaks the disk, or limits the process, by the means of POSIX"
TOOLS = "runs a shell or a compiler"

NOT_ON_WINDOWS = {
    "benchmarks/test_gpu_check.py": TOOLS,
    "checkpoint/test_directory.py::test_a_renamed_checkpoint_is_passed_over": WORDS,
    "cli/test_cli.py::test_errors_are_one_line": WORDS,
    "cli/test_cli_cache.py": MAPPED,
    "cli/test_cli_train.py::test_existing_run_is_refused_or_replaced": WORDS,
    "cli/test_cli_train.py::test_interrupted_run_saves_and_resumes": SIGNALS,
    "cli/test_cli_tune.py::test_ctrl_c": SIGNALS,
    "cli/test_cli_tune.py::test_overwrite_follows_a_symbolic_link": LINKS,
    "gpu": TOOLS,
    "reliability/test_disk.py": DISK,
    "reliability/test_hangs.py": SIGNALS,
    "reliability/test_inputs.py": DISK,
    "reliability/test_untrusted.py": LINKS,
    "run/test_record.py::test_files_with_similar_names_stay": LINKS,
    "run/test_record.py::test_the_copy_of_a_text_stays_when_a_start_is_resumed": LINKS,
    "run/test_run_baselines.py::test_a_link_out_of_the_run_is_not_read": LINKS,
    "run/test_run_places.py::test_a_text_that_the_run_would_overwrite": LINKS,
    "text/test_build.py": MAPPED,
    "text/test_cache.py": MAPPED,
}
"""The start of a test's name -> why it is left out on Windows. Other tests are marked where they are."""


def reason_to_skip(name: str) -> str | None:
    """Return why a test does not run on Windows; None if it does. `name` begins with its path below `tests/`."""
    return next((why for start, why in NOT_ON_WINDOWS.items() if re.match(rf"{re.escape(start)}($|[/:[])", name)), None)


def write_texts_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `Path.write_text` and `read_text` use UTF-8 and keep line ends, as they do on other systems."""
    write, read = Path.write_text, Path.read_text

    @functools.wraps(write)
    def write_text(
        self: Path, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        return write(self, data, encoding or "utf-8", errors, "\n" if newline is None else newline)

    @functools.wraps(read)
    def read_text(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
        return read(self, encoding or "utf-8", errors)

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(Path, "read_text", read_text)


def pretend_windows(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let one module see the name of Windows. (For the whole process, pathlib could make no path any more.)"""
    monkeypatch.setattr(module, "os", SimpleNamespace(**vars(os) | {"name": "nt"}))
