"""Many machines: a table written by workers of a Ray cluster, as a folder of Parquet parts (the extra `ray`).

The program that begins the run lists the source and cuts it into parts; Ray Data gives those that are not finished to a
pool of actors, which hold the model (`part_worker`) and write them (`table_folder`). An actor reads its images itself,
so that no other task has to get a CPU for that, and asks for a little less than its CPUs, which leaves some for Ray's
own tasks. Ray repeats the part of a worker that is lost; a part is written whole, so nothing is there twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..artifact.folder import CONFIG_FILE, read_artifact
from ..cpu import worker_threads
from ..errors import (
    EngineError,
    EngineUnavailableError,
    InputError,
    MissingDependencyError,
    one_line,
    raise_if_interrupted,
)
from ..image_memory import max_pixels
from ..image_reading import describe
from .entry import Entry
from .part_worker import Done, Failure, Job, PartWorker, absolute, pack
from .rows import Task
from .sources import Source
from .summary import Summary
from .table_folder import TableFolder, part_path
from .table_runs import Table
from .tables import format_of
from .working_folder import digest_of_paths

log = logging.getLogger(__name__)

PART_ROWS = 1_000
"""Images of a part: what is repeated when a worker is lost, and a file of some 50 KB."""

WINDOW_PARTS = 2_000
"""Parts that are listed and given to Ray at a time. A part takes about 100 bytes per image in Ray's object store."""

CPU_SHARE = 0.9
"""Of each CPU that a worker uses, what it asks of Ray."""

OBJECT_STORE_BYTES = 512 * 2**20
"""Size of the object store of a Ray that is started here; what does not fit is spilled to the disk."""

SMALL_RUN = 5_000
"""Images for which one machine needs less time than Ray may take to start: 50 s at 100 images/s."""

RAY_START = "10 to 50 s"
"""What Ray and its workers take to start: 10 s on an idle machine with two cores, 50 s on a busy one."""

RAY_ADDRESS = "RAY_ADDRESS"
LOCAL = "local"
BACKEND_LOG_LEVEL = "RAY_BACKEND_LOG_LEVEL"

OnPart = Callable[[int, int], None]
"""Called after each part with the images that are done, those of earlier runs included, and the errors among them."""


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
    with table.locked(), _cluster(address) as ray:
        _advise(count)
        pool = _Pool(ray, job, packed, cpus)
        pool.require_room(wait=address not in (None, LOCAL) or RAY_ADDRESS in os.environ)
        job = pool.describe(next(iter(source), None))
        table.begin(job.description, part_rows=PART_ROWS, restart=restart)
        return _Run(table, pool, on_part).write(source)


class _Run:
    """A run under way: counts of what is done."""

    def __init__(self, table: TableFolder, pool: _Pool, on_part: OnPart | None) -> None:
        self._table, self._pool, self._on_part = table, pool, on_part
        self._parts = self._rows = self._errors = self._resumed = 0
        self._summary = Summary()
        self._workers: set[tuple[str, int]] = set()

    def write(self, source: Iterable[Entry]) -> tuple[Table, Summary]:
        """Write the parts that are not finished."""
        missing = self._missing(iter(source))
        while window := list(islice(missing, WINDOW_PARTS)):
            for done in self._pool.write(window):
                if done.failure is not None:
                    raise done.failure.error()
                self._workers.add((done.host, done.process))
                self._count(done.rows, done.errors)
                if done.summary is not None:
                    self._summary.merge(done.summary)
        self._table.complete(self._parts, self._rows, self._errors)
        if self._workers:
            log.info("workers: %s on %s machine(s)", len(self._workers), len({host for host, _ in self._workers}))
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


class _Pool:
    """The workers of a job on a cluster."""

    def __init__(self, ray: Any, job: Job, packed: bytes | None, cpus: int) -> None:
        self._ray, self._job, self._cpus = ray, job, cpus
        self._packed = None if packed is None else ray.put(packed)
        device = str(job.options.get("engine", "auto")).partition(":")[0]
        self._resources: dict[str, float] = {"num_cpus": cpus * CPU_SHARE}
        if device in ("cuda", "tensorrt", "tensorrt-rtx"):
            self._resources["num_gpus"] = 1

    def require_room(self, *, wait: bool) -> None:
        """Raise EngineUnavailableError if no machine has what a worker needs; `wait`: say so, as one may be added."""
        import ray

        cpus, gpus = self._resources["num_cpus"], self._resources.get("num_gpus", 0)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            return
        message = f"no machine of the cluster has {cpus:g} CPUs{' and a GPU' if gpus else ''} for a worker"
        if not wait:
            raise EngineUnavailableError(f"{message}; lower --threads, or name another engine or cluster")
        log.warning("%s; waiting for one", message)

    def describe(self, first: Entry | None) -> Job:
        """The job with the description of the run, by a worker; it also looks for the folder and the first image."""
        image = None if first is None else absolute(first).image
        seen = image if isinstance(image, str) and Path(image).exists() else None
        task = self._ray.remote(max_calls=1, **self._resources)(_described)  # its process ends with it
        found, failure = self._get(task.remote(self._job, self._packed, seen))
        if failure is not None:
            raise failure.error()
        self._job = dataclasses.replace(self._job, description=found)
        return self._job

    def write(self, parts: list[dict[str, Any]]) -> Iterator[Done]:
        """Give these parts to a pool of workers, and yield what they report, as it comes."""
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        room = int(ray.cluster_resources().get("CPU", 0) // self._cpus)
        workers = ray.data.ActorPoolStrategy(
            min_size=1, max_size=len(parts), initial_size=max(1, min(room, len(parts)))
        )
        written = ray.data.from_items(parts, override_num_blocks=len(parts)).map(
            _Actor,
            fn_constructor_args=(self._job, [] if self._packed is None else [self._packed]),
            compute=workers,
            **self._resources,
        )
        with _ray_errors():
            for row in written.iter_rows():
                yield pickle.loads(row["done"])  # noqa: S301 - of our own workers

    def _get(self, reference: Any) -> Any:
        with _ray_errors():
            return self._ray.get(reference)


class _Actor:
    """A worker as Ray Data starts it: gets rows `number`, `entries`, and returns rows `done`."""

    def __init__(self, job: Job, packed: list[Any]) -> None:
        # In a list, the artifact is fetched when the model is loaded; Ray would fetch it before otherwise.
        self._worker = PartWorker(job, (lambda: _fetched(packed[0])) if packed else None)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        entries: list[Entry] = pickle.loads(row["entries"])  # noqa: S301 - of the program that began the run
        return {"done": pickle.dumps(self._worker.write(int(row["number"]), entries))}


def _fetched(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content


def _described(job: Job, packed: bytes | None, seen: str | None) -> tuple[dict[str, Any], Failure | None]:
    """What a worker says of the run, or why it cannot take part. `seen`: an image that is there for its beginner."""
    try:
        if seen is not None:
            _require_seen(seen)
        return PartWorker(job, None if packed is None else lambda: packed).describe(), None
    except Exception as error:  # noqa: BLE001 - raised by the program that began the run
        return {}, Failure.of(error)


def _require_seen(path: str) -> None:
    if not Path(path).exists():
        raise InputError(
            f"{describe(path)} does not exist; put the images on a file system that all machines share, or give their "
            "URLs"
        )


def _pickled(part: list[Entry]) -> bytes:
    entries = [absolute(entry) for entry in part]
    try:
        return pickle.dumps(entries)
    except Exception as error:
        raise InputError(
            f"the images from {part[0].path} on cannot be sent to other machines ({one_line(error)}); give a folder, a "
            "list of paths or URLs"
        ) from error


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster, or to one that is started for this block; a connection that there is stays."""
    ray = _imported()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get(RAY_ADDRESS) or LOCAL
    here: dict[str, Any] = {}
    if address == LOCAL:
        here = {
            "num_cpus": worker_threads(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    # Ray's handler would end the process without removing temporary files.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        with _quiet():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as error:
        raise EngineUnavailableError(
            f"there is no connection to the Ray cluster {address!r}: {one_line(error)}; check the address, or leave it "
            "out to use the CPUs of this machine"
        ) from error
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While Ray starts: its library in C++ logs to its files only, and not what level that is to stderr.

    At its usual level it reports on stderr, as an error, that Ray Data gives its workers arguments.
    """
    level = os.environ.get(BACKEND_LOG_LEVEL)
    os.environ[BACKEND_LOG_LEVEL] = level or "fatal"
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        if level is None:
            del os.environ[BACKEND_LOG_LEVEL]


def _imported() -> Any:
    """Ray, with its usage statistics off, and without its logs on stderr."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise_if_interrupted(error)
        raise MissingDependencyError(
            f"--ray needs Ray, which cannot be imported ({one_line(error)}); pip install 'onnxzoo[ray]', or leave out "
            "--ray"
        ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


def _advise(count: int | None) -> None:
    """Say when one machine without Ray is the better choice."""
    import ray

    machines = sum(bool(node["Alive"]) for node in ray.nodes())
    if machines > 1 and (count is None or count > SMALL_RUN):
        return
    why = "the cluster has one machine" if machines <= 1 else f"{count:,} images are few"
    log.info("%s: without --ray the same work takes %s less", why, RAY_START)


@contextlib.contextmanager
def _ray_errors() -> Iterator[None]:
    """What Ray raises for work that cannot be done, as EngineError."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ray.exceptions.RayTaskError) as error:
        raise EngineError(
            f"Ray gave up: {one_line(error)}; finished parts are kept, and the same command goes on; if workers were "
            "killed, give them more memory, or more CPUs each by --threads, so that there are fewer"
        ) from error
