"""CSV, as RFC 4180 describes it and pandas and spreadsheets read it: UTF-8, a header, empty fields for null.

Spreadsheets run a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return as a formula, and file names
and labels come from strangers: such a text gets an apostrophe in front (OWASP, "CSV Injection"), and so does one that
begins with an apostrophe, so that texts which differ still do. Lines end with a newline, as the tools of Unix expect.
The description of the run is in a file beside the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..rows import Row, Schema
from .table_format import DESCRIPTION, TABLE, described_beside, encoded

ESCAPED_STARTS = ("'", "=", "+", "-", "@", "\t", "\r")
_QUOTED = frozenset('",\r\n')


class CsvTable:
    """A header and a line per image."""

    files = (DESCRIPTION, TABLE)

    def require(self) -> None:
        """Nothing is needed."""

    def part(self, schema: Schema, rows: Sequence[Row]) -> bytes:  # noqa: ARG002 - of the interface
        """The lines of some rows."""
        return "".join(map(_line, rows)).encode()

    def join(
        self, schema: Schema, description: Mapping[str, Any], parts: Iterable[bytes], files: Mapping[str, IO[bytes]]
    ) -> None:
        """Write the table and its description."""
        files[DESCRIPTION].write(encoded(description))
        files[TABLE].write(_line([column.name for column in schema.columns]).encode())
        for part in parts:
            files[TABLE].write(part)

    def description(self, path: Path) -> Mapping[str, Any] | None:
        """The description beside the table."""
        return described_beside(path)


FORMAT = CsvTable()


def _line(values: Sequence[Any]) -> str:
    return ",".join(map(_cell, values)) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    text = f"'{value}" if value.startswith(ESCAPED_STARTS) else value
    if _QUOTED.isdisjoint(text):
        return text
    return '"{}"'.format(text.replace('"', '""'))
