"""`charrnn export`."""

from __future__ import annotations

from pathlib import Path

import click

from charrnn.cli.options import checkpoint_option, examples, run_argument
from charrnn.cli.output import check_replaceable, print_line, print_notice, write_file
from charrnn.errors import ConfigError


@click.command(
    "export",
    short_help="Write a network as a web page, an ONNX file or a folder.",
    epilog=examples(
        "charrnn export runs/book book.html",
        "charrnn export runs/book book.html --half",
        "charrnn export runs/book book.onnx",
        "charrnn export runs/book book/",
    ),
)
@run_argument
@click.argument("file")
@checkpoint_option
@click.option("--half", is_flag=True, help="FILE.html: store the weights as float16; the page is half as large.")
def export_command(run: Path, file: str, checkpoint: str, half: bool) -> None:
    """Write the network of RUN, a run directory or a checkpoint file, for use elsewhere.

    FILE.html is a page that runs the network in any browser: one file, without a server. FILE.onnx is a model for ONNX
    Runtime; its package is an extra: pip install 'charrnn-xp[onnx]'. Any other FILE without a suffix, or with a slash
    at its end, is a folder with the weights (safetensors), configuration, vocabulary and a model card.
    """
    from charrnn.api import load
    from charrnn.tools import export

    path, suffix = Path(file), Path(file).suffix.lower()
    is_folder = file.endswith("/") or path.is_dir() or not suffix
    if not is_folder and suffix not in (".html", ".onnx"):
        raise ConfigError(f"{file}: FILE must end in .html, .onnx, or / for a folder")
    if half and (is_folder or suffix != ".html"):
        raise ConfigError("--half is for FILE.html")
    if not is_folder and suffix == ".html":
        check_replaceable(path)
    model = load(run, checkpoint=checkpoint, device="cpu")
    for line in model.notices:
        print_notice(line)
    print_notice(f"checkpoint: {model.source}")
    if is_folder:
        export.write_folder(model, export.facts_of(model, run), path)
    elif suffix == ".onnx":
        write_file(path, export.onnx_model(model))
    else:
        write_file(path, export.playground_page(model, export.facts_of(model, run), half=half).encode())
    print_line(f"{file}: {size(path)}")


def size(path: Path) -> str:
    """Return the size of a file, or of the files in a folder, for the user."""
    parts = path.iterdir() if path.is_dir() else [path]
    return f"{sum(part.stat().st_size for part in parts) / 1000:,.0f} kB"
