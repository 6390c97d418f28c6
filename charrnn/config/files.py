"""Fill the configuration: defaults <- TOML file or preset <- `section.key=value` settings, every mistake named.

The three sources are *tables*: `{"section": {"key": value}}`, holding only what was said. `build` checks a table
against the schema and fills the rest with defaults; `table` and `dump` go the other way.
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
POINT = re.compile(r"^(\s*[+-]?)\.(?=\d)")
"""A number that begins with its point, as TOML does not allow: .3"""
LONGEST = 2 << 20
"""Bytes of a configuration: it may name tens of thousands of files, and any so long is read in seconds."""
SHOWN = 200
"""Characters of a value, or of somebody's words, in an error."""


def build(table: Mapping[str, Mapping[str, Any]]) -> Config:
    """The configuration that `table` describes, defaults filled in. The table must have been checked (`checked`)."""
    return Config(**{name: cls(**table.get(name, {})) for name, cls in SECTIONS.items()})


def table(config: Config) -> Table:
    """The complete table of `config`: the inverse of `build`."""
    return dataclasses.asdict(config)


def merged(*tables: Mapping[str, Mapping[str, Any]]) -> Table:
    """The tables laid over one another, the last on top."""
    names = dict.fromkeys(name for each in tables for name in each)
    return {name: {k: v for each in tables for k, v in each.get(name, {}).items()} for name in names}


def dump(config: Config) -> str:
    """`config` as TOML text; reading it back gives an equal configuration."""
    return tomli_w.dumps(table(config))


def read(name: str) -> Table:
    """The checked table of a TOML file, or of a preset named without a path.

    Raises `ConfigError` for a file or preset that does not exist, text that is not TOML, an unknown key or a value
    out of bounds.
    """
    path = Path(name)
    try:
        if path.name == name and not path.is_file():
            path = presets().get(name, presets().get(name.removesuffix(".toml"), path))
        with open_input(path) as stream:
            content = stream.read(LONGEST + 1)
    except FileNotFoundError:
        known = ", ".join(presets())
        raise ConfigError(
            f"cannot read the configuration {name!r}: no such file or preset (presets: {known})"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such file"
        raise ConfigError(f"cannot read the configuration {name!r}: {reason}") from None
    if len(content) > LONGEST:
        raise ConfigError(f"cannot read the configuration {name!r}: it is longer than {LONGEST >> 20} MB")
    return parse(content, str(path))


def whole(path: Path) -> bool:
    """Whether the file at `path` is a configuration with every key, as that of a run is."""
    try:
        found = read(str(path)) if path.is_file() else {}
    except ConfigError:
        return False
    return found == table(build(found))


def parse(content: bytes, place: str) -> Table:
    """The checked table of a TOML file's content; a `ConfigError` names `place`."""
    try:
        parsed = loaded(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # besides bad TOML: numbers or nesting beyond Python's limits
        raise ConfigError(f"{place} is not a TOML file: {shortened(str(error))}") from None
    return checked(parsed, place)


def loaded(text: str) -> dict[str, Any]:
    """`text` as TOML. Raises `ValueError` or `RecursionError` for what is none.

    For a key a.b.c the parser keeps a, a.b and a.b.c: one of thousands of parts would take gigabytes.
    """
    dots = [line.count(".") for line in text.splitlines()]
    if max(dots, default=0) * sum(dots) > (1 << 22) + 16 * len(text):
        raise ValueError("there are too many dots in one line")
    return tomllib.loads(text)


def presets() -> dict[str, Path]:
    """The configurations shipped with the package, by name."""
    package = Path(__file__).parent.parent
    # Installed, configs/ lies inside the package; in a checkout (or an editable install) beside it.
    folder = next((f for f in (package / "configs", package.parent / "configs") if f.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def parse_settings(settings: Iterable[str]) -> Table:
    """The checked table of `section.key=value` words; values are TOML, and a bare word may stand for a string."""
    result: Table = {}
    for setting in settings:
        place = f"--set {setting}"
        dotted, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"{place}: write it as section.key=value")
        known(dotted.strip(), place)
        value: Any = text.strip()
        with suppress(ValueError, RecursionError):
            parsed = loaded("value = " + POINT.sub(r"\g<1>0.", text))
            value = parsed["value"] if len(parsed) == 1 else value  # more than one: lines that smuggle in other keys
        result = merged(result, keyed(dotted.strip(), value, place))
    return result


def keyed(dotted: str, value: Any, place: str) -> Table:
    """The checked table of one `section.key`; a `ConfigError` names `place`."""
    known(dotted, place)
    section, _, key = dotted.partition(".")
    return checked({section: {key: value}}, place)


def checked(raw: Mapping[str, Any], place: str) -> Table:
    """`raw` as a table of known keys, values of the right type and within bounds; a `ConfigError` names `place`."""
    result: Table = {}
    for section, values in raw.items():
        if not isinstance(values, dict) and section in SECTIONS:
            raise ConfigError(f"{place}: {section!r} must be a section, [{section}], not {shown(values)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{place}: {shown(section)} stands outside a section; {near(section)}")
        if section not in SECTIONS:
            raise ConfigError(f"{place}: there is no section [{shortened(section)}]; {near(section)}")
        result[section] = {key: value_of(f"{section}.{key}", value, place) for key, value in values.items()}
    return result


def known(dotted: str, place: str) -> None:
    """Raise `ConfigError` with the nearest valid key unless `dotted` is a key."""
    if dotted not in FIELDS:
        raise ConfigError(f"{place}: there is no key {shown(dotted)}; {near(dotted)}")


def near(word: str) -> str:
    """The hint that ends an error about an unknown name: the nearest key or section."""
    if word in SECTIONS:
        return f"name one of its keys, as in {next(key for key in FIELDS if key.startswith(word))!r}"
    bare = {dotted.partition(".")[2]: dotted for dotted in FIELDS}
    candidates = [*FIELDS, *SECTIONS, *bare]
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    found = found or difflib.get_close_matches(word.rpartition(".")[2], list(bare), n=1, cutoff=0.5)
    return f"did you mean {bare.get(found[0], found[0])!r}?" if found else "the sections are " + ", ".join(SECTIONS)


def shown(value: Any) -> str:
    """`value` in an error; Python refuses to print integers of thousands of digits, and tables that are too deep."""
    try:
        return shortened(repr(value))
    except ValueError:
        return "a number of thousands of digits"
    except RecursionError:
        return "a table in a table, and so on"


def shortened(words: str) -> str:
    """The beginning of `words`, if they are long."""
    return words if len(words) <= SHOWN else f"{words[:SHOWN]} ..."


def value_of(dotted: str, value: Any, place: str) -> Any:
    """`value` as the type of the key `dotted`, checked against its bounds."""
    known(dotted, place)
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
    if "holds" in spec.metadata and not spec.metadata["holds"](value):
        raise ConfigError(f"{place}: {dotted} must be {spec.metadata['words']}, not {shown(value)}")
    return value
