"""A table as a folder of Parquet files, whose parts many workers write in any order.

    answers/
        _lock                      locked by the run that writes
        _run.json                  what the rows depend on, `run`, a number of this run's own, and at the end its counts
        part-000000.parquet, ...   the rows of PART_ROWS images each, in the order of the source

Readers of Parquet take such a folder as one table, and ignore names that begin with `_`. A part is renamed to its name
when it is whole, and its metadata describes the run and the part, so that a run that goes on knows what is finished.
The folder is on a file system that all workers share; nothing is written anywhere else.
"""

from __future__ import annotations

import contextlib
import io
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import temporary
from ..errors import TableError
from ..files import atomic_write, readable, writing
from .rows import Row, Schema
from .same_run import require_same
from .tables.parquet_table import ParquetTable
from .tables.table_format import TABLE
from .working_folder import digest_of_paths, entered, read_record, write_record

LOCK, RECORD = "_lock", "_run.json"

_NAME = re.compile(r"part-(\d{6,})\.parquet", re.ASCII)
_FIX = "make room, or name a folder elsewhere"


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """What a finished part has: its rows, how many of them are errors, and the digest of their paths."""

    rows: int
    errors: int
    paths: str


class TableFolder:
    """The folder of a table, for one run at a time; its workers use `write_part` only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is created if it is missing, and removed at the end if nothing has been put into it.

        Raises TableError if another run holds it, it cannot be written, or it has other files than those of a run.
        """
        with contextlib.ExitStack() as held:
            with writing(str(self.folder), TableError, _FIX):
                self._refuse_others()
                alone = entered(self.folder / LOCK, held)
            if not alone:
                raise TableError(f"another run is writing to {self.folder}; wait for it, or name another folder")
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    (self.folder / LOCK).unlink()
                    self.folder.rmdir()  # only if it is empty

    def begin(self, description: Mapping[str, Any], *, part_rows: int, restart: bool) -> str:
        """Begin a run, or go on with the one that is there; returns its number. `restart`: remove what is there.

        Raises InputError if what is there is from another model, source or option, TableError if it is damaged.
        """
        record = None if restart else self._record()
        if record is not None:
            require_same(record["description"], description, f"{self.folder} has a table, or a part of one,")
            if record["part_rows"] == part_rows:
                return str(record["run"])
            raise TableError(
                f"{self.folder} has parts of {record['part_rows']} images, and this version makes parts of "
                f"{part_rows}; begin anew with --restart (restart=True)"
            )
        run = secrets.token_hex(8)
        with writing(str(self.folder), TableError, _FIX):
            self._clear()
            write_record(self.folder / RECORD, {"run": run, "part_rows": part_rows, "description": description})
        return run

    def finished(self, number: int) -> FinishedPart | None:
        """A part that an earlier run has finished, None if none has. Raises TableError for one that cannot be read."""
        path = part_path(self.folder, number)
        with readable(path, TableError):
            if not path.exists():
                return None
        found = (ParquetTable().description(path) or {}).get("part")
        if not isinstance(found, dict) or found.get("number") != number:
            raise TableError(f"{path} is damaged: it does not say what it holds; remove it, and repeat the command")
        return FinishedPart(found["rows"], found["errors"], found["paths"])

    def complete(self, parts: int, rows: int, errors: int) -> None:
        """Record that all parts are there. Raises TableError if there are more than those."""
        more = part_path(self.folder, parts)
        if more.exists():
            raise TableError(
                f"{more} holds images that are not in the source; begin anew with --restart (restart=True)"
            )
        record = self._record()
        if record is None:
            raise TableError(
                f"{self.folder / RECORD} has gone during the run; begin anew with --restart (restart=True)"
            )
        with writing(str(self.folder), TableError, _FIX):
            write_record(self.folder / RECORD, {**record, "parts": parts, "rows": rows, "errors": errors})

    def _refuse_others(self) -> None:
        found = self.folder.iterdir() if self.folder.exists() else ()
        strange = next((path.name for path in found if not _is_ours(path)), None)
        if strange is not None:
            raise TableError(
                f"{self.folder} contains {strange!r}, which is not a part of a table; name a new or an empty folder"
            )

    def _clear(self) -> None:
        """Remove everything but the lock; the record first, as parts without a record are nobody's."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name != RECORD):
            if path.name != LOCK:
                temporary.remove(path)

    def _record(self) -> dict[str, Any] | None:
        return read_record(self.folder / RECORD, "run", "part_rows")


def part_path(folder: Path, number: int) -> Path:
    """The file of a part."""
    return folder / f"part-{number:06}.parquet"


def write_part(
    folder: Path, number: int, schema: Schema, rows: Sequence[Row], paths: Sequence[str], description: Mapping[str, Any]
) -> FinishedPart:
    """Write the rows of a part; when this returns, they are on the disk. Raises TableError.

    `paths`: those of the entries, which the table may have in another spelling.
    """
    part = FinishedPart(len(rows), sum(row[-1] is not None for row in rows), digest_of_paths(paths))
    fields = {"number": number, "rows": part.rows, "errors": part.errors, "paths": part.paths}
    table, content = ParquetTable(), io.BytesIO()
    table.join(schema, {**description, "part": fields}, [table.part(schema, rows)], {TABLE: content})
    path = part_path(folder, number)
    with writing(str(path), TableError, _FIX), atomic_write(path) as file:
        file.write(content.getvalue())
    return part


def _is_ours(path: Path) -> bool:
    return path.name in (LOCK, RECORD) or bool(_NAME.fullmatch(path.name)) or temporary.is_temporary(path)
