"""Write the generated parts of the reference and the tutorial: `python docs/make_reference.py`.

With `--check` it fails if one is stale.

A page is text by hand with generated parts. A part is what stands between the comments `<!-- begin: NAME ARGUMENT -->`
and `<!-- end -->`; NAME is a function of this module that takes ARGUMENT and returns Markdown. The parts come from the
command line, the schema of the configuration, the docstrings and the source, so that nothing is described twice.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import griffe

from charrnn import config, errors, run_files
from charrnn.cli import charrnn as commands
from charrnn.config import files as configurations
from charrnn.config import schema

PAGES = [page for folder in ("reference", "tutorial") for page in sorted((Path(__file__).parent / folder).glob("*.md"))]
PART = re.compile(r"(<!-- begin: (\w+)(?: ([^\n]+))? -->\n).*?(<!-- end -->)", re.DOTALL)
SIGNATURE_WIDTH = 100


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    cells = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells)


def comments(module: ModuleType) -> dict[int, str]:
    """Return the comment at the end of each line of a module's source: line number -> text."""
    tokens = tokenize.generate_tokens(io.StringIO(inspect.getsource(module)).readline)
    trailing = (t for t in tokens if t.type == tokenize.COMMENT and t.line[: t.start[1]].strip())
    return {token.start[0]: token.string.lstrip("# ") for token in trailing}


# -- the command line -------------------------------------------------------------------------------------------------


def command(name: str) -> str:
    """Return the help of a command: what it does, its options, examples."""
    of_name = commands.commands[name]
    context = click.Context(of_name, info_name=f"charrnn {name}", parent=None)
    options = [p.get_help_record(context) for p in of_name.params if isinstance(p, click.Option)]
    rows = [(f"`{record[0]}`", " ".join(record[1].split())) for record in options if record]
    examples = inspect.cleandoc(of_name.epilog or "").replace("\b\nExamples:\n", "")
    usage = f"charrnn {name} " + " ".join(of_name.collect_usage_pieces(context))
    parts = [f"```text\n{usage}\n```", paragraphs(of_name.help or "")]
    parts += [table(("option", "meaning"), rows)] * bool(rows)
    parts.append("```text\n" + "\n".join(line.strip() for line in examples.splitlines()) + "\n```")
    return "\n\n".join(parts)


def paragraphs(text: str) -> str:
    """Return a docstring with one line for each paragraph; indented code stays as it is."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith("    ") else " ".join(part.split()) for part in parts)


# -- the configuration ------------------------------------------------------------------------------------------------


def keys(section: str) -> str:
    """Return the keys of a section: default, allowed values, and the meaning, which is the comment in the schema."""
    cls, said = configurations.SECTIONS[section], comments(schema)
    tree = ast.parse(inspect.getsource(schema))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    lines = {node.target.id: node.lineno for node in body if isinstance(node, ast.AnnAssign)}
    rows = []
    for field in dataclasses.fields(cls):
        allowed = field.metadata.get("requirement", "true or false" if isinstance(field.default, bool) else "")
        rows.append((f"`{field.name}`", f"`{toml(field.default)}`", allowed, said[lines[field.name]]))
    return table(("key", "default", "allowed", "meaning"), rows)


def toml(value: Any) -> str:
    """Return a value as it stands in a TOML file."""
    line: str = configurations.tomli_w.dumps({"value": list(value) if isinstance(value, tuple) else value})
    return line.removeprefix("value = ").strip()


def presets(_: str) -> str:
    """Return the presets with the values that differ most."""
    rows = []
    for name in config.presets():
        c = config.build(config.read(name))
        m, t, o = c.model, c.train, c.optimizer
        dropouts = " / ".join(f"{value:g}" for value in (m.dropout, m.input_dropout, m.recurrent_dropout))
        rate = f"{o.name} {o.learning_rate:g}, {o.schedule}"
        rows.append((f"`{name}`", m.shape, f"{t.batch_size} x {t.seq_length}", dropouts, rate, f"{t.steps:,}"))
    head = (
        "preset",
        "network",
        "batch: streams x characters",
        "dropout: outputs / input / recurrent",
        "optimizer",
        "steps",
    )
    return table(head, rows)


# -- the run directory and its events ---------------------------------------------------------------------------------


def files(_: str) -> str:
    """Return the files of a run directory, with the comments beside their names."""
    said, body = comments(run_files), ast.parse(inspect.getsource(run_files)).body
    names = {n.value.value: n.lineno for n in body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)}
    rows = ((f"`{name}`", said[line]) for name, line in names.items())
    return table(("name", "what it holds"), rows)


def event(name: str) -> str:
    """Return the fields of an event."""
    documented = griffe_object(f"charrnn.training.events.{name}")
    return docstring(documented)


# -- the Python API ---------------------------------------------------------------------------------------------------


def function(path: str) -> str:
    """Return the signature and the docstring of a function."""
    return signature(griffe_object(path)) + "\n\n" + docstring(griffe_object(path))


def methods(path: str) -> str:
    """Return a class: its docstring, then its public methods that have one, in their order."""
    cls = griffe_object(path)
    public = [m for m in cls.members.values() if m.docstring and not m.name.startswith("_")]
    parts = [docstring(cls)]
    parts += [f"- `{m.name}`: {docstring(m)}" for m in public if "property" in m.labels]
    for method in [m for m in public if m.is_function]:
        parts += [f"### `{cls.name}.{method.name}`", signature(method), docstring(method)]
    return "\n\n".join(parts)


def error_classes(_: str) -> str:
    """Return the errors of the package with their exit status."""
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.CharrnnError)]
    classes.sort(key=lambda cls: inspect.getsourcelines(cls)[1])
    rows = ((f"`{cls.__name__}`", str(cls.exit_status), paragraphs(cls.__doc__ or "")) for cls in classes)
    return table(("error", "exit status", "meaning"), rows)


# -- the source, for the tutorial -------------------------------------------------------------------------------------


def source(path: str) -> str:
    """Return the source of a function or a method without its docstring, below a comment that names its file."""
    documented = griffe_object(path)
    lines, first = list(documented.lines), documented.lineno
    if documented.docstring:
        del lines[documented.docstring.lineno - first : documented.docstring.endlineno - first + 1]
    file = documented.filepath.relative_to(Path(run_files.__file__).parents[1]).as_posix()
    return f"```python\n# {file}\n{textwrap.dedent(chr(10).join(lines)).rstrip()}\n```"


# -- what the parts share ---------------------------------------------------------------------------------------------


def griffe_object(path: str) -> Any:
    """Return what `griffe` knows of an object, named as `module.name`."""
    return PACKAGE[path.removeprefix("charrnn.")]


def signature(documented: Any) -> str:
    """Return the signature of a function as a code block, on several lines if it is long."""
    shown, star = [], False
    for p in documented.parameters:
        if p.name == "self":
            continue
        if p.kind == griffe.ParameterKind.keyword_only and not star:
            shown, star = [*shown, "*"], True
        mark = "**" if p.kind == griffe.ParameterKind.var_keyword else ""
        default = "" if p.default is None or mark else f" = {p.default}"
        shown.append(f"{mark}{p.name}: {p.annotation}{default}")
    head = documented.name if documented.parent.is_class else f"charrnn.{documented.name}"
    line = f"{head}({', '.join(shown)}) -> {documented.returns}"
    if len(line) > SIGNATURE_WIDTH:
        line = f"{head}(\n" + "".join(f"    {p},\n" for p in shown) + f") -> {documented.returns}"
    return f"```text\n{line}\n```"


def docstring(documented: Any) -> str:
    """Return a docstring as Markdown; arguments and attributes become lists."""
    parts = []
    for part in documented.docstring.parse("google", warnings=False):
        if part.kind == griffe.DocstringSectionKind.text:
            parts.append(paragraphs(part.value))
        elif part.kind in (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.attributes):
            parts.append("\n".join(f"- `{item.name}`: {' '.join(item.description.split())}" for item in part.value))
    return "\n\n".join(parts)


PACKAGE = griffe.load("charrnn", search_paths=[str(Path(run_files.__file__).parents[1])])
PARTS: dict[str, Callable[[str], str]] = {
    f.__name__: f for f in (command, keys, presets, files, event, function, methods, error_classes, source)
}


def generated(page: str) -> str:
    """Return a page with its generated parts as the program is now."""
    return PART.sub(lambda m: f"{m[1]}\n{PARTS[m[2]](m[3])}\n\n{m[4]}", page)


def main(check: bool) -> int:
    """Write the stale pages, or with `check` name them and return 1 if there are any."""
    stale = []
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = generated(before)
        if after != before:
            stale.append(str(path))
            if not check:
                path.write_text(after, encoding="utf-8")
    if stale:
        print(("stale, run docs/make_reference.py: " if check else "written: ") + " ".join(stale))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
