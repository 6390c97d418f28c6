"""`environment.json`: what computed a run. It is no part of the run's state."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import fake_cupy
from helpers.runs import FEW, TINY, contents, run

import charrnn
from charrnn import config
from charrnn.backend import cupy
from charrnn.backend.kernels.check import Checks, Subject, Verdict
from charrnn.errors import TextError
from charrnn.run import environment
from charrnn.run.request import Request
from charrnn.run.session import prepare


def test_a_run_records_what_computes_it(corpus: Path, tmp_path: Path) -> None:
    """Versions, the machine and the device; a resumed run records the process that continues it."""
    run(tmp_path / "r", corpus, FEW, stop_after=3)
    first = environment.read(tmp_path / "r")
    assert (first["step"], first["charrnn"], first["device"]) == (0, charrnn.__version__, "cpu")
    assert (first["python"], first["numpy"]) == (platform.python_version(), np.__version__)
    assert "kernels" not in first
    assert all(first[name] for name in ("blas", "system", "processor", "cores", "label"))
    run(tmp_path / "r", corpus, FEW, resume=True)
    assert environment.read(tmp_path / "r") == first | {"step": 3}


def test_the_commit_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package outside of a checkout has none, even inside another repository, and a machine may lack git."""
    module = tmp_path / "site" / "charrnn" / "run" / "environment.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(environment, "__file__", str(module))

    package = module.parents[2]
    module.touch()

    def git(folder: Path, *words: str) -> str:
        command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(folder: Path) -> str:
        git(folder, "init")
        git(folder, "add", "-A")
        git(folder, "commit", "-m", "first")
        return git(folder, "rev-parse", "HEAD")

    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    commit(tmp_path)
    assert environment.commit.__wrapped__() is None
    own = commit(package)
    assert environment.commit.__wrapped__() == own
    module.write_text("changed")
    assert environment.commit.__wrapped__() == f"{own}-dirty"
    monkeypatch.setenv("PATH", "")
    assert environment.commit.__wrapped__() is None


def test_the_file_is_optional(corpus: Path, tmp_path: Path) -> None:
    """A run is the same without it, with a damaged one, and where it cannot be written; no text is read from it."""
    run(tmp_path / "whole", corpus, FEW)
    for name, content in (("none", None), ("damaged", b'{"kernels": '), ("list", b"[1]"), ("deep", b"[" * 99999)):
        out = tmp_path / name
        run(out, corpus, FEW, stop_after=3)
        (out / "environment.json").unlink()
        if content is not None:
            (out / "environment.json").write_bytes(content)
        run(out, corpus, FEW, resume=True)
        assert environment.read(out)["step"] == 3
        assert contents(out) == contents(tmp_path / "whole")
    out = tmp_path / "folder"
    run(out, corpus, FEW, stop_after=3)
    (out / "environment.json").unlink()
    (out / "environment.json").mkdir()
    run(out, corpus, FEW, resume=True)
    assert contents(out) == contents(tmp_path / "whole")
    with pytest.raises(TextError, match="is written by the run"):
        run(tmp_path / "whole", tmp_path / "whole" / "environment.json", FEW, overwrite=True)


def test_a_resumed_run_says_that_it_uses_other_kernels(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, also if a kernel no longer passes; no line if nothing changes, or if the run moves to the CPU."""
    gpu = config.merged(TINY, {"log": {"eval_every": 0, "sample_every": 0}})
    monkeypatch.setattr(cupy, "problem", lambda _=None: None)

    def notices(device: str, kernels: str = "auto") -> list[str]:
        options = config.merged(gpu, {"train": {"device": device, "kernels": kernels}})
        request = Request(files=(str(corpus),), out=tmp_path / "r", options=options, resume=True, stop_after=1)
        session = prepare(request)
        list(session.events())
        return [line for line in session.notices if line.startswith("kernels: ")]

    with fake_cupy.installed():
        assert notices("cuda") == notices("cuda") == []
        assert set(environment.read(tmp_path / "r")["kernels"].values()) == {"used"}
        (line,) = notices("cuda", "off")
        assert line.startswith(
            "kernels: the run used apply_update, cross_entropy, draw_masks, rnn until now and uses none"
        )
        assert notices("cuda", "off") == []
        assert notices("cpu") == notices("cuda", "off") == []
        assert "and uses apply_update, cross_entropy, draw_masks, rnn from here: " in notices("cuda")[0]
        with monkeypatch.context() as patch:
            patch.setattr(Checks, "check", all_but_the_loss)
            assert "and uses apply_update, draw_masks, rnn from here: " in notices("cuda")[0]
            assert environment.read(tmp_path / "r")["kernels"]["cross_entropy"] == "not used: it hangs"


def all_but_the_loss(self: Checks, subjects: Sequence[Subject]) -> None:
    """Trust all kernels but one."""
    for subject in subjects:
        self.note(subject, Verdict(0.0, "it hangs" if subject.name == "cross_entropy" else ""))
