"""The interface of a table format.

A table is first written as parts, which are kept when the run is killed, and then put together. A part is bytes of the
format's own choice, so that a format decides what is cheap to append.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from ...strict_json import parse_json
from ..rows import Row, Schema

TABLE = ""
DESCRIPTION = ".meta.json"
"""Appended to the table's name: the description of the run, for formats that have no room for it."""


class TableFormat(Protocol):
    """A format of tables."""

    @property
    def files(self) -> tuple[str, ...]:
        """What is appended to the name of the output for each file that it writes; the last is TABLE."""
        ...

    def require(self) -> None:
        """Import its library, if it needs one. Raises MissingDependencyError."""
        ...

    def part(self, schema: Schema, rows: Sequence[Row]) -> bytes:
        """Some rows as bytes."""
        ...

    def join(
        self, schema: Schema, description: Mapping[str, Any], parts: Iterable[bytes], files: Mapping[str, IO[bytes]]
    ) -> None:
        """Write the files of the table from all its parts, which are read one by one."""
        ...

    def description(self, path: Path) -> Mapping[str, Any] | None:
        """The description of the run in a finished table; None if it has none."""
        ...


def beside(path: Path, suffix: str) -> Path:
    """The file of a table with this suffix: the table itself for TABLE."""
    return path.with_name(path.name + suffix)


def encoded(description: Mapping[str, Any]) -> bytes:
    """A description as a JSON document."""
    return (json.dumps(description, indent=1) + "\n").encode()


def decoded(content: bytes) -> Mapping[str, Any] | None:
    """A description of a table, None for anything else."""
    with suppress(ValueError):
        found = parse_json(content)
        return found if isinstance(found, dict) else None
    return None


def described_beside(path: Path) -> Mapping[str, Any] | None:
    """The description in the file beside a table."""
    with suppress(OSError):
        return decoded(beside(path, DESCRIPTION).read_bytes())
    return None
