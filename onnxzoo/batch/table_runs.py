"""Results of many images in a table, by runs that can be killed at any moment and go on with the same call.

Finished rows are kept in parts beside the output (`onnxzoo.batch.working_folder`), and the output appears when it is
complete. A run that goes on skips the images of the finished parts, after it has compared their paths. An image that
could not be read is a row like any other, and is not tried again.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from .. import temporary
from ..errors import InputError, TableError
from ..files import atomic_write, writing
from ..model import Model, whole
from ..stream import Result
from .entry import Entry
from .results import results_of
from .rows import Row, Schema, describe_run
from .same_run import require_same
from .sources import Source
from .tables import format_of
from .tables.table_format import TableFormat, beside
from .working_folder import ELSEWHERE, Part, WorkingFolder, digest_of_paths

log = logging.getLogger(__name__)

PART_ROWS = 2_000
"""Rows of a part at most; a few megabytes, which are held in memory until they are written."""

PART_S = 10.0
"""Seconds of work at most that a kill can cost; a part is then written, however small."""

NO_ENTRIES = "a source of onnxzoo.batch.sources.open_source, or entries (onnxzoo.batch.entry.Entry); got {}"

OnResult = Callable[[Entry, Result, int], None]
"""Called after each image with its entry, its result, and how many images are done, those of earlier runs included."""


@dataclass(frozen=True, slots=True)
class Table:
    """A finished table: `rows` in all, `errors` among them, and `resumed`: rows that an earlier run had finished."""

    path: Path
    rows: int
    errors: int
    resumed: int


def predict_to_table(
    model: Model,
    source: Source | Iterable[Entry],
    out: str | os.PathLike[str],
    *,
    top_k: int = 5,
    identity: Any = None,
    restart: bool = False,
    batch_size: int | None = None,
    on_result: OnResult | None = None,
) -> Table:
    """Write the `top_k` best classes of every image of `source` to a table, in the format that its suffix names.

    The columns are those of `onnxzoo.batch.rows`. When a run was killed or failed, the same call goes on where it
    stopped; an output that the same call has completed is left as it is. `source`: of `open_source`, or entries in an
    order that is the same every time, with an `identity`, JSON values that change when the images do. `restart`:
    discard what an earlier run left, and replace a table that exists. `batch_size`: as in `Model.stream`.

    Raises InputError for an unknown suffix, an output that exists and is not from the same call, and an unfinished one
    from another model, source or option; TableError if the table cannot be written or another run is writing it;
    MissingDependencyError for Parquet without pyarrow; EngineError, and what `source` raises.
    """
    schema = Schema.of(model, "predict", whole("top_k", top_k))
    return _write(model, source, Path(out), schema, identity, restart, batch_size, on_result)


def embed_to_table(
    model: Model,
    source: Source | Iterable[Entry],
    out: str | os.PathLike[str],
    *,
    identity: Any = None,
    restart: bool = False,
    batch_size: int | None = None,
    on_result: OnResult | None = None,
) -> Table:
    """Write the features of every image before the head to a table, float32; all else as `predict_to_table`."""
    return _write(model, source, Path(out), Schema.of(model, "embed"), identity, restart, batch_size, on_result)


def _write(
    model: Model,
    source: Source | Iterable[Entry],
    out: Path,
    schema: Schema,
    identity: Any,
    restart: bool,
    batch_size: int | None,
    on_result: OnResult | None,
) -> Table:
    table_format = format_of(out, schema.task)
    entries_given = _entries(source)
    if identity is None and isinstance(source, Source):
        identity = source.identity()
    description = describe_run(model, schema, identity)
    working = WorkingFolder(out)
    with working.locked():
        with writing(str(out), TableError, ELSEWHERE):
            begun = _begin(working, out, table_format, description, restart=restart)
        if isinstance(begun, Table):
            return begun
        run = _Run(working, out, table_format, schema, begun)
        with run.kept():
            entries = run.skip_finished(entries_given)
            embed = schema.task == "embed"
            for entry, result in results_of(
                model, entries, top_k=max(1, schema.top_k), embed=embed, batch_size=batch_size
            ):
                run.add(entry, result)
                if on_result is not None:
                    on_result(entry, result, run.done)
            return run.complete()


def _entries(source: Source | Iterable[Entry]) -> Iterator[Entry]:
    """The entries; raises InputError, with the way to make them, for anything else, also in the middle."""
    if isinstance(source, str | bytes | os.PathLike) or not isinstance(source, Iterable):
        raise InputError(f"source must be {NO_ENTRIES.format(type(source).__name__)}")
    return (_entry(one) for one in source)


def _entry(one: object) -> Entry:
    if not isinstance(one, Entry):
        raise InputError(f"source must be {NO_ENTRIES.format(f'an iterable of {type(one).__name__}')}")
    return one


def _begin(
    working: WorkingFolder, out: Path, table_format: TableFormat, description: Mapping[str, Any], *, restart: bool
) -> Table | dict[str, Any]:
    """Decide between a new run and going on, whose record is returned, and nothing to do: the complete table."""
    if out.is_dir():
        raise InputError(f"{out} is a folder; expected the name of a file")
    for name in table_format.files:  # a name that is too long is not found out at the end of the run
        with contextlib.suppress(FileNotFoundError):
            temporary.beside(beside(out, name), "tmp").lstat()
    record = working.record() if not restart else None
    exists = os.path.lexists(out)
    made = (table_format.description(out) if exists else None) or {}
    if exists and not {"run", "rows", "errors"} <= made.keys():
        raise InputError(f"{out} exists and is not a table of onnxzoo; move it away, or name another output")
    if record is not None and made.get("run") == record["run"]:
        working.clear()  # it was killed when the table was complete
        record = None
    if record is not None:
        require_same(record["description"], description, f"{working.folder} holds an unfinished run")
    if exists and not restart and not (record or {}).get("replaces"):
        require_same({key: made.get(key) for key in description}, description, f"{out} exists, from a run")
        log.info("%s is complete already; --restart (restart=True) makes it anew", out)
        return Table(out, made["rows"], made["errors"], made["rows"])
    if record is None:
        record = {"run": secrets.token_hex(8), "replaces": exists, "description": description}
        working.begin(record)
    return record


@dataclass(frozen=True, slots=True)
class _NextPart:
    """The part that is written next: its number, the rows in `earlier` ones, and its own with the paths of entries."""

    number: int
    earlier: int
    rows: list[tuple[str, Row]] = field(default_factory=list)


class _Run:
    """A run under way: the parts that are finished, and the rows of the next one."""

    def __init__(
        self, working: WorkingFolder, out: Path, table_format: TableFormat, schema: Schema, record: Mapping[str, Any]
    ) -> None:
        """`record`: of `_begin`."""
        self._record = record
        self._working, self._out, self._format, self._schema = working, out, table_format, schema
        self._finished: list[Part] = working.finished()
        self._resumed = sum(part.rows for part in self._finished)
        self._next = _NextPart(len(self._finished), self._resumed)
        self._began = time.monotonic()

    @property
    def done(self) -> int:
        """Images with a row, those of earlier runs included."""
        return self._next.earlier + len(self._next.rows)

    def skip_finished(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """The entries that have no row yet. Raises InputError if the others are not those of the finished parts."""
        first = 0
        for part in self._finished:
            if digest_of_paths(entry.path for entry in islice(entries, part.rows)) != part.paths:
                raise InputError(
                    f"the source has changed since {self._working.folder} was begun: its images {first + 1} to "
                    f"{first + part.rows} are others; begin anew with --restart (restart=True)"
                )
            first += part.rows
        if first:
            log.info("%s: %s images were finished by an earlier run", self._out, f"{first:,}")
        return entries

    def add(self, entry: Entry, result: Result) -> None:
        """Add the row of an image, and write a part when it is due."""
        self._next.rows.append((entry.path, self._schema.row(entry.path, result)))
        if len(self._next.rows) >= PART_ROWS or time.monotonic() - self._began >= PART_S:
            self._write_part()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """When the block raises, whatever it is, keep the rows so far, and say how to go on."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(TableError):
                self._write_part()
            if not self._next.earlier:
                self._working.discard()
            elif not isinstance(error, TableError):
                log.warning("%s", self._how_to_go_on())
            raise

    def complete(self) -> Table:
        """Put the table together, and remove the parts."""
        self._write_part()
        if os.path.lexists(self._out) and not self._record["replaces"]:
            raise TableError(
                f"{self._out} was made by something else during the run; move it away, and repeat the command"
            )
        rows, errors = self._next.earlier, sum(part.errors for part in self._finished)
        description = {
            **self._record["description"],
            "run": self._record["run"],
            "rows": rows,
            "errors": errors,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        with self._on_disk(), contextlib.ExitStack() as stack:
            # Left in the opposite order: what describes the table is there before the table, which is renamed last.
            names = reversed(self._format.files)
            files = {name: stack.enter_context(atomic_write(beside(self._out, name))) for name in names}
            self._format.join(self._schema, description, (part.read() for part in self._finished), files)
        self._working.discard()
        return Table(self._out, rows, errors, self._resumed)

    def _write_part(self) -> None:
        now = self._next
        if now.rows:
            with self._on_disk():
                content = self._format.part(self._schema, [row for _, row in now.rows])
                errors = sum(row[-1] is not None for _, row in now.rows)
                part = self._working.add(now.number, content, [path for path, _ in now.rows], errors)
            # One step: wherever an interrupt comes, the rows are either in the part that is written next, or not.
            self._next = _NextPart(now.number + 1, now.earlier + part.rows)
            self._finished.append(part)
        self._began = time.monotonic()

    def _on_disk(self) -> contextlib.AbstractContextManager[None]:
        return writing(str(self._out), TableError, f"make room; {self._how_to_go_on()}")

    def _how_to_go_on(self) -> str:
        count = self._next.earlier
        if not count:
            return "no image is finished yet; repeat the command"
        kept = f"{count:,} image{'s are' if count > 1 else ' is'} finished and kept"
        return f"{kept} in {self._working.folder}; repeat the command to go on"
