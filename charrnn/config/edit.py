"""Change single keys of a TOML file and leave everything else of it, comments too, as its author wrote it."""

from __future__ import annotations

import re

import tomli_w

from charrnn.config.files import Table, merged, parse
from charrnn.errors import ConfigError

HEADER = re.compile(r"\ufeff?\s*\[\s*([\w-]+)\s*\]\s*(#.*)?")
KEY = r"(\s*{}\s*=\s*)([^\s#](?:[^#]*[^\s#])?)(\s*)(#.*)?"
COMMENTED = r"\s*#\s*{}\s*=.*"


def edited(content: bytes, changes: Table, place: str) -> bytes:
    """`content`, a TOML file, with the keys of `changes`: for each a line of it is changed, or one is added.

    Raises `ConfigError`, naming `place`, where the result does not read back as it should: a file may have [train] as
    an inline table, or a line in a string that looks like the key.
    """
    wanted = merged(parse(content, place), changes)
    end = "\r\n" if b"\r\n" in content else "\n"
    lines = content.decode().removesuffix("\n").removesuffix("\r").split(end) if content else []
    for section, values in changes.items():
        for key, value in values.items():
            assign(lines, section, key, tomli_w.dumps({key: value}).strip())
    result = "".join(line + end for line in lines).encode()
    try:
        fits = parse(result, place) == wanted
    except ConfigError:
        fits = False
    if not fits:
        keys = ", ".join(f"{section}.{key}" for section, values in changes.items() for key in values)
        raise ConfigError(f"{place} is not written line by line, so {keys} cannot be changed in it: name another file")
    return result


def assign(lines: list[str], section: str, key: str, assignment: str) -> None:
    """Change or add the line `assignment` in `lines`: below a line that has it as a comment, or after the last key."""
    headers = {match[1]: n for n, line in enumerate(lines) if (match := HEADER.fullmatch(line))}
    if section not in headers:
        lines += ["", f"[{section}]", assignment] if lines else [f"[{section}]", assignment]
        return
    first = headers[section] + 1
    last = min((n for n in headers.values() if n >= first), default=len(lines))
    body = lines[first:last]
    for n, line in enumerate(body, first):
        if found := re.fullmatch(KEY.format(key), line):
            lines[n] = reassigned(found, assignment.partition(" = ")[2])
            return
    commented = [n for n, line in enumerate(body, first) if re.fullmatch(COMMENTED.format(key), line)]
    keys = [n for n, line in enumerate(body, first) if line.strip() and not line.lstrip().startswith("#")]
    lines.insert((commented or keys or [first - 1])[-1] + 1, assignment)


def reassigned(found: re.Match[str], value: str) -> str:
    """A line with another value, its comment in its column if there is room."""
    key, old, space, comment = found.groups("")
    return f"{key}{value}{' ' * max(1, len(old + space) - len(value))}{comment}" if comment else f"{key}{value}{space}"
