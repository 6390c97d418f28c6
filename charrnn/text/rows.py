"""Rows of JSON Lines and CSV: the text in one field of each row is a document."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.errors import ConfigError, TextError

DELIMITERS = ",;\t|"
"""What may separate the columns. The first one counts with which the header has the column."""
LONGEST_LINE = 1 << 26
"""Most characters of a line, and of a value in CSV: a file of another kind may be one line without an end."""
SHOWN = 12
"""Most fields or columns that an error lists."""
TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
"""What JSON values that are no text are called in an error."""


@dataclass(frozen=True)
class Rows:
    """Which text of each row is a document.

    Attributes:
        jsonl: the field of each line of JSON Lines; empty for CSV.
        csv: the column of CSV; empty for JSON Lines.

    Raises `ConfigError` if both are given.
    """

    jsonl: str = ""
    csv: str = ""

    def __post_init__(self) -> None:
        if self.jsonl and self.csv:
            raise ConfigError("use --jsonl or --csv, not both (data.jsonl, data.csv)")

    def __bool__(self) -> bool:
        """Return whether files are read as rows at all, and not as plain text."""
        return bool(self.jsonl or self.csv)

    def texts(self, name: str, blocks: Iterable[str]) -> Iterator[str]:
        """Yield the text of each row of the file `name`, whose characters are in `blocks`. Empty lines are skipped.

        Raises `TextError`, with the number of the line, for what is no JSON or CSV, and for a row without the field.
        """
        rows = lines(name, blocks)
        return json_texts(name, rows, self.jsonl) if self.jsonl else csv_texts(name, rows, self.csv)


def lines(name: str, blocks: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text with their ends. Raises `TextError` for one of more than `LONGEST_LINE` characters."""
    rest, length, count = [""], 0, 1
    for block in blocks:
        first, *others = block.split("\n")
        rest.append(first)
        for other in others:
            yield "".join(rest) + "\n"
            rest, length, count = [other], 0, count + 1
        length += len(rest[-1])
        if length > LONGEST_LINE:
            raise TextError(f"{name}: line {count} has more than {LONGEST_LINE:,} characters: the file has no rows")
    if last := "".join(rest):
        yield last


def json_texts(name: str, rows: Iterable[str], field: str) -> Iterator[str]:
    """Yield the text of `field` of each line, where null is an empty text. Raises as `Rows.texts` does."""
    for number, line in enumerate(rows, 1):
        if not line.strip():
            continue
        place = f"{name}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "too deep or too large")
            raise TextError(f"{place} is not JSON ({reason}): --jsonl needs one object on each line") from None
        if not isinstance(row, dict):
            raise TextError(f'{place} is no object: --jsonl needs one on each line, as in {{"{field}": "..."}}')
        if field not in row:
            raise TextError(f"{place} has no field {field!r}; {listed('its fields are', row)}")
        value: Any = row[field]
        if value is not None and not isinstance(value, str):
            raise TextError(f"{place}: the field {field!r} is {TYPES[type(value)]}, not a text")
        yield value or ""


def csv_texts(name: str, rows: Iterator[str], column: str) -> Iterator[str]:
    """Yield the text in `column` of each row after the header. Raises as `Rows.texts` does."""
    header = next(rows, "")
    delimiter, index = find_column(name, header, column)
    reader = csv.reader(rows, delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(LONGEST_LINE)
    try:
        for row in reader:
            if len(row) > index:
                yield row[index]
            elif row:
                place = f"{name}: line {reader.line_num + 1}"
                raise TextError(f"{place} has {len(row)} columns; the column {column!r} is number {index + 1}")
    except csv.Error as error:
        raise TextError(f"{name}: line {reader.line_num + 1} is not CSV ({error})") from None
    finally:
        csv.field_size_limit(limit)


def find_column(name: str, header: str, column: str) -> tuple[str, int]:
    """Return the delimiter of a CSV file with this first line, and the index of `column`."""
    columns: list[str] = []
    for delimiter in DELIMITERS:
        try:
            names = [word.strip() for word in next(csv.reader([header], delimiter=delimiter, strict=True), [])]
        except csv.Error:
            continue
        if column in names:
            return delimiter, names.index(column)
        columns = max(columns, names, key=len)
    raise TextError(f"{name}: line 1 has no column {column!r}; {listed('its columns are', columns)}")


def listed(start: str, names: Iterable[str]) -> str:
    """Return `start` and the first of `names`."""
    shown = [repr(word if len(word) < 40 else word[:40] + "...") for word in names]
    more = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return f"{start} {', '.join(shown[:SHOWN])}{more}" if shown else "it has none"
