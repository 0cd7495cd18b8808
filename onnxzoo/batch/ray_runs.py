"""Many machines: a table written by the workers of a Ray cluster, as a folder of Parquet parts.

The program that begins the run lists the source and cuts it into parts; those that are not finished are given to the
workers (`ray.py`), which write them (`part_worker`, `table_folder`). A part is written whole, so that nothing is there
twice if it has to be repeated.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..artifact.folder import CONFIG_FILE, read_artifact
from ..errors import InputError, one_line
from ..image_memory import max_pixels
from .entry import Entry
from .part_worker import Job, pack
from .ray import LOCAL, RAY_ADDRESS, Pool, advise, cluster
from .rows import Task
from .sources import Source
from .summary import Summary, counted
from .table_folder import TableFolder, part_path
from .table_runs import Table
from .tables import format_of
from .working_folder import digest_of_paths

log = logging.getLogger(__name__)

PART_ROWS = 1_000
"""Images of a part: what is repeated when a worker is lost, and a file of some 50 KB."""

WINDOW_PARTS = 2_000
"""Parts that are listed and given to Ray at a time. A part takes about 100 bytes per image in Ray's object store."""

OnPart = Callable[[int, int], None]
"""Called when the workers start, and after each part, with the images that are done, those of earlier runs included,
and the errors among them."""


def table_by_ray(
    model: str,
    source: Iterable[Entry],
    out: str | os.PathLike[str],
    *,
    task: Task = "predict",
    top_k: int = 5,
    address: str | None = None,
    identity: Any = None,
    restart: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    count: int | None = None,
    on_part: OnPart | None = None,
    **options: Any,
) -> tuple[Table, Summary]:
    """Write the results for every image of `source` to the folder `out`; returns the table, and a summary of this run.

    Columns, values and rows of errors are those of `onnxzoo.batch.table_runs`; the parts in the order of their names
    are the table in the order of the source. The same call goes on with the parts that are not finished. `model`: a
    name that every worker can load from its own cache or the Hub, or an artifact folder, which is sent to them.
    `out`, and images that are given as paths, are on a file system that all machines share, under the same paths.
    `address`: of a cluster, such as `auto` or `ray://HOST:10001`; by default RAY_ADDRESS, or else a Ray is started on
    this machine, without a dashboard. `threads`: CPUs of a worker, 1 by default. `count`: the number of images, if
    known; for a few, or on one machine, the log says that Ray is not the better choice. `options`: those of
    `onnxzoo.load`.

    Raises MissingDependencyError without Ray, EngineUnavailableError if the cluster cannot be reached, EngineError if
    its workers are lost, and what `onnxzoo.load` and `onnxzoo.batch.table_runs` raise.
    """
    folder = Path(out).absolute()
    format_of(part_path(folder, 0), task).require()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; with Ray the output is a folder of Parquet parts")
    if identity is None and isinstance(source, Source):
        identity = source.identity()
    cpus = threads or 1
    packed = None
    if (Path(model) / CONFIG_FILE).is_file():
        artifact = read_artifact(Path(model))
        packed, model = pack(artifact), artifact.name
    settings = {"hint": "throughput", "max_pixels": max_pixels(None), **options, "threads": cpus}
    job = Job(model, task, top_k, str(folder), identity, settings, batch_size)
    table = TableFolder(folder)
    with table.locked(), cluster(address):
        advise(count)
        pool = Pool(job, packed, cpus)
        pool.require_room(wait=address not in (None, LOCAL) or RAY_ADDRESS in os.environ)
        job = pool.describe(next(iter(source), None))
        table.begin(job.description, part_rows=PART_ROWS, restart=restart)
        return _Run(table, pool, on_part).write(source)


class _Run:
    """A run under way: counts of what is done."""

    def __init__(self, table: TableFolder, pool: Pool, on_part: OnPart | None) -> None:
        self._table, self._pool, self._on_part = table, pool, on_part
        self._parts = self._rows = self._errors = self._resumed = 0
        self._summary = Summary()
        self._workers = 0
        self._hosts: set[str] = set()

    def write(self, source: Iterable[Entry]) -> tuple[Table, Summary]:
        """Write the parts that are not finished."""
        self._count(0, 0)
        missing = self._missing(iter(source))
        while window := list(islice(missing, WINDOW_PARTS)):
            workers = set()
            for done in self._pool.write(window):
                if done.failure is not None:
                    raise done.failure.error()
                workers.add((done.host, done.process))
                self._hosts.add(done.host)
                self._count(done.rows, done.errors)
                if done.summary is not None:
                    self._summary.merge(done.summary)
            self._workers = max(self._workers, len(workers))
        self._table.complete(self._parts, self._rows, self._errors)
        if self._workers:
            log.info("%s on %s", counted(self._workers, "worker"), counted(len(self._hosts), "machine"))
        return Table(self._table.folder, self._rows, self._errors, self._resumed), self._summary

    def _missing(self, entries: Iterator[Entry]) -> Iterator[dict[str, Any]]:
        """The parts that are not finished, as rows for Ray; the finished ones are compared with the source."""
        while part := list(islice(entries, PART_ROWS)):
            number = self._parts
            self._parts += 1
            finished = self._table.finished(number)
            if finished is None:
                yield {"number": number, "entries": _pickled(part)}
                continue
            if finished.paths != digest_of_paths(entry.path for entry in part):
                raise InputError(
                    f"the source has changed since {part_path(self._table.folder, number).name} was written: it has "
                    "other images now; begin anew with --restart (restart=True)"
                )
            self._resumed += finished.rows
            self._count(finished.rows, finished.errors)

    def _count(self, rows: int, errors: int) -> None:
        self._rows += rows
        self._errors += errors
        if self._on_part is not None:
            self._on_part(self._rows, self._errors)


def _pickled(part: list[Entry]) -> bytes:
    try:
        return pickle.dumps(part)
    except Exception as error:
        raise InputError(
            f"the images from {part[0].path} on cannot be sent to other machines ({one_line(error)}); give a folder, a "
            "list of paths or URLs"
        ) from error
