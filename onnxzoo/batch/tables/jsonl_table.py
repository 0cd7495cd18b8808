"""JSON Lines: an object per image with every column, in ASCII. The description of the run is in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..rows import Row, Schema
from .table_format import DESCRIPTION, TABLE, described_beside, encoded


class JsonlTable:
    """A line per image."""

    files = (DESCRIPTION, TABLE)

    def require(self) -> None:
        """Nothing is needed."""

    def part(self, schema: Schema, rows: Sequence[Row]) -> bytes:
        """The lines of some rows."""
        return json_lines([column.name for column in schema.columns], rows)

    def join(
        self,
        schema: Schema,  # noqa: ARG002 - of the interface
        description: Mapping[str, Any],
        parts: Iterable[bytes],
        files: Mapping[str, IO[bytes]],
    ) -> None:
        """Write the table and its description."""
        files[DESCRIPTION].write(encoded(description))
        for part in parts:
            files[TABLE].write(part)

    def description(self, path: Path) -> Mapping[str, Any] | None:
        """The description beside the table."""
        return described_beside(path)


FORMAT = JsonlTable()


def json_lines(names: Sequence[str], rows: Iterable[Row]) -> bytes:
    """An object for each row, with these keys."""
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()
