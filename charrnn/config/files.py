"""Read and write configurations: defaults <- TOML file or preset <- `section.key=value` settings.

Each source is a *table*, `{"section": {"key": value}}`, which has only the keys that it sets. `checked` compares a
table with the schema and names every mistake; `build` fills in the defaults; `table` and `dump` are the inverse.
"""

import dataclasses
import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from charrnn.config.schema import Config
from charrnn.errors import ConfigError
from charrnn.files import open_input

Table = dict[str, dict[str, Any]]

SECTIONS: dict[str, Any] = {section.name: type(section.default) for section in dataclasses.fields(Config)}
FIELDS = {f"{name}.{f.name}": f for name, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
LEADING_POINT = re.compile(r"^(\s*[+-]?)\.(?=\d)")
"""The start of a number such as .3, which TOML does not allow."""
STRING = re.compile(r""""[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?|'[^'\n]*+'?""")
"""A TOML string on one line, or the rest of the line if its end is missing."""
AUTOMATIC = "auto"
"""The name, in place of a preset's, of the configuration that `train` chooses for a text and a time."""
MAX_BYTES = 2 << 20
"""Bytes of a configuration file: enough for the names of tens of thousands of files, and read in seconds."""
ADDED_KEYS: Table = {
    "model": {"start_symbol": False, "embedding_size": 0, "tie_weights": False},
    "data": {"jsonl": "", "csv": "", "val_files": (), "test_files": (), "shuffle_documents": False},
    "train": {"kernels": "auto", "sampled_softmax": 0},
    "log": {"baselines": True},
}
"""Keys that the configurations of earlier runs lack, with the values that those runs had."""
SHOWN = 200
"""Characters of a value or a message that an error shows."""


def build(table: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return the configuration of a checked table (see `checked`), with the defaults filled in."""
    return Config(**{name: cls(**table.get(name, {})) for name, cls in SECTIONS.items()})


def table(config: Config) -> Table:
    """Return the complete table of `config`: the inverse of `build`."""
    return dataclasses.asdict(config)


def merged(*tables: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return one table with the keys of all tables. If several set a key, the last one counts."""
    sections = dict.fromkeys(section for table in tables for section in table)
    return {section: {k: v for table in tables for k, v in table.get(section, {}).items()} for section in sections}


def dump(config: Config) -> str:
    """Return `config` as TOML text. Reading it gives an equal configuration."""
    return tomli_w.dumps(table(config))


def read(name: str) -> Table:
    """Return the checked table of a TOML file, or of a preset, which is named without a path.

    Raises `ConfigError` for a file or preset that does not exist, text that is not TOML, an unknown key, or a value
    that the key does not allow, or `auto`, which only `train` knows.
    """
    path = Path(name)
    if is_automatic(name):
        raise ConfigError(f"--config {AUTOMATIC} is chosen by charrnn train for its text: name a preset or a file")
    try:
        if path.name == name and not path.is_file():
            path = presets().get(name, path)
        with open_input(path) as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        preset = name.removesuffix(".toml")
        names = ", ".join((AUTOMATIC, *presets()))
        hint = f"did you mean the preset {preset}?" if preset in presets() else f"presets: {names}"
        raise ConfigError(f"cannot read the configuration {name!r}: no such file or preset ({hint})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such file"
        raise ConfigError(f"cannot read the configuration {name!r}: {reason}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"cannot read the configuration {name!r}: it is longer than {MAX_BYTES >> 20} MB")
    return with_added_keys(parse(content, str(path)))


def is_automatic(name: str | None) -> bool:
    """Return whether a configuration's name asks for an automatic one. A file of that name comes first."""
    return name == AUTOMATIC and not Path(name).is_file()


def with_added_keys(table_read: Table) -> Table:
    """Return a table; if it is that of an earlier run, complete at its time, with the keys that were added since."""
    added = merged(ADDED_KEYS, table_read)
    return added if added == table(build(added)) else table_read


def is_complete(path: Path) -> bool:
    """Return whether the file at `path` is a configuration with every key, as that of a run is."""
    try:
        table_read = read(str(path)) if path.is_file() else {}
    except ConfigError:
        return False
    return bool(table_read) and table_read == table(build(table_read))


def parse(content: bytes, place: str) -> Table:
    """Return the checked table of a TOML file's content. `place` names the file in a `ConfigError`."""
    try:
        raw = parse_toml(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad TOML, or numbers or nesting beyond Python's limits
        raise ConfigError(f"{place} is not a TOML file: {shortened(str(error))}") from None
    return checked(raw, place)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the raw table of TOML text. Raises `ValueError` or `RecursionError` for text that is not TOML.

    For a key a.b.c, Python's parser keeps a, a.b and a.b.c: a key of thousands of parts would take gigabytes of RAM.
    So a text with very many dots in a line is refused. The dots in strings do not count; as a key is at the start of
    its line, no string of several lines can hide it.
    """
    dots = [line.count(".") for line in STRING.sub("", text).split("\n")]
    if max(dots, default=0) * sum(dots) > (1 << 22) + 16 * len(text):
        raise ValueError("there are too many dots in one line")
    return tomllib.loads(text)


def presets() -> dict[str, Path]:
    """Return the configurations that come with the package, by name."""
    package = Path(__file__).parent.parent
    # configs/ is inside the installed package, and beside it in a checkout (or an editable install).
    folder = next((f for f in (package / "configs", package.parent / "configs") if f.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def parse_settings(settings: Iterable[str]) -> Table:
    """Return the checked table of `section.key=value` settings. A value is TOML, or a string without quotes."""
    result: Table = {}
    for setting in settings:
        place = f"--set {setting}"
        dotted, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"{place}: write it as section.key=value")
        check_key(dotted.strip(), place)
        value: Any = text.strip()
        with suppress(ValueError, RecursionError):
            raw = parse_toml("value = " + LEADING_POINT.sub(r"\g<1>0.", text))
            value = raw["value"] if len(raw) == 1 else value  # more than one: the text has lines with other keys
        result = merged(result, keyed(dotted.strip(), value, place))
    return result


def keyed(dotted: str, value: Any, place: str) -> Table:
    """Return the checked table of one `section.key`. `place` names it in a `ConfigError`."""
    check_key(dotted, place)
    section, _, key = dotted.partition(".")
    return checked({section: {key: value}}, place)


def checked(raw: Mapping[str, Any], place: str) -> Table:
    """Return a raw table with values of each key's type. `place` names its source in errors.

    Raises `ConfigError` for an unknown section or key, and for a value that the key does not allow.
    """
    result: Table = {}
    for section, values in raw.items():
        if not isinstance(values, dict) and section in SECTIONS:
            raise ConfigError(f"{place}: {section!r} must be a section, [{section}], not {shown(values)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{place}: {shown(section)} is not in a section; {suggestion(section)}")
        if section not in SECTIONS:
            raise ConfigError(f"{place}: there is no section [{shortened(section)}]; {suggestion(section)}")
        result[section] = {key: checked_value(f"{section}.{key}", value, place) for key, value in values.items()}
    return result


def check_key(dotted: str, place: str) -> None:
    """Raise `ConfigError` with the most similar key unless `dotted` is a key."""
    if dotted not in FIELDS:
        raise ConfigError(f"{place}: there is no key {shown(dotted)}; {suggestion(dotted)}")


def suggestion(word: str) -> str:
    """Return the end of an error about an unknown name: the most similar key or section."""
    if word in SECTIONS:
        return f"name one of its keys, as in {next(key for key in FIELDS if key.startswith(word))!r}"
    bare = {dotted.partition(".")[2]: dotted for dotted in FIELDS}
    candidates = [*FIELDS, *SECTIONS, *bare]
    matches = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    matches = matches or difflib.get_close_matches(word.rpartition(".")[2], list(bare), n=1, cutoff=0.5)
    return (
        f"did you mean {bare.get(matches[0], matches[0])!r}?" if matches else "the sections are " + ", ".join(SECTIONS)
    )


def shown(value: Any) -> str:
    """Return `value` for an error. Python refuses to print integers of thousands of digits and very deep tables."""
    try:
        return shortened(repr(value))
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "a table in a table, and so on"


def shortened(text: str) -> str:
    """Return `text`, or its beginning if it is long."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def checked_value(dotted: str, value: Any, place: str) -> Any:
    """Return `value` as the type of the key `dotted`. Raises `ConfigError` if the key does not allow it."""
    check_key(dotted, place)
    spec = FIELDS[dotted]
    if isinstance(spec.default, tuple):
        if not (isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)):
            raise ConfigError(f"{place}: {dotted} must be a list of strings, not {shown(value)}")
        return tuple(value)
    if isinstance(spec.default, float) and type(value) is int:
        value = float(value) if abs(value) < 2**1000 else math.inf
    if type(value) is not type(spec.default):
        wanted = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[type(spec.default)]
        raise ConfigError(f"{place}: {dotted} must be {wanted}, not {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place}: {dotted} must be a finite number, not {shown(value)}")
    if isinstance(value, int) and value >= 2**63:
        raise ConfigError(f"{place}: {dotted} must be below 2**63, not {shown(value)}")
    if "is_valid" in spec.metadata and not spec.metadata["is_valid"](value):
        raise ConfigError(f"{place}: {dotted} must be {spec.metadata['requirement']}, not {shown(value)}")
    return value
