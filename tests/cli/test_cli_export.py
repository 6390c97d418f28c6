"""`charrnn export`: what it writes, and one line for every run or file that does not work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TINY, Call

from charrnn import checkpoint
from charrnn.api import load

HEBREW = "שלום עולם: \u202bמה שלומך?\u202c\n" * 20
WIDE = "".join(chr(0x4E00 + n) for n in range(6000)) * 2


def test_the_page(call: Call, trained: Path, tmp_path: Path) -> None:
    """A page is one file; --half makes it smaller by half of its weights; the size is printed."""
    sizes = []
    for options in ([], ["--half"]):
        out, err = call("export", trained / "r", "r.HTML", *options)
        assert out == f"r.HTML: {(tmp_path / 'r.HTML').stat().st_size / 1000:,.0f} kB\n"
        assert err.endswith("step-00000010.safetensors\n")
        sizes.append((tmp_path / "r.HTML").stat().st_size)
    parameters = load(trained / "r", device="cpu").network.layout.parameters
    assert sizes[0] - sizes[1] == pytest.approx(2 * parameters * 4 / 3, rel=0.2)


@pytest.mark.parametrize("text", [HEBREW, WIDE], ids=["right-to-left", "wide"])
def test_texts_of_every_kind(call: Call, tmp_path: Path, text: str) -> None:
    """A text from right to left and one of 6,000 distinct characters are exported in every form, also at step 0."""
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    call("train", "x.txt", *TINY, "--steps=1", "--out=x", "--set=log.sample_every=0")
    for step in ("0", "1"):
        call("export", "x", "x.html", "--checkpoint", step)
        call("export", "x", "folder/", "--checkpoint", step)
        assert "\u202b" not in (tmp_path / "folder" / "README.md").read_text("utf-8")
        assert "\u202b" not in (tmp_path / "x.html").read_text("utf-8")
    pytest.importorskip("onnx")
    call("export", "x", "x.onnx")


def test_one_line_for_what_cannot_be_exported(call: Call, trained: Path, tmp_path: Path) -> None:
    """A wrong name, options that do not fit, and runs without a good checkpoint end with status 2 and one line."""
    run = trained / "r"
    _, line = call("export", run, "r.pt", status=2)
    assert line == "charrnn: r.pt: FILE must end in .html, .onnx, or / for a folder"
    _, line = call("export", run, "r.onnx", "--half", status=2)
    assert line == "charrnn: --half is for FILE.html"
    _, line = call("export", run, "no/r.html", status=2)
    assert line == "charrnn: cannot write no/r.html: No such file or directory"
    _, line = call("export", run, run / "config.toml" / "f/", status=2)
    assert line.startswith(f"charrnn: cannot write {run / 'config.toml' / 'f'}: ")
    (tmp_path / "mine.html").write_text("my notes")
    _, line = call("export", run, "mine.html", status=2)
    assert line == "charrnn: cannot write mine.html: it exists and is no HTML page; choose another name"
    (tmp_path / "empty").mkdir()
    _, line = call("export", "empty", "r.html", status=2)
    assert line.startswith("charrnn: empty has no checkpoint")
    shutil.copytree(run, tmp_path / "damaged")
    for path in (tmp_path / "damaged" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    _, line = call("export", "damaged", "r.html", status=2)
    assert "damaged" in line
    assert not (tmp_path / "r.html").exists()


def test_a_damaged_log_and_a_network_that_overflows(call: Call, trained: Path, tmp_path: Path) -> None:
    """Without readable logs the card has the loss of the checkpoint; a network without finite outputs is an error."""
    shutil.copytree(trained / "r", tmp_path / "r")
    (tmp_path / "r" / "metrics.jsonl").write_bytes(b'{"event": "eval"}\n[[[\xff\n')
    (tmp_path / "r" / "baselines.json").write_text("[")
    call("export", "r", "f/")
    best = checkpoint.find(tmp_path / "r")[1].meta.best
    assert best is not None
    assert f"| {best.val_loss:.4f} nats/char" in (tmp_path / "f" / "README.md").read_text("utf-8")
    path = checkpoint.path_of(tmp_path / "r", 10)
    saved = checkpoint.load(path)
    large = {name: np.full_like(array, 3e38) for name, array in saved.tensors.items() if "output.W_hy" in name}
    checkpoint.save(path, checkpoint.Checkpoint(saved.meta, {**saved.tensors, **large}))
    _, line = call("export", "r", "r.html", status=2)
    assert line == "charrnn: the network overflows: its parameters are finite, but too large; use an earlier checkpoint"
